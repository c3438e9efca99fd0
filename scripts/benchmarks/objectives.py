"""What a step of each objective costs, relative to supervised training of the same encoder.

    scripts/bench objectives [--parts=flops,seconds] [--rounds=3]

1. flops: operations of the matrix products of one step per image, of the recipes configs/pretrain/*_b16_imagenet.py
   and of their variants `:context`. Counted on the program, not run.
2. seconds: a step of each row of configs/sweeps/objectives.py:demo, best and median of interleaved rounds, after one
   that is not counted. Two CPU cores need about ten minutes, most of it to compile.

`relative` divides by supervised training.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys
from typing import Any

import jax
import numpy as np
from sides.timing import interleaved

from hummingbird import config as settings
from hummingbird import train
from hummingbird.devices import flops
from hummingbird.sweep.spec import load_sweep

ROOT = pathlib.Path(__file__).resolve().parents[2]
PRETRAIN = ROOT / "configs" / "pretrain"


def recipes() -> dict[str, str]:
    """Returns {objective, with " + context" where it has one: config file and variant}, supervised first."""
    found = {"supervised": "supervised_b16_imagenet.py", "hummingbird": "vit_b16_imagenet.py"}
    for path in sorted(PRETRAIN.glob("*_b16_imagenet.py")):
        if path.name not in found.values():
            found[path.name.removesuffix("_b16_imagenet.py")] = path.name
    for name, file in list(found.items()):
        if '"context": ' in (PRETRAIN / file).read_text():
            found[f"{name} + context"] = f"{file}:context"
    return found


def flops_per_image(config: Any) -> float:
    """Counts the matrix products of one step, divided by the images in its batch."""
    config = settings.replace(config, {"encoder.scan_layers": True})  # the same products, faster to trace
    program = train.build_program(config, examples=1000 * config.batch_size, devices=jax.devices()[:1])
    return flops.count(program.step, program.state, program.batch) / config.batch_size


def measure_flops() -> dict[str, Any]:
    """Returns Gflop per image of each recipe, and relative to supervised training."""
    counted = {
        name: flops_per_image(settings.resolve("pretrain", str(PRETRAIN / file))) for name, file in recipes().items()
    }
    return {
        "gflop_per_image": {name: round(number / 1e9, 1) for name, number in counted.items()},
        "relative": relative(counted),
    }


class Step:
    """A compiled train step with its own state and random batch; a call takes one step."""

    def __init__(self, config: Any):
        program = train.build_program(config, examples=1000 * config.batch_size, devices=jax.devices()[:1])
        rng = np.random.default_rng(0)
        draw = lambda x: rng.integers(0, 256 if x.dtype == np.uint8 else 10, x.shape).astype(x.dtype)
        self.batch = jax.tree.map(draw, program.batch)
        self.state, self.step = program.init(), program.step

    def __call__(self) -> None:
        self.state, _ = jax.block_until_ready(self.step(self.state, self.batch))


def measure_seconds(rounds: int) -> dict[str, Any]:
    """Returns seconds of a step of each row of the sweep at a laptop's size."""
    steps: dict[str, Any] = {}
    for point in load_sweep(f"{ROOT}/configs/sweeps/objectives.py:demo").points:
        if not point["seed"]:
            changes = {key: value for key, value in point.items() if key != "name"}
            steps[str(point["name"])] = Step(settings.resolve("pretrain", str(PRETRAIN / "demo.py"), changes))
    seconds = interleaved(steps, rounds)
    return {"seconds": seconds, "relative": relative({name: found["best"] for name, found in seconds.items()})}


def relative(numbers: dict[str, float]) -> dict[str, float]:
    """Divides by the number of supervised training."""
    return {name: round(number / numbers["supervised"], 2) for name, number in numbers.items()}


def main() -> None:
    """Prints one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="flops,seconds")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    parts = {"flops": measure_flops, "seconds": lambda: measure_seconds(options.rounds)}
    chosen = options.parts.split(",")
    if unknown := set(chosen) - set(parts):
        sys.exit(f"bench: no part named {', '.join(sorted(unknown))}; there are: {', '.join(parts)}")
    result = {"benchmark": "objectives", "device": jax.devices()[0].device_kind, "cpus": os.cpu_count()}
    print(json.dumps({**result, **{name: parts[name]() for name in chosen}}))


if __name__ == "__main__":
    main()
