"""Where the attention over the bank goes: the own image, others of its class, the rest; trained and random weights.

    scripts/bench bank_weights --checkpoint=WORKDIR [--images=384] [--entries=384] [--config.data.root=FOLDER ...]

Takes a pretraining run, and images of its training data or of other data (--config.data.*). The target network, or the
online one if there is none, encodes one view of each of `entries` images; its tokens are averaged to a bank of keys
(Eq. 2). The online network encodes a second view of the same images (`own_in_bank`) and of other images
(`own_not_in_bank`, the usual case if the bank is much shorter than an epoch), and its tokens attend to the bank (Eq. 1)
at the temperature of the run. Of the attention weight, these are the shares in percent:

- `own`: of the entry that is the same image;
- `same_class`: of entries of other images of the same class, if images have classes;
- `nearest`: of the entry with the largest weight.

Beside them: the `entropy` of the weights in nats and the cosine `similarity` to the nearest entry. `expected` is the
value for equal weights. `random` is the network before the first step of the run.

The metrics that a run logs (`bank_entropy`, `bank_share`, `bank_similarity`) differ a little, because older versions of
the network wrote the entries of its bank.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from hummingbird import train
from hummingbird.config import PretrainConfig, schema
from hummingbird.data.augment import build_augment, photometric
from hummingbird.data.pipeline import build_batches
from hummingbird.data.views import GLOBAL
from hummingbird.errors import UserError
from hummingbird.models.context import l2_normalize
from hummingbird.models.pretrainer import patch_features
from hummingbird.run import checkpoint

ENCODED_AT_A_TIME = 64  # images
READ_AT_A_TIME = 8  # images; with 196 tokens each and 40,960 entries the weights take 0.3 GB


def draw(config: Any, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns two augmented views of `count` images, float32 [count, 2, S, S, 3], and their labels [count].

    No image comes twice. The order and the crops are not those of the run.
    """
    options, views, labels = build_augment(config)[GLOBAL], [], []
    augment = jax.jit(photometric, static_argnums=2)
    with contextlib.closing(build_batches(config, config.seed + 1000)) as batches:
        if len(batches.source) < count:
            sys.exit(
                f"bench: {count} images are needed, and there are {len(batches.source)}: lower --entries or --images"
            )
        for i in range(-(-count // config.batch_size)):
            batch = next(batches)
            views.append(np.asarray(augment(jax.random.key(i), batch["views"][GLOBAL][:, :2], options)))
            labels.append(batch["label"])
    return np.concatenate(views)[:count], np.concatenate(labels)[:count]


def encode(model: Any, params: Any, views: np.ndarray) -> np.ndarray:
    """Returns patch tokens [n, N, D] of views [n, S, S, 3]."""
    compiled = jax.jit(lambda x: patch_features(model, {"params": params}, x))
    parts = [compiled(views[i : i + ENCODED_AT_A_TIME]) for i in range(0, len(views), ENCODED_AT_A_TIME)]
    tokens = np.concatenate([np.asarray(part) for part in parts])
    return tokens.reshape(len(views), -1, tokens.shape[-1])


@jax.jit
def attention(tokens: Any, keys: Any, beta: float) -> tuple[Any, ...]:
    """Returns the weights of tokens [n, N, D] on keys, averaged to [n, M], and means [n] of what else `read` lists."""
    scores = l2_normalize(tokens) @ l2_normalize(keys).T
    weights = jax.nn.softmax(scores / beta)  # [n, N, M], Eq. 1
    entropy = -jnp.sum(weights * jnp.log(jnp.maximum(weights, 1e-30)), axis=-1)
    return weights.mean(axis=1), weights.max(axis=-1).mean(axis=1), entropy.mean(axis=1), scores.max(axis=-1).mean(1)


def read(tokens: np.ndarray, labels: np.ndarray, keys: np.ndarray, known: np.ndarray, own: bool, beta: float) -> Any:
    """Returns the shares of the weight of tokens [n, N, D] on a bank of entries [M, D] with labels `known` [M].

    With `own` the n images are the first n entries.
    """
    parts = [tokens[i : i + READ_AT_A_TIME] for i in range(0, len(tokens), READ_AT_A_TIME)]
    found = [jax.device_get(attention(part, keys, beta)) for part in parts]
    weights, nearest, entropy, similarity = (np.concatenate(x) for x in zip(*found, strict=True))
    self_ = np.eye(len(tokens), len(keys), dtype=bool) & own
    same = (labels[:, None] == known) & (labels[:, None] >= 0) & ~self_
    of = lambda mask: {"percent": 100 * (weights * mask).sum(axis=1).mean(), "expected": 100 * mask.mean()}
    shares = {**({"own": of(self_)} if own else {}), **({"same_class": of(same)} if (labels >= 0).any() else {})}
    return {
        **{name: {key: round(float(x), 2) for key, x in share.items()} for name, share in shares.items()},
        "nearest": {"percent": round(100 * float(nearest.mean()), 2), "expected": round(100 / len(keys), 2)},
        "entropy": {"nats": round(float(entropy.mean()), 2), "expected": round(float(np.log(len(keys))), 2)},
        "similarity": round(float(similarity.mean()), 3),
    }


def measure(options: argparse.Namespace, overrides: list[tuple[str, str]]) -> dict[str, Any]:
    """Returns the shares for the run's weights and for random ones."""
    _, manifest, arrays = checkpoint.load_newest(options.checkpoint)
    config = schema.resolve(PretrainConfig, manifest["config"], overrides)
    images, entries = min(options.images, options.entries), options.entries
    views, labels = draw(config, entries + images)
    program = train.build_program(config, examples=1000 * config.batch_size, devices=jax.devices()[:1])
    tree, start = traverse_util.unflatten_dict(arrays, sep="."), program.init()
    networks = {
        "trained": (tree["online"], tree.get("target") or tree["online"]),
        "random": (start.online, start.target or start.online),
    }
    found: dict[str, Any] = {}
    for name, (online, target) in networks.items():
        keys = encode(program.model, target, views[:entries, 0]).mean(axis=1)
        tokens = encode(program.model, online, np.concatenate([views[:images, 1], views[entries:, 1]]))
        beta = config.context.temperature
        found[name] = {
            "own_in_bank": read(tokens[:images], labels[:images], keys, labels[:entries], True, beta),
            "own_not_in_bank": read(tokens[images:], labels[entries:], keys, labels[:entries], False, beta),
        }
    return {
        "benchmark": "bank_weights",
        "steps": manifest["step"],
        "images": images,
        "entries": entries,
        "classes": len(set(labels.tolist()) - {-1}),
        "temperature": config.context.temperature,
        **found,
    }


def main() -> None:
    """Prints one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, metavar="WORKDIR", help="a pretraining run")
    parser.add_argument("--images", type=int, default=384, help="of each kind, at most --entries")
    parser.add_argument("--entries", type=int, default=384, help="length of the bank")
    options, rest = parser.parse_known_args()
    if min(options.images, options.entries) < 1:
        parser.error("--images and --entries are at least 1")
    overrides: list[tuple[str, str]] = []
    for flag in rest:
        key, equals, value = flag.removeprefix("--config.").partition("=")
        if not flag.startswith("--config.") or not equals:
            parser.error(f"unknown argument {flag}; --config.KEY=VALUE sets a key of the run")
        overrides.append((key, value))
    try:
        print(json.dumps(measure(options, overrides)))
    except UserError as error:
        sys.exit(f"bench: {error}")


if __name__ == "__main__":
    main()
