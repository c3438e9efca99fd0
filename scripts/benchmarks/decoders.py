"""One training step of each decoder, against the same in PyTorch.

    scripts/bench decoders [--encoder=vit_s16] [--size=256] [--batch=4] [--width=192] [--rounds=3]
                           [--rows=linear,linear_trained,upernet,depth_bins]

- `linear`, `depth_bins`: a head on a frozen encoder, which encodes each batch; DINOv2's losses.
- `linear_trained`, `upernet`: the encoder is trained too; UperNet has --width channels, MAE's pyramid and its auxiliary
  head.

Both sides start from the same encoder and take the same images, in float32. `seconds` is processor time and `clock`
wall time, the best of interleaved rounds after a warm-up; `ratio` is PyTorch's `seconds` divided by ours (above 1: ours
is faster). On two busy cores: `linear` 2.0, `depth_bins` 2.6 (--rounds=2), `upernet` 1.5 (--batch=2 --rounds=1).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import torch
from sides import torch_decoders
from sides.encoders import frozen, random_vit
from sides.timing import interleaved
from sides.torch_vit import TorchViT

from hummingbird import config as settings
from hummingbird.data.sources import build_dense_source
from hummingbird.decoders.program import build_program
from hummingbird.decoders.step import Batch
from hummingbird.models.frozen import FrozenEncoder
from hummingbird.models.vit import normalize
from hummingbird.tasks import build_task

CONFIGS = {  # file of configs/finetune, and differences
    "linear": ("linear", {"decoder.name": "bn_linear"}),
    "linear_trained": ("linear", {"decoder.name": "bn_linear", "decoder.train_encoder": True}),
    "upernet": ("upernet", {}),
    "depth_bins": ("depth", {}),
}
SAME: dict[str, Any] = {  # what PyTorch's side does not have
    "decoder.remat": False,
    "decoder.drop_path": 0.0,
    "decoder.relative_bias": False,
    "decoder.layer_scale": False,
    "optimizer.layer_decay": 1.0,
    "optimizer.clip_norm": None,
}


class Row:
    """Both sides of one decoder."""

    def __init__(self, name: str, encoder: FrozenEncoder, options: argparse.Namespace):
        file, differences = CONFIGS[name]
        given = {**differences, **SAME, "input_size": options.size, "batch_size": options.batch}
        given |= {"decoder.width": options.width} if name == "upernet" else {}
        config = settings.resolve("finetune", f"configs/finetune/{file}.py:scenes", given)
        evaluation = config.evaluation()
        self.task = build_task(build_dense_source(evaluation, "prompt"), evaluation)
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (options.batch, options.size, options.size, 3), np.uint8)
        labels = rng.integers(0, self.task.channels, images.shape[:3]).astype(self.task.label_dtype)
        if not self.task.has_classes:
            labels = rng.uniform(1, 9, images.shape[:3]).astype(np.float32)
        program = build_program(config, encoder.backbone, encoder.params, self.task, 64, jax.devices()[:1])
        self.head = program.fit.model.head
        self.ours = self._ours(program, encoder, Batch(images, labels))
        self.theirs = self._theirs(encoder, images, labels, config.decoder.train_encoder, options)

    def _ours(self, program: Any, encoder: FrozenEncoder, batch: Batch) -> Callable[[], float]:
        state = drawn(program, encoder)
        frozen = encoder.params if program.frozen else {}

        def step() -> float:
            nonlocal state
            state, metrics = program.step(frozen, state, batch)
            return float(jax.block_until_ready(metrics["loss"]))

        return step

    def _theirs(
        self, encoder: FrozenEncoder, images: np.ndarray, labels: np.ndarray, trained: bool, options: argparse.Namespace
    ) -> torch_decoders.Step:
        network = TorchViT(encoder.backbone.module(), encoder.params)
        pixels = np.asarray(normalize(images.astype(np.float32) / 255))
        kind, width, classes = type(self.head).__name__, encoder.dim, self.task.channels
        if kind == "UperNet":
            head = torch_decoders.UperNet(width, classes, options.width)
        else:
            head = torch_decoders.Linear(width, classes) if kind == "Linear" else torch_decoders.DepthBins(width)
        target = torch.tensor(labels.astype(np.int64) if self.task.has_classes else labels)
        layers = tuple(layer % encoder.backbone.depth for layer in self.head.layers)
        planes = torch.tensor(pixels.transpose(0, 3, 1, 2).copy())
        return torch_decoders.Step(network, head, layers, self.head.norm, trained, planes, target)


def drawn(program: Any, encoder: FrozenEncoder) -> Any:
    """Returns a state at step 0 that NumPy draws: XLA takes a while to compile the generators of many arrays."""
    rng = np.random.default_rng(0)

    def draw(path: tuple[Any, ...], x: Any) -> np.ndarray:
        name = str(getattr(path[-1], "key", ""))
        if name == "kernel" and "online" in str(path[0]):
            return rng.normal(0, 0.02, x.shape).astype(x.dtype)
        return np.full(x.shape, name in ("scale", "var"), x.dtype)

    state = jax.tree_util.tree_map_with_path(draw, program.state)
    trained = {name: encoder.params for name in state.online if name == "encoder"}
    return jax.tree.map(jax.numpy.asarray, state.replace(online={**state.online, **trained}))


def measure(name: str, encoder: FrozenEncoder, options: argparse.Namespace) -> dict[str, Any]:
    """Returns the seconds of a step on both sides, their ratios, and the losses of the first steps."""
    row = Row(name, encoder, options)
    sides: dict[str, Callable[[], float]] = {"ours": row.ours, "pytorch": row.theirs}
    losses = {side: round(step(), 3) for side, step in sides.items()}
    on_clock = dict.fromkeys(sides, float("inf"))

    def timed(side: str) -> float:
        start = time.perf_counter()
        loss = sides[side]()
        on_clock[side] = min(on_clock[side], time.perf_counter() - start)
        return loss

    found = interleaved({side: lambda side=side: timed(side) for side in sides}, options.rounds, time.process_time)
    seconds = {side: round(times["best"], 3) for side, times in found.items()}
    return {
        "seconds": seconds,
        "clock": {side: round(value, 3) for side, value in on_clock.items()},
        "ratio": round(seconds["pytorch"] / seconds["ours"], 2),
        "first_loss": losses,
    }


def main() -> None:
    """Prints one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="vit_s16")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", default=",".join(CONFIGS))
    options = parser.parse_args()
    rows = options.rows.split(",")
    if unknown := set(rows) - set(CONFIGS):
        sys.exit(f"bench: no row named {', '.join(sorted(unknown))}; there are: {', '.join(CONFIGS)}")
    options.dtype = "float32"
    encoder = frozen(*random_vit(options))
    result = {name: measure(name, encoder, options) for name in rows}
    facts = {"benchmark": "decoders", "device": jax.devices()[0].device_kind, "cpus": os.cpu_count()}
    print(json.dumps({**facts, **vars(options), "rows": result}))


if __name__ == "__main__":
    main()
