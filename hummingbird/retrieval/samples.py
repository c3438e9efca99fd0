"""Gathers what a report shows: a few query images with prediction and error, and the neighbours of a few patches."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32, Int, Shaped, UInt8

from hummingbird.retrieval.bank.patch_bank import PatchBank
from hummingbird.retrieval.bank.sampling import choose_patches
from hummingbird.retrieval.evaluation import Evaluation
from hummingbird.retrieval.examples import Example, prepare_prompt
from hummingbird.retrieval.processes import merge
from hummingbird.retrieval.sample_files import Box, Entry, Patch, Query, Samples
from hummingbird.retrieval.selection import REPORT, query_images, stream, subset

CROP_LIMIT = 96  # pixels: larger crops are cut down, since a report of megabytes helps nobody
KEPT_IMAGES = 64  # neighbours are concentrated on few prompt images, so few are prepared twice


class SampleCollector:
    """Gathers the samples of an evaluation while it runs.

    Images and patches are drawn from seed and truth alone, so that reports of several encoders show the same ones.

    Args:
      evaluation: what is evaluated.
      bank: holds the neighbours.

    Attributes:
      wanted: numbers of the query images to show.
    """

    def __init__(self, evaluation: Evaluation, bank: PatchBank):
        self.evaluation, self.bank = evaluation, bank
        seed, images = evaluation.protocol.seed, query_images(len(evaluation.query), evaluation.protocol)
        self.wanted = {images[i] for i in subset(len(images), 1.0, evaluation.report.queries, seed + 1)}
        self.queries: list[Query] = []
        self._inputs: list[UInt8[np.ndarray, "H W 3"]] = []
        self._prepared: dict[tuple[int, int], Example] = {}

    def add(
        self,
        example: Example,
        features: Float32[np.ndarray, "N D"],
        prediction: Shaped[np.ndarray, "H W *C"],
        score: float,
        ids: Int[np.ndarray, "N k"],
        similarity: Float32[np.ndarray, "N k"],
        weights: Float[np.ndarray, "N k"],
    ) -> None:
        """Adds a query image if it is one of those shown.

        Args:
          example: the image, with its picture.
          features: of its patches.
          prediction: at metric resolution.
          score: its own headline score.
          ids: neighbours of its patches.
          similarity: of the neighbours.
          weights: of the neighbours in the vote.
        """
        if example.index not in self.wanted:
            return
        assert example.original is not None
        truth = example.label
        self._inputs.append(example.image)
        self.queries.append(
            {
                "index": example.index,
                "name": example.name,
                "image": example.original,
                "truth": truth,
                "prediction": prediction,
                "error": self.evaluation.task.error(truth, prediction),
                "score": score,
                "features": features.reshape(*example.cells.grid, -1).astype(np.float16),
                "attention": None,
                "neighbours": [
                    self._patch(example, int(patch), ids[patch], similarity[patch], weights[patch])
                    for patch in self._choose(example)
                ],
            }
        )

    def merge(self) -> None:
        """Adds what the other processes gathered."""
        self.queries, self._inputs = merge(self.queries), merge(self._inputs)

    def finish(self, attention: bool = True) -> Samples:
        """Returns the samples.

        Args:
          attention: with the pooling attention of encoders that have `attention(images) -> [B, h, w]`.
        """
        encoder, task, protocol = self.evaluation.encoder, self.evaluation.task, self.evaluation.protocol
        if attention and hasattr(encoder, "attention") and self._inputs:
            for sample, image in zip(self.queries, self._inputs, strict=True):  # of any shapes
                weights = getattr(encoder, "attention")(image[None])  # noqa: B009 - optional, see `Encoder`
                sample["attention"] = None if weights is None else np.asarray(weights[0], np.float32)
        return {
            "task": task.kind,
            "classes": list(task.classes),
            "ignore": int(self.evaluation.query.ignore),
            "patch": protocol.patch_size,
            "grid": protocol.grid,
            "input_size": (protocol.input_size, protocol.input_size),
            "encoder": getattr(encoder, "name", None) or type(encoder).__name__,
            "queries": self.queries,
        }

    def _choose(self, example: Example) -> Int[np.ndarray, " n"]:
        """Chooses patches that explain much: labelled ones first, then one of each group, then rare classes."""
        task, protocol = self.evaluation.task, self.evaluation.protocol
        local, group = task.showcase(example.label, example.cells)
        rng = stream(protocol.seed, example.index, 0, REPORT)
        order = choose_patches(local, len(local.labelled), rng, task)
        _, first = np.unique(group[order], return_index=True)
        order = np.concatenate([order[np.sort(first)], np.delete(order, first)])
        labelled = local.labelled[order]
        return np.concatenate([order[labelled], order[~labelled]])[: self.evaluation.report.patches]

    def _patch(
        self,
        example: Example,
        patch: int,
        ids: Int[np.ndarray, " k"],
        similarity: Float32[np.ndarray, " k"],
        weights: Float[np.ndarray, " k"],
    ) -> Patch:
        """Describes a query patch and its neighbours."""
        row, column = position = divmod(patch, example.cells.grid[1])
        top, bottom = (int(edge) for edge in example.cells.rows[row : row + 2])
        left, right = (int(edge) for edge in example.cells.columns[column : column + 2])
        crop, inner = self._crop(example.image, position)
        found = zip(ids.tolist(), similarity.tolist(), weights.tolist(), strict=True)
        shown = [values for values in found if values[0] >= 0][: self.evaluation.report.neighbours]
        return {
            "position": position,
            "box": (top, left, bottom - top, right - left),
            "crop": crop,
            "inner": inner,
            "entries": [self._entry(*values) for values in shown],
        }

    def _entry(self, entry: int, similarity: float, weight: float) -> Entry:
        """Describes a bank entry."""
        image, epoch, patch = (int(x[entry]) for x in (self.bank.image, self.bank.epoch, self.bank.patch))
        example = self._prompt_example(image, epoch)
        position = divmod(patch, example.cells.grid[1])
        label, fraction = self.bank.labels.describe(entry)
        return {
            "weight": weight,
            "similarity": similarity,
            "image": image,
            "name": example.name,
            "epoch": epoch,
            "position": position,
            "crop": self._crop(example.image, position)[0],
            "label": label,
            "fraction": fraction,
        }

    def _prompt_example(self, image: int, epoch: int) -> Example:
        """Prepares a prompt image again, or finds it among the last ones."""
        example = self._prepared.pop((image, epoch), None)
        if example is None:
            example = prepare_prompt(
                self.evaluation.prompt, image, epoch, self.evaluation.task, self.evaluation.protocol
            )
        self._prepared[image, epoch] = example  # the most recent one last
        if len(self._prepared) > KEPT_IMAGES:
            del self._prepared[next(iter(self._prepared))]
        return example

    def _crop(
        self, image: UInt8[np.ndarray, "H W 3"], position: tuple[int, int]
    ) -> tuple[UInt8[np.ndarray, "s s 3"], Box]:
        """Returns a patch with its surroundings, and where the patch lies in it."""
        side = self.evaluation.protocol.patch_size
        margin = max(0, min(side, (CROP_LIMIT - side) // 2))
        row, column = position
        padded = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
        span = side + 2 * margin
        crop = padded[row * side : row * side + span, column * side : column * side + span]
        return crop.copy(), (margin, margin, side, side)
