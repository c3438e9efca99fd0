"""Gradient features (FUNGI): what they add to encoding, in context and on images, there against PyTorch.

    scripts/bench gradients [--encoder=vit_s16] [--size=512] [--batch=2] [--rounds=5] [--keys=20000]
                            [--parts=context,images,flops]

- `context`: seconds an image of `encoder(images)` and of patches with gradients of SimCLR, projected by `tensor`; the
  search of the preset paper, in a support of --keys patches, is counted apart. `relative` is over the encoder alone.
- `images`: what KL adds to the [CLS] token of a ViT-S/16 at 224 pixels, projected by `dense`, against PyTorch in the
  manner of the published library (`sides/torch_gradients.py`), with the same weights; `ratio` is ours over theirs, and
  `difference` that of the cosines between the gradients of the images.
- `flops`: matrix products per image of ViT-B/16 at 512 pixels, over those of the encoder alone, counted on the traced
  programs.

Seconds are those of the processors, so that other programs on the machine hardly matter.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import resource
import tempfile
import time
from typing import Any

import jax
import numpy as np
from sides.encoders import frozen
from sides.timing import interleaved

from hummingbird import gradients
from hummingbird.config.features import Features
from hummingbird.devices import flops
from hummingbird.encoder import load_encoder
from hummingbird.gradients import patches
from hummingbird.gradients.incontext import build_support
from hummingbird.gradients.presets import PRESETS
from hummingbird.models.vit import build_vit


class TimedSearch:
    """A search that counts its seconds."""

    def __init__(self, search: Any):
        self._search, self.seconds = search, 0.0

    def search(self, queries: np.ndarray, k: int) -> Any:
        start = time.process_time()
        found = self._search.search(queries, k)
        self.seconds += time.process_time() - start
        return found


def measure_context(name: str, size: int, batch: int, rounds: int, keys: int) -> dict[str, Any]:
    """Returns seconds per image with and without gradients."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, size, size, 3), np.uint8)
    vit = build_vit({"name": name}, size)
    params = jax.jit(vit.init)(jax.random.key(0), np.zeros((1, size, size, 3), np.float32))["params"]
    encoder = frozen(vit, params)
    support = build_support(rng.normal(size=(keys, encoder.dim)).astype(np.float32), np.zeros(keys, np.int32))
    timed = TimedSearch(support.index)
    support = dataclasses.replace(support, index=timed)
    made = lambda preset: gradients.in_context(encoder, preset=preset, projection="tensor")
    sides = {
        "encoder": lambda: encoder(images),
        "attraction": lambda: made_once["attraction"](images),
        "paper": lambda: made_once["paper"](images),
    }
    made_once = {"attraction": made("attraction"), "paper": dataclasses.replace(made("paper"), support=support)}
    # The search of a round is taken from its time; that of the encoder alone has none.
    found: dict[str, list[float]] = {side: [] for side in sides}
    searches: list[float] = []
    for number in range(rounds + 1):
        for side, run in sides.items():
            timed.seconds, start = 0.0, time.process_time()
            run()
            if number:  # the first round compiles
                found[side].append(time.process_time() - start - timed.seconds)
                searches += [timed.seconds] if side == "paper" else []
    best = {side: min(seconds) / batch for side, seconds in found.items()}
    return {
        "images": batch,
        "tokens": (size // vit.patch_size) ** 2,
        "seconds an image": {side: round(seconds, 4) for side, seconds in best.items()},
        "relative": {side: round(best[side] / best["encoder"], 3) for side in ("attraction", "paper")},
        "search, seconds an image": round(min(searches) / batch, 4),
        "support": keys,
    }


def measure_images(rounds: int, batch: int = 8) -> dict[str, Any]:
    """Returns what KL adds to the embedding, ours and PyTorch's."""
    from sides.load_torchvision import import_torchvision

    import_torchvision()  # timm needs it
    import timm
    import torch
    from safetensors.torch import save_file
    from sides.torch_gradients import TorchGradients

    model = timm.create_model("vit_small_patch16_224", num_classes=0).eval()
    with tempfile.TemporaryDirectory() as folder:
        path = str(pathlib.Path(folder, "model.safetensors"))
        save_file(model.state_dict(), path)
        encoder = load_encoder(path, family="dino")
    images = np.random.default_rng(0).integers(0, 256, (batch, 224, 224, 3), np.uint8)
    assert encoder.std is not None
    mean, std = np.asarray(encoder.backbone.arch.mean), np.asarray(encoder.std)  # pyright: ignore
    planes = torch.from_numpy(((images / 255 - mean) / std).astype(np.float32).transpose(0, 3, 1, 2).copy())
    theirs = TorchGradients(model, *gradients.build_head("kl", 0, encoder.dim, 768), dim=encoder.dim)
    found = interleaved(
        {
            "ours": lambda: encoder.cls(images),
            "ours, KL": lambda: gradients.features(encoder, images),
            "pytorch": lambda: theirs.embed(planes),
            "pytorch, KL": lambda: theirs.features(planes),
        },
        rounds,
        time.process_time,
    )
    best = {side: seconds["best"] / batch for side, seconds in found.items()}
    added = {side: best[f"{side}, KL"] - best[side] for side in ("ours", "pytorch")}
    parts = np.split(gradients.features(encoder, images, projection="none"), (384, 769), axis=1)
    outer = theirs.gradients(planes)[0].flatten(1).numpy()
    unit = outer / np.linalg.norm(outer, axis=1, keepdims=True)
    return {
        "images": batch,
        "seconds an image": {side: round(seconds, 4) for side, seconds in best.items()},
        "added by KL": {side: round(seconds, 4) for side, seconds in added.items()},
        "ratio": round(added["ours"] / added["pytorch"], 3),
        "difference": float(f"{np.abs((parts[0] @ parts[0].T) * (parts[1] @ parts[1].T) - unit @ unit.T).max():.1g}"),
    }


def count_flops(name: str = "vit_b16", size: int = 512) -> dict[str, Any]:
    """Returns the operations of features with gradients over those of the encoder."""
    vit = build_vit({"name": name}, size)
    params = jax.eval_shape(vit.init, jax.random.key(0), np.zeros((1, size, size, 3), np.float32))["params"]
    encoder = frozen(vit, params)
    image = jax.ShapeDtypeStruct((1, size, size, 3), np.uint8)
    alone = flops.count(lambda p, x: encoder.backbone.features(p, x).patches, params, image)
    head = gradients.build_head("simclr", 0, encoder.dim, 96)._asdict()
    tree, tokens = {"encoder": params, "heads": {"simclr": head}}, (size // vit.patch_size) ** 2
    rows = lambda count: jax.ShapeDtypeStruct((1, count, encoder.dim), np.float32)
    kept = jax.ShapeDtypeStruct((1, tokens), bool)
    result: dict[str, Any] = {"encoder, GFLOP": round(alone / 1e9, 1)}
    for preset in ("attraction", "paper"):
        for projection in ("none", "tensor", "dense"):
            settings = Features(gradients=("simclr",), projection=projection)
            choices = patches.Choices(settings, 0, PRESETS[preset].denominator)

            def run(tree: Any, image: Any, negatives: Any, kept: Any, choices: Any = choices) -> Any:
                neighbours = choices.denominator is not None
                residual, attended, _ = patches.run_tokens(encoder.backbone, neighbours, tree, image)
                return patches.run_features(encoder.backbone, choices, tree, residual, attended, negatives, kept)

            found = flops.count(run, tree, image, rows(tokens), kept)
            result[f"{preset}, {projection}"] = round(found / alone, 3)
    return result


def main() -> None:
    """Prints one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="vit_s16")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keys", type=int, default=20_000)
    parser.add_argument("--parts", default="context,images,flops")
    options = parser.parse_args()
    result: dict[str, Any] = {"benchmark": "gradients", "device": jax.devices()[0].device_kind, "cpus": os.cpu_count()}
    if "flops" in options.parts:
        result["flops, vit_b16 at 512"] = count_flops()
    if "context" in options.parts:
        result["context"] = measure_context(options.encoder, options.size, options.batch, options.rounds, options.keys)
    if "images" in options.parts:
        result["images"] = measure_images(options.rounds)
    result["peak memory, bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(result))


if __name__ == "__main__":
    main()
