"""The pretraining step: memory and time of the bank, attention to the nearest entries, and PyTorch without a bank.

    scripts/bench pretrain [--parts=memory,step,neighbours,throughput] [--encoder=vit_ti8] [--depth=6] [--size=64]
        [--batch=64] [--bank=40960] [--dtype=float32] [--rounds=2] [--checkpoint=WORKDIR]

1. memory: temporary bytes of the compiled attention over the bank, forward and backward, for --bank entries and for an
   eighth of them. `attention` takes keys and values as arguments and returns the values' gradient, so these arrays of
   the bank's size are not counted; the normalised copy of the keys is subtracted. `with_values` also computes the
   values, with all of phi's hidden activations; `values` is that part alone. All are for one network; a step runs two.
2. step: the whole train step with the bank, with attention to its --k nearest entries, and without a bank.
   `flops_paper_size` compares the matrix products of the paper's run (ViT-B/16, batch 4096, 224 px), counted, not run.
3. neighbours (needs --checkpoint, a training workdir): how close attention to the k nearest entries is to attention to
   all, at the checkpoint's temperature, on features of photographs. Entries are those of a bank, the target network's
   mean features of augmented crops; queries are the online network's tokens of crops of other photographs.
   `contextualised` and `attended` are mean relative distances of c and of vhat (Eq. 2), `mass` is the full attention's
   weight on the k nearest, `gradient_cosine` is the mean cosine between the gradients that reach a token for a random
   gradient of c, and `attended_gradient_cosine` the same for vhat.
4. throughput: images per second of the step without a bank and with mean pooling, against the same step in PyTorch
   (timm's ViT if it is installed, with our weights). Both get the views unchanged and, as `augmented`, views that our
   photometric augmentation makes in the measured time. If the first losses disagree, the benchmark ends with an error.

Seconds are the best and the median of interleaved rounds, after one that is not counted. With the defaults two CPU
cores need about five minutes and 5 GB. On a GPU, for example:
--encoder=vit_b16 --depth=12 --size=224 --batch=128 --dtype=bfloat16 --rounds=10.

Two cores (AVX-512), float32, the defaults, best seconds:

- memory: attention takes 120.5 MB beyond the bank for 5,120 and for 40,960 entries, ratio 1.00. The values take 75.2 MB
  for both; before they were computed in chunks, phi's hidden activations took 340 and 2,716 MB.
- step: 2.21 s without a bank, 18.1 s with 40,960 entries (8.2x, products 8.6x), 15.8 s with the nearest 30 (7.2x,
  products 4.7x: selecting and gathering takes most of the saving). A bank this large beside so small a batch and
  encoder does not predict the paper's run, where products grow 1.71x, and 1.18x with the nearest 30.
- throughput: 37.3 images per second against 35.4 of PyTorch 2.13 with timm 1.0, 1.05x; 1.02x with augmentation. With
  --dtype=bfloat16 28.0 against 42.2, 0.66x.
- neighbours: `--parts=neighbours --checkpoint=RUN`, a run of 600 steps on 125 photographs at 48 px (width 96),
  temperature 0.02; 234 photographs, including those 125, and a bank of 4,096 entries. In brackets `--entries=16384`:

      k    contextualised   attended        mass           gradient_cosine    attended_gradient_cosine
      1    0.051 (0.055)    0.299 (0.311)   0.19 (0.11)    0.9972 (0.9974)    0 (0)
      8    0.018 (0.024)    0.101 (0.136)   0.52 (0.32)    0.9991 (0.9988)    0.800 (0.692)
      30   0.008 (0.014)    0.046 (0.081)   0.75 (0.53)    0.9998 (0.9995)    0.954 (0.896)
      128  0.002 (0.007)    0.013 (0.039)   0.94 (0.78)    1.0000 (0.9999)    0.995 (0.978)
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import pathlib
import sys
from typing import Any
from unittest import mock

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch shares the device

import jax
import jax.numpy as jnp
import numpy as np
from sides.nearest import measure_neighbours
from sides.timing import interleaved

from hummingbird import config as settings
from hummingbird import train, train_step
from hummingbird.data import augment
from hummingbird.data.views import GLOBAL
from hummingbird.devices import chips, flops
from hummingbird.models.bank_attention import build_bank_attention
from hummingbird.models.context import contextualise, unit_keys
from hummingbird.models.pretrainer import build_pretrainer
from hummingbird.objectives import Batch

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAPER_BANK = 40_960  # the paper reports 22% more time per step for this length (Sec. 3.2)
MEMORY_CHUNK = 1024  # divides both lengths, so that both banks are read in chunks of the same size


def pretrain_config(options: argparse.Namespace, **more: Any) -> Any:
    """Returns the paper's config at the sizes of the options."""
    own = {
        "encoder.name": options.encoder,
        "encoder.depth": options.depth,
        "input_size": options.size,
        "batch_size": options.batch,
        "dtype": options.dtype,
        "context.bank_length": options.bank,
        "total_steps": 1000,
        "optimizer.warmup_steps": 10,
    }
    return settings.resolve("pretrain", overrides={**own, **more})


class Step:
    """Our compiled train step with its own state; a call takes one step and returns the loss."""

    def __init__(self, config: Any, views: np.ndarray, augmented: bool = True):
        self.config, self.program = config, train.build_program(config, examples=1000 * config.batch_size)
        as_they_are = lambda key, views, options, positions=None: views.astype(jnp.float32) / 255
        with mock.patch.object(train_step, "photometric", augment.photometric if augmented else as_they_are):
            self.compiled = self.program.step.lower(self.program.state, self.program.batch).compile()
            self.flops = flops.count(self.program.step, self.program.state, self.program.batch)
        state = self.program.init()
        entries = np.random.default_rng(0).normal(size=state.bank.keys.shape).astype(np.float32)
        bank = jax.device_put(state.bank.replace(keys=entries), self.program.shardings.bank)
        self.state = state.replace(bank=bank)
        self.batch = Batch({GLOBAL: jnp.asarray(views)}, jnp.zeros(len(views), jnp.int32))

    def __call__(self) -> float:
        self.state, metrics = jax.block_until_ready(self.compiled(self.state, self.batch))
        return float(metrics["loss"])

    def utilisation(self, seconds: float) -> dict[str, float]:
        """Returns the model flops utilisation, or nothing for a chip with an unknown peak."""
        peak = train.seconds_at_peak(self.config, self.program)
        return {} if peak is None else {"mfu": peak / seconds}


# ---------------------------------------------------------------- 1. memory
def measure_memory(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the temporary bytes for the bank and for an eighth of it."""
    lengths = [options.bank // 8, options.bank]
    chunk = min(MEMORY_CHUNK, lengths[0])
    rows = {name: [] for name in ("attention", "with_values", "values", "unit_keys")}
    for length in lengths:
        for name, number in temporaries(
            pretrain_config(options, **{"context.bank_length": length, "context.chunk": chunk})
        ).items():
            rows[name].append(number)
    beyond = [raw - unit for raw, unit in zip(rows["attention"], rows["unit_keys"], strict=True)]
    return {
        "entries": lengths,
        "temporary_bytes": rows,
        "attention_beyond_the_bank": beyond,
        "ratio": beyond[1] / beyond[0],
        "ratio_raw": {name: found[1] / found[0] for name, found in rows.items()},
    }


def temporaries(config: Any) -> dict[str, int]:
    """Returns the temporary bytes of attention with gradients, with and without values, and of the values alone."""
    state = train.build_program(config, examples=1000 * config.batch_size).state
    model, attention = build_pretrainer(config), build_bank_attention(config.context)
    width, keys = model.encoder.width, state.bank.keys
    count = 2 * config.batch_size * (config.input_size // model.encoder.patch_size) ** 2
    like = lambda *shape, dtype=model.dtype: jax.ShapeDtypeStruct(shape, dtype)
    tokens, values = like(count, width), like(*keys.shape)
    stats = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), state.online_stats)

    def values_of(params: Any, keys: Any) -> Any:
        variables = {"params": params, "batch_stats": stats}
        return model.apply(variables, keys, method="values", mutable=["batch_stats"])[0]

    def read(q: Any, values: Any, keys: Any) -> Any:
        return contextualise(q, unit_keys(keys, values.dtype), values, config.context.weight, attention)[0]

    def only(q: Any, values: Any, keys: Any, out: Any) -> Any:
        c, back = jax.vjp(lambda q, values: read(q, values, keys), q, values)
        return c, back(out)

    def whole(params: Any, q: Any, keys: Any, out: Any) -> Any:
        c, back = jax.vjp(lambda params, q: read(q, values_of(params, keys), keys), params, q)
        return c, back(out)

    def phi(params: Any, keys: Any, out: Any) -> Any:
        v, back = jax.vjp(lambda params: values_of(params, keys), params)
        return v, back(out)

    calls = {
        "attention": (only, (tokens, values, keys, tokens)),
        "with_values": (whole, (state.online, tokens, keys, tokens)),
        "values": (phi, (state.online, keys, values)),
    }
    compile_ = lambda function, arguments: jax.jit(function).lower(*arguments).compile().memory_analysis()
    found = {name: compile_(*call).temp_size_in_bytes for name, call in calls.items()}
    return {**found, "unit_keys": keys.size * jnp.dtype(model.dtype).itemsize}


# ---------------------------------------------------------------- 2. the step with the bank
def measure_step(options: argparse.Namespace, views: np.ndarray) -> dict[str, Any]:
    """Returns seconds and flops with the bank, with its nearest entries, and without a bank."""
    changes = {"bank": {}, "nearest": {"context.neighbours": options.k}, "without": {"context.bank_length": 0}}
    steps = {name: Step(pretrain_config(options, **change), views) for name, change in changes.items()}
    seconds = interleaved({**steps}, options.rounds)
    best = {name: found["best"] for name, found in seconds.items()}
    paper = {name: paper_flops(change) for name, change in changes.items()}
    ratios = lambda numbers: {name: numbers[name] / numbers["without"] for name in ("bank", "nearest")}
    return {
        "entries": options.bank,
        "k": options.k,
        "seconds": seconds,
        "time_ratio": ratios(best),
        "flops": {name: step.flops for name, step in steps.items()},
        "flops_ratio": ratios({name: step.flops for name, step in steps.items()}),
        "flops_paper_size": ratios(paper),
        "temporary_bytes": {n: s.compiled.memory_analysis().temp_size_in_bytes for n, s in steps.items()},
        "utilisation": {name: step.utilisation(best[name]) for name, step in steps.items()},
    }


def paper_flops(change: dict[str, Any]) -> float:
    """Counts the matrix products of one step of the paper's run, with a bank of PAPER_BANK entries."""
    own = {"context.bank_length": PAPER_BANK, "optimizer.warmup_steps": 10}
    config = settings.resolve("pretrain", overrides={**own, **change})
    program = train.build_program(config, examples=1000 * config.batch_size)
    return flops.count(program.step, program.state, program.batch)


# ---------------------------------------------------------------- 4. against PyTorch
def measure_throughput(options: argparse.Namespace, views: np.ndarray) -> dict[str, Any]:
    """Returns images per second of both sides, with and without augmentation."""
    from sides.contrastive import TorchStep

    config = pretrain_config(options, **{"context.bank_length": 0, "pooling": "mean"})
    ours, plain = Step(config, views), Step(config, views, augmented=False)
    theirs = TorchStep(plain.program.model.encoder, plain.state, config)
    shown = jax.jit(
        lambda key, x: augment.photometric(key, x, augment.build_photometric(config)).transpose(0, 1, 4, 2, 3)
    )
    planes = theirs.tensor(jnp.asarray(views).transpose(0, 1, 4, 2, 3) / 255)
    losses = plain(), theirs(planes)
    if not np.isclose(*losses, rtol=1e-3 if options.dtype == "float32" else 5e-2):
        sys.exit(f"bench: the two sides compute different things: first losses {losses}")
    sides = {
        "ours": plain,
        "pytorch": lambda: theirs(planes),
        "ours_augmented": ours,
        "pytorch_augmented": lambda: theirs(theirs.tensor(shown(jax.random.key(0), ours.batch.views[GLOBAL]))),
        "augmentation": lambda: jax.block_until_ready(shown(jax.random.key(0), ours.batch.views[GLOBAL])),
    }
    seconds = interleaved(sides, max(options.rounds, 5))
    best = {name: found["best"] for name, found in seconds.items()}
    return {
        "pytorch_encoder": theirs.name,
        "first_losses": losses,
        "seconds": seconds,
        "images_per_second": {name: options.batch / best[name] for name in sides if name != "augmentation"},
        "ours / pytorch": best["pytorch"] / best["ours"],
        "ours / pytorch, augmented": best["pytorch_augmented"] / best["ours_augmented"],
        **plain.utilisation(best["ours"]),
    }


def main() -> None:
    """Prints one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="memory,step,neighbours,throughput")
    parser.add_argument("--encoder", default="vit_ti8")
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--bank", type=int, default=40960)
    parser.add_argument("--k", type=int, default=30, help="nearest entries to attend to")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--checkpoint", help="training workdir for part 3")
    parser.add_argument("--images", type=pathlib.Path, default=ROOT.parent / "shared" / "data", help="JPEGs for part 3")
    parser.add_argument("--entries", type=int, default=4096, help="bank entries in part 3")
    parser.add_argument("--queries", type=int, default=2048, help="query tokens in part 3")
    options = parser.parse_args()
    # Coarse noise: fine noise would make all images alike to the encoder.
    coarse = np.random.default_rng(0).integers(0, 256, (options.batch, 2, 4, 4, 3), np.uint8)
    views = coarse.repeat(-(-options.size // 4), 2).repeat(-(-options.size // 4), 3)[
        :, :, : options.size, : options.size
    ]
    parts = {
        "memory": lambda: measure_memory(options),
        "step": lambda: measure_step(options, views),
        "neighbours": lambda: measure_neighbours(options) if options.checkpoint else "skipped: needs --checkpoint",
        "throughput": lambda: measure_throughput(options, views),
    }
    asked = options.parts.split(",")
    if unknown := set(asked) - set(parts):
        sys.exit(f"bench: no part named {', '.join(sorted(unknown))}; there are: {', '.join(parts)}")
    if "throughput" in asked and importlib.util.find_spec("torch") is None:
        sys.exit("bench: the part throughput needs PyTorch: pip install torch, or leave it out of --parts")
    result = {
        "benchmark": "pretrain",
        "device": jax.devices()[0].device_kind,
        "peak_known": chips.find(jax.devices()[0].device_kind) is not None,
        "cpus": os.cpu_count(),
        "sizes": {name: getattr(options, name) for name in ("encoder", "depth", "size", "batch", "dtype")},
    }
    print(json.dumps({**result, **{name: run() for name, run in parts.items() if name in asked}}))


if __name__ == "__main__":
    main()
