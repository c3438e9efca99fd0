"""Self-attention of ViTs on this machine's device: forward, and forward with gradient, by each of our paths.

    scripts/bench self_attention [--rounds=5]

Prints milliseconds in bfloat16 at the sizes of ViTs, with and without [CLS], for each path: `products`, a softmax
between two products; `xla`, `jax.nn.dot_product_attention`; and `cudnn`, the same by cuDNN (on NVIDIA GPUs from Ampere
on). `difference` is the largest absolute difference from the output of `products`, divided by the largest output.
Results on an H200 are in `hummingbird/models/attention.py`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sides.timing import interleaved

from hummingbird.models import attention

SHAPES = ((512, 64, 6, 64), (256, 196, 12, 64), (256, 197, 12, 64), (64, 1024, 12, 64), (32, 1025, 12, 64))


def measure(shape: tuple[int, ...], rounds: int) -> dict[str, Any]:
    """Returns milliseconds and differences of each path for q, k and v of a shape [B, T, heads, d]."""
    q, k, v = (jax.random.normal(jax.random.key(i), shape, jnp.bfloat16) for i in range(3))
    paths: dict[str, Callable[..., Any]] = {"products": attention._batched, "xla": attention._fused}
    if attention.cudnn_takes(q, None):
        paths["cudnn"] = attention._flash
    sides, outputs = {}, {}
    for name, path in paths.items():
        forward = jax.jit(lambda q, k, v, path=path: path(q, k, v, None))
        loss = lambda q, k, v, path=path: jnp.sum(path(q, k, v, None).astype(jnp.float32) ** 2)
        both = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))
        sides[f"{name}, forward"] = lambda f=forward: jax.block_until_ready(f(q, k, v))
        sides[f"{name}, with gradient"] = lambda f=both: jax.block_until_ready(f(q, k, v))
        outputs[name] = np.asarray(forward(q, k, v), np.float32)
    truth = outputs.pop("products")
    return {
        "shape": shape,
        "milliseconds": {name: round(1000 * x["best"], 3) for name, x in interleaved(sides, rounds).items()},
        "difference": {name: float(np.abs(x - truth).max() / np.abs(truth).max()) for name, x in outputs.items()},
    }


def main() -> None:
    """Prints one JSON line per shape."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=0, help="images in a batch; 0: those of a GPU")
    options = parser.parse_args()
    for images, *rest in SHAPES:
        found = measure((options.images or images, *rest), options.rounds)
        print(json.dumps({"benchmark": "self_attention", "device": jax.devices()[0].device_kind, **found}), flush=True)


if __name__ == "__main__":
    main()
