"""What a report shows: a few query images with prediction, truth and error, and the neighbours of a few patches."""

from __future__ import annotations

import functools
import json
import os
from typing import Any

import numpy as np

from hummingbird.config import EvaluateConfig
from hummingbird.errors import UserError
from hummingbird.retrieval.bank.memory import MemoryBank, choose_patches
from hummingbird.retrieval.encode import Example, prepare_prompt, resize_label, stream, subset
from hummingbird.retrieval.processes import merge
from hummingbird.retrieval.protocol import Protocol
from hummingbird.tasks import Task

CROP_LIMIT = 96  # pixels: larger crops are cut down, a report of megabytes helps nobody


class SampleCollector:
    """Gathers the samples of one evaluation while it runs.

    Images and patches are drawn from seed and truth alone, so that reports of several encoders show the same ones.
    """

    def __init__(
        self, config: EvaluateConfig, task: Task, protocol: Protocol, prompt: Any, query: Any, bank: MemoryBank
    ):
        self.task = task
        self.protocol, self.prompt, self.query, self.bank = protocol, prompt, query, bank
        self.patches, self.neighbours = config.report.patches, config.report.neighbours
        images = subset(len(query), 1.0, protocol.max_queries, protocol.seed)
        self.wanted = {images[i] for i in subset(len(images), 1.0, config.report.queries, protocol.seed + 1)}
        self.queries: list[dict[str, Any]] = []
        self._inputs: list[np.ndarray] = []
        # Neighbours crowd on few prompt images; they are prepared anew rather than all kept.
        self._prompt_example = functools.lru_cache(maxsize=64)(self._prepare)

    def _prepare(self, image: int, epoch: int) -> Example:
        return prepare_prompt(self.prompt, image, epoch, self.task, self.protocol)

    def add(
        self,
        example: Example,
        features: np.ndarray,
        prediction: np.ndarray,
        score: float,
        ids: np.ndarray,
        similarity: np.ndarray,
        weights: np.ndarray,
    ) -> None:
        """Takes in one query image, if it is one of those shown.

        Args:
          features: float32 [N, D]. prediction: at metric resolution. score: what the metric's `add` gave.
          ids, similarity, weights: [N, k], as voted with.
        """
        if example.index not in self.wanted:
            return
        assert example.original is not None
        grid, truth = self.protocol.grid, example.label
        height, width = truth.shape
        neighbours = []
        for patch in self._choose_patches(example):
            row, column = divmod(int(patch), grid)
            box = (row * height // grid, column * width // grid)
            crop, inner = self._crop(example.image, int(patch))
            neighbours.append(
                {
                    "position": (row, column),
                    "box": (*box, (row + 1) * height // grid - box[0], (column + 1) * width // grid - box[1]),
                    "crop": crop,
                    "inner": inner,
                    "entries": self._entries(ids[patch], similarity[patch], weights[patch]),
                }
            )
        self._inputs.append(example.image)
        self.queries.append(
            {
                "index": example.index,
                "name": example.name,
                "image": example.original,
                "truth": truth,
                "prediction": prediction,
                "error": self.task.error(truth, prediction),
                "score": score,
                "features": features.reshape(grid, grid, -1).astype(np.float16),
                "attention": None,
                "neighbours": neighbours,
            }
        )

    def merge(self) -> None:
        """Takes in what the other processes gathered."""
        self.queries, self._inputs = merge(self.queries), merge(self._inputs)

    def finish(self, encoder: Any) -> dict[str, Any]:
        """The samples. An encoder with `attention(images) -> [B, h, w]` also shows what its pooling looks at."""
        if hasattr(encoder, "attention") and self._inputs:
            maps = encoder.attention(np.stack(self._inputs))
            for sample, attention in zip(self.queries, [] if maps is None else maps, strict=False):
                sample["attention"] = np.asarray(attention, np.float32)
        return {
            "task": self.task.kind,
            "classes": list(self.task.classes),
            "ignore": int(self.query.ignore),
            "patch": self.protocol.patch_size,
            "grid": (self.protocol.grid, self.protocol.grid),
            "input_size": (self.protocol.input_size, self.protocol.input_size),
            "encoder": getattr(encoder, "name", None) or type(encoder).__name__,
            "queries": self.queries,
        }

    def _choose_patches(self, example: Example) -> np.ndarray:
        """Patches whose neighbours explain much: one of each group first, those of rare classes before others."""
        p = self.protocol
        local, group = self.task.showcase(resize_label(example.label, p.input_size, self.task), p.patch_size)
        rng = stream(p.seed, example.index, 0, 3)
        order = choose_patches(local, len(local.labelled), rng, self.task.has_classes)
        _, first = np.unique(group[order], return_index=True)
        order = np.concatenate([order[np.sort(first)], np.delete(order, first)])
        labelled = local.labelled[order]
        return np.concatenate([order[labelled], order[~labelled]])[: self.patches]

    def _entries(self, ids: np.ndarray, similarity: np.ndarray, weights: np.ndarray) -> list[dict[str, Any]]:
        entries = []
        for j, cosine, weight in list(zip(ids, similarity, weights, strict=True))[: self.neighbours]:
            if j < 0:
                break
            image, epoch, patch = int(self.bank.image[j]), int(self.bank.epoch[j]), int(self.bank.patch[j])
            example = self._prompt_example(image, epoch)
            label, fraction = self.bank.labels.describe(int(j))
            entries.append(
                {
                    "weight": float(weight),
                    "similarity": float(cosine),
                    "image": image,
                    "name": example.name,
                    "epoch": epoch,
                    "position": divmod(patch, self.protocol.grid),
                    "crop": self._crop(example.image, patch)[0],
                    "label": label,
                    "fraction": fraction,
                }
            )
        return entries

    def _crop(self, image: np.ndarray, patch: int) -> tuple[np.ndarray, tuple[int, int, int, int]]:
        """The patch with its surroundings, uint8 [S, S, 3], and where the patch lies in it."""
        side = self.protocol.patch_size
        margin = max(0, min(side, (CROP_LIMIT - side) // 2))
        row, column = divmod(patch, self.protocol.grid)
        padded = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
        span = side + 2 * margin
        crop = padded[row * side : row * side + span, column * side : column * side + span]
        return crop.copy(), (margin, margin, side, side)


# ---------------------------------------------------------------- on disk
def save_samples(path: str, samples: dict[str, Any]) -> None:
    """Writes samples to one .npz file: arrays beside a JSON description; whole or not at all."""
    arrays: dict[str, np.ndarray] = {}

    def strip(node: Any) -> Any:
        if isinstance(node, np.ndarray):
            name = f"array{len(arrays)}"
            arrays[name] = node
            return {"array": name}
        if isinstance(node, dict):
            return {key: strip(value) for key, value in node.items()}
        if isinstance(node, (list, tuple)):
            return [strip(value) for value in node]
        return node

    structure = json.dumps(strip(samples))
    part = path + ".part"
    with open(part, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, structure=np.array(structure), **arrays)
    os.replace(part, path)


def load_samples(path: str) -> dict[str, Any]:
    """What `save_samples` wrote; tuples come back as lists. UserError if the file is not there or not one of these."""
    try:
        with np.load(path, allow_pickle=False) as file:
            structure = json.loads(str(file["structure"]))
            arrays = {name: file[name] for name in file.files}
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"{path} is not a samples file of an evaluation ({error}); run the evaluation again") from error

    def fill(node: Any) -> Any:
        if isinstance(node, dict):
            return arrays[node["array"]] if set(node) == {"array"} else {k: fill(v) for k, v in node.items()}
        return [fill(value) for value in node] if isinstance(node, list) else node

    return fill(structure)
