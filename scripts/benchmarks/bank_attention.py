"""Attention over the bank in each of its forms: timed on this machine, or its traffic compiled for a TPU without one.

    scripts/bench bank_attention --topology=v4:2x2x1 [--tokens=12544] [--entries=153600] [--width=768] [--chunk=2048]
    scripts/bench bank_attention --tokens=25088 --entries=40960 [--rounds=5]

Compiles, for one device, what a step does: the online network's attention with its gradients and the target network's
without. The defaults are the paper's ViT-B on 128 devices. Prints one JSON line per version: operations, HBM traffic
(`hummingbird/devices/traffic.py`), the roofline, and the arrays that the compiler keeps.

Without --topology, times `streaming` and `bounded` on this machine's device, forward alone and with the gradient, and
prints the best of several interleaved rounds. `difference` is how far the two forms' gradients of the queries and of
the values are apart at most, divided by the largest gradient.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from sides.timing import interleaved

from hummingbird.commands.plan import analyse
from hummingbird.config.pretrain import Context
from hummingbird.devices import flops, topology
from hummingbird.models.bank_attention import build_bank_attention
from hummingbird.models.context import BankAttention, l2_normalize


def step_of(attention: BankAttention) -> Callable[..., tuple[Array, ...]]:
    """Returns the attention of both networks, with gradients for the online network."""

    def step(q: Array, keys: Array, values: Array, target_q: Array, target_values: Array) -> tuple[Array, ...]:
        def online(q: Array, values: Array) -> tuple[Array, tuple[Array, ...]]:
            read = attention(q, keys, values)
            return read.output, (read.nearest, read.share, read.entropy)

        output, back, stats = jax.vjp(online, q, values, has_aux=True)
        return attention(target_q, keys, target_values).output, output, *back(output), *stats

    return step


def measure(options: argparse.Namespace) -> None:
    """Prints milliseconds of each form on this machine's device."""
    key = jax.random.split(jax.random.key(0), 4)
    draw = lambda i, *shape: jax.random.normal(key[i], (*shape, options.width), jnp.bfloat16)
    q, keys = (l2_normalize(x).astype(jnp.bfloat16) for x in (draw(0, options.tokens), draw(1, 1, options.entries)))
    values, given = draw(2, 1, options.entries), draw(3, options.tokens).astype(jnp.float32)
    sides, gradients = {}, {}
    for name in ("streaming", "bounded"):
        attention = build_bank_attention(Context(bank_length=options.entries, chunk=options.chunk, attention=name))
        forward = jax.jit(lambda q, v, attention=attention: attention(q, keys, v).output)
        both = jax.jit(lambda q, v, forward=forward: jax.vjp(forward, q, v)[1](given))
        sides[f"{name}, forward"] = lambda f=forward: jax.block_until_ready(f(q, values))
        sides[f"{name}, with gradient"] = lambda f=both: jax.block_until_ready(f(q, values))
        gradients[name] = [np.asarray(x, np.float32) for x in both(q, values)]
    pairs = zip(gradients["bounded"], gradients["streaming"], strict=True)
    seconds = {name: found["best"] for name, found in interleaved(sides, options.rounds).items()}
    product = 2 * options.tokens * options.entries * options.width
    result = {
        "benchmark": "bank_attention",
        "device": jax.devices()[0].device_kind,
        "options": vars(options),
        "milliseconds": {name: round(1000 * x, 2) for name, x in seconds.items()},
        "tflops": {n: round((2 if n.endswith("forward") else 6) * product / x / 1e12) for n, x in seconds.items()},
        "difference": [float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs],
    }
    print(json.dumps(result))


def main() -> None:
    """Prints one JSON line per version."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--topology", default="", help="TPUs to compile for, such as v4:4x4x4; none: run on this machine"
    )
    parser.add_argument(
        "--tokens", type=int, default=2 * 32 * 196, help="query tokens of a device: views x images x patches"
    )
    parser.add_argument("--entries", type=int, default=153_600, help="bank entries, a multiple of 2048")
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--chunk", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if not options.topology:
        measure(options)
        return
    device = topology.tpus(options.topology)[0]
    place = NamedSharding(Mesh(np.asarray([device]), ("device",)), PartitionSpec())
    shape = lambda *sizes: jax.ShapeDtypeStruct((*sizes, options.width), jnp.bfloat16)
    tokens, bank = shape(options.tokens), shape(options.entries // 2048, 2048)
    for name in ("streaming", "fused"):
        settings = Context(bank_length=options.entries, chunk=options.chunk, attention=name)
        step, arguments = step_of(build_bank_attention(settings, device)), (tokens, bank, bank, tokens, bank)
        compiled = jax.jit(step, in_shardings=place, out_shardings=place).lower(*arguments).compile()
        found = analyse(compiled, device.device_kind, flops.count(step, *arguments))
        kept = ("temporary_bytes", "flops", "hbm_bytes_at_least", "roofline")
        print(
            json.dumps({"attention": name, "device": device.device_kind, **{key: found[key] for key in kept}}),
            flush=True,
        )


if __name__ == "__main__":
    main()
