"""The same images through open-hummingbird-eval's own code and through ours, with the same random draws.

    scripts/bench public_evaluator --repository=open-hummingbird-eval --root=camvid_mini \
        [--checkpoint=random:vit_ti16] [--input_size=224] [--patches=60] [--seeds=4]

Needs a clone of https://github.com/vpariza/open-hummingbird-eval and a torchvision that fits the installed torch. Their
classes read, augment, label, choose patches, transfer labels and score; the random numbers that they draw are recorded
and drawn again by `protocol=open-hummingbird`. A difference that is left comes from a stage that is not the same. The
third score of a seed is ours with random numbers of our own: its spread is what chance alone does. Encoder and exact
search are shared, images go through the encoder one at a time.

On camvid_mini (34 + 17 street scenes, 60 patches an image, --seeds=8) ours minus theirs is 0.00 mIoU on average with
the same draws and 0.09 at most; each side spreads by 0.6 (standard deviation) with draws of its own. So no stage
differs by more than that; a larger difference between single runs is chance.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import sys
import types
from collections.abc import Iterator
from unittest import mock

import jax
import numpy as np
from PIL import Image

from hummingbird import config
from hummingbird.config import EvaluateConfig
from hummingbird.data.interface import DenseSource
from hummingbird.data.sources import build_dense_source
from hummingbird.encoder import load_encoder
from hummingbird.models.frozen import FrozenEncoder
from hummingbird.retrieval import examples, open_hummingbird
from hummingbird.retrieval.bank import build
from hummingbird.retrieval.evaluate import measure

NEIGHBOURS = 30
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.255])
CHANGES = ("brightness", "contrast", "saturation", "hue")


@dataclasses.dataclass
class Draws:
    """What their code drew for each prompt image.

    Attributes:
      factors: of the colour changes that took place, by image and name.
      boxes: left, upper, right, lower, by image.
      scores: one uniform number per patch, image after image; those of Eq. 5.
    """

    factors: list[dict[str, float]] = dataclasses.field(default_factory=lambda: [{}])
    boxes: list[tuple[int, int, int, int]] = dataclasses.field(default_factory=list)
    scores: list[np.ndarray] = dataclasses.field(default_factory=list)

    @contextlib.contextmanager
    def recorded(self) -> Iterator[None]:
        """Notes what torchvision and torch draw."""
        import torch
        from torchvision import transforms

        jitter, crop, rand = transforms.ColorJitter.get_params, transforms.RandomResizedCrop.get_params, torch.rand

        def note_jitter(*ranges: object) -> object:
            drawn = jitter(*ranges)
            self.factors[-1] |= {n: float(x) for n, x in zip(CHANGES, drawn[1:], strict=True) if x is not None}
            return drawn

        def note_crop(*arguments: object, **more: object) -> object:
            top, left, height, width = crop(*arguments, **more)
            self.boxes.append((left, top, left + width, top + height))
            self.factors.append({})
            return top, left, height, width

        def note_rand(*shape: object, **more: object) -> object:
            drawn = rand(*shape, **more)
            if isinstance(shape[0], int) and shape[0] > 1:  # single numbers decide about colour changes
                self.scores.append(drawn.numpy().copy())
            return drawn

        with (
            mock.patch.object(transforms.ColorJitter, "get_params", staticmethod(note_jitter)),
            mock.patch.object(transforms.RandomResizedCrop, "get_params", staticmethod(note_crop)),
            mock.patch.object(torch, "rand", note_rand),
        ):
            yield

    @contextlib.contextmanager
    def repeated(self) -> Iterator[None]:
        """Lets ours draw the same."""
        scores = np.concatenate(self.scores) if self.scores else np.zeros(0)
        patches = len(scores) // len(self.boxes)

        def colours(seed: int, index: int, epoch: int, purpose: int) -> Repeat:
            numbers = []
            for name in CHANGES:
                numbers += [0.0, self.factors[index][name]] if name in self.factors[index] else [1.0]
            return Repeat(numbers, self.boxes[index])

        def choice(seed: int, index: int, epoch: int, purpose: int) -> Repeat:
            return Repeat([], scores=scores[index * patches :][:patches])

        with (
            mock.patch.object(examples, "stream", colours),
            mock.patch.object(open_hummingbird, "sample_box", lambda rng, *_: rng.box),
            mock.patch.object(build, "stream", choice) if patches else contextlib.nullcontext(),
        ):
            yield


class Repeat:
    """Stands for a NumPy generator."""

    def __init__(self, numbers: list[float], box: tuple[int, ...] = (), scores: np.ndarray | None = None):
        self.numbers, self.box, self.scores = numbers, box, scores

    def random(self, count: int | None = None) -> float | np.ndarray | None:
        return self.numbers.pop(0) if count is None else self.scores

    def uniform(self, *_: float) -> float:
        return self.numbers.pop(0)


class Exact:
    """Exact search in place of ScaNN or Faiss."""

    def __init__(self, keys: np.ndarray):
        self.keys = keys

    def find_nearest_neighbors(self, queries: object) -> tuple[np.ndarray, None]:
        x = queries.numpy()
        similarity = (x / np.linalg.norm(x, axis=1, keepdims=True)) @ self.keys.T
        return np.argpartition(-similarity, NEIGHBOURS, axis=1)[:, :NEIGHBOURS], None


def theirs(
    encoder: FrozenEncoder, prompt: DenseSource, query: DenseSource, options: argparse.Namespace, seed: int
) -> tuple[float, Draws]:
    """Returns the mIoU of their code, 0-100, and what it drew."""
    import torch
    from hbird import hbird_eval
    from hbird.utils import transforms
    from hbird.utils.image_transformations import CombTransforms

    rows = options.input_size // encoder.patch_size
    encode = jax.jit(dataclasses.replace(encoder, backbone=encoder.backbone.with_std(tuple(STD))).apply)

    class Extractor(torch.nn.Module):
        eval_spatial_resolution, d_model = rows, encoder.dim

        def forward_features(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
            pixels = x.permute(0, 2, 3, 1).numpy() * STD + MEAN  # the encoder normalises
            features = [np.asarray(encode(encoder.params, image[None])) for image in pixels]
            return torch.from_numpy(np.concatenate(features).reshape(len(x), rows * rows, -1)), None

    class Pairs(torch.utils.data.Dataset):
        def __init__(self, source: DenseSource, made: dict[str, object]):
            self.source, self.transform = source, CombTransforms(made["img"], None, made["shared"])

        def __len__(self) -> int:
            return len(self.source)

        def __getitem__(self, index: int) -> object:
            item = self.source[index]
            return self.transform(Image.fromarray(item["image"]), Image.fromarray(item["label"].astype(np.uint8)))

    def make_exact(evaluation: object, *_: object, **__: object) -> None:
        evaluation.NN_algorithm = Exact(evaluation.feature_memory.numpy())

    torch.manual_seed(seed)
    draws, size = Draws(), options.input_size
    load = lambda source, made: torch.utils.data.DataLoader(Pairs(source, made), batch_size=16)
    with draws.recorded(), mock.patch.object(hbird_eval.HbirdEvaluation, "_create_nn", make_exact):
        evaluation = hbird_eval.HbirdEvaluation(
            Extractor(),
            load(prompt, transforms.get_hbird_train_transforms(size)),
            len(prompt.classes),
            NEIGHBOURS,
            memory_size=options.patches * len(prompt) or None,
            dataset_size=len(prompt),
        )
        score = evaluation.evaluate(load(query, transforms.get_hbird_val_transforms(size)), rows)
    return 100 * float(score), draws


def ours(encoder: FrozenEncoder, settings: EvaluateConfig, prompt: DenseSource, query: DenseSource) -> float:
    """Returns our mIoU, 0-100."""
    result, _ = measure(encoder, settings, prompt, query)
    return result["metrics"]["miou"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repository", required=True, help="clone of open-hummingbird-eval")
    parser.add_argument("--root", required=True, help="folder in the layout of configs/evaluate/folder.py")
    parser.add_argument("--checkpoint", default="random:vit_ti16")
    parser.add_argument("--patches", type=int, default=60, help="patches of an image in the bank; 0: all")
    for name, default in (("input_size", 224), ("seeds", 4)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    sys.path.insert(0, options.repository)
    # Its data modules, which import pytorch_lightning, are not needed.
    sys.modules["hbird.data"] = types.SimpleNamespace(get_dataset=None)

    encoder = load_encoder(options.checkpoint)
    patches = options.patches or (options.input_size // encoder.patch_size) ** 2
    settings = {
        "protocol": "open-hummingbird",
        "input_size": options.input_size,
        "progress": False,
        "data": {"name": "folder", "root": options.root},
        "retrieval": {"index": "exact", "neighbours": NEIGHBOURS},
    }
    resolved = config.resolve("evaluate", overrides=settings)
    prompt, query = (build_dense_source(resolved, split) for split in ("prompt", "query"))
    settings["retrieval"]["memory_length"] = patches * len(prompt)
    rows = []
    for seed in range(options.seeds):
        resolved = config.resolve("evaluate", overrides={**settings, "seed": seed})
        score, draws = theirs(encoder, prompt, query, options, seed)
        with draws.repeated():
            same = ours(encoder, resolved, prompt, query)
        rows.append({"theirs": score, "ours": same, "ours_own_draws": ours(encoder, resolved, prompt, query)})
        print(f"seed {seed}: {rows[-1]}", file=sys.stderr)
    difference = np.array([row["ours"] - row["theirs"] for row in rows])
    spread = {
        name: round(float(np.std([row[name] for row in rows], ddof=1)), 3) for name in ("theirs", "ours_own_draws")
    }
    result = {
        "benchmark": "public_evaluator",
        "options": {name: value for name, value in vars(options).items() if name not in ("repository", "root")},
        "images": [len(prompt), len(query)],
        "miou": [{name: round(value, 3) for name, value in row.items()} for row in rows],
        "difference_with_the_same_draws": {
            "mean": round(float(difference.mean()), 3),
            "largest": round(float(np.abs(difference).max()), 3),
        },
        "standard_deviation_over_seeds": spread,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
