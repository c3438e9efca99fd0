"""Starts a new run from existing parameters (`--init_from`); resuming a run is `run.checkpoint`'s.

Only parameters are taken: all of the encoder's, and from a run of this framework every other parameter that has the
same name and shape here. Step, optimiser, bank and batch-norm statistics start afresh.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

import jax
import numpy as np
from etils import epath
from jax import Array

from hummingbird.errors import UserError
from hummingbird.models.architecture import MEAN, STD, Architecture
from hummingbird.models.positions import resize_positions
from hummingbird.models.vit import ViT
from hummingbird.run import checkpoint, fingerprint
from hummingbird.run.files import Json
from hummingbird.weights import hub, shipped
from hummingbird.weights.foreign import load
from hummingbird.weights.mapping import Arrays

log = logging.getLogger(__name__)
NETWORKS = ("online", "target")
# An encoder is whole without these tokens, whether they are drawn at random or left out.
OPTIONAL = ("encoder.cls", "encoder.mask_token")

Wanted = Mapping[str, Array | jax.ShapeDtypeStruct]
State = TypeVar("State")


@dataclasses.dataclass(frozen=True)
class Given:
    """Parameters to start from.

    Attributes:
      arrays: {"online.encoder.norm.scale": array}, names, shapes and dtypes as in the new run's state.
      record: what was taken, and from where; for the manifest.
    """

    arrays: Arrays
    record: dict[str, Json]


def read(path: str, vit: ViT, wanted: Wanted) -> Given:
    """Reads the parameters that a new run takes from `path`.

    Args:
      path: training workdir or step folder, imported folder, another project's weights file, or a name (on the hub, or
        of a shipped encoder).
      vit: the new run's encoder.
      wanted: the new run's state by name (`checkpoint.to_arrays`), arrays or shapes.

    Raises:
      UserError: there is nothing, or not this encoder; the first array that does not fit is named.
    """
    path = os.path.expanduser(path)
    named = hub.is_hub(path) or shipped.is_shipped(path)
    if not named and not epath.Path(path).exists():
        raise UserError(
            f"--init_from={path} does not exist; give a training workdir, imported folder, weights file, hf:ORG/NAME "
            "or shipped:photographs"
        )
    of_run = not named and checkpoint.is_training(path)
    found, origin = _of_run(path, vit) if of_run else _of_file(path, vit)
    wanted = {n: x for n, x in wanted.items() if n.split(".")[0] in NETWORKS}
    found = _for_networks(found, {name.split(".")[0] for name in wanted})
    found = _restack(found, stacked=any(".encoder.blocks." in name for name in wanted))
    found = _regridded(found, wanted, vit.arch)
    _check_encoder(path, found, wanted)
    taken = {n: x for n, x in found.items() if n in wanted and x.shape == wanted[n].shape}
    for name, x in taken.items():
        if x.dtype != wanted[name].dtype:
            raise UserError(f"--init_from={path}: {name} is {x.dtype}, {wanted[name].dtype} in this run")
    left, drawn = sorted(found.keys() - taken.keys()), sorted(wanted.keys() - taken.keys())
    log.info("a new run from step 0 with the parameters of %s (%s): %s", path, origin["kind"], _groups(taken))
    if left:
        log.info("parameters not taken, since their names or shapes differ here: %s", _groups(left))
    if drawn:
        log.info("parameters drawn at random: %s", _groups(drawn))
    record = {"path": path, **origin, "fingerprint": fingerprint.fingerprint(taken), "taken": len(taken)}
    return Given(taken, {**record, "not_taken": left, "drawn": drawn})


def put(given: Given, state: State, shardings: State) -> State:
    """Returns the state with the given parameters in their places, on the devices of `shardings`, a like tree."""
    places = checkpoint.to_arrays(shardings)
    arrays = {n: jax.make_array_from_callback(x.shape, places[n], x.__getitem__) for n, x in given.arrays.items()}
    return checkpoint.from_arrays(state, {**checkpoint.to_arrays(state), **arrays})


def _regridded(found: Arrays, wanted: Wanted, arch: Architecture) -> Arrays:
    """Resizes learned positions of a square grid to this run's, as the encoder resizes them for other inputs."""

    def resized(name: str, x: np.ndarray) -> np.ndarray:
        side = math.isqrt(len(x)) if name.endswith("encoder.positions") and x.ndim == 2 else 0
        if not arch.grid or name not in wanted or side**2 != len(x) or x.shape == wanted[name].shape:
            return x
        log.info("%s of %d x %d patches are resized to %d x %d", name, side, side, *arch.grid)
        return np.asarray(resize_positions(x, (side, side), arch.grid, arch.resize)).astype(x.dtype)

    return {name: resized(name, x) for name, x in found.items()}


def _check_encoder(path: str, found: Arrays, wanted: Wanted) -> None:
    """Raises UserError naming the first array of the encoder that is missing, has another shape or has no place."""
    for name, x in wanted.items():
        inner = name.partition(".")[2]
        if not inner.startswith("encoder.") or (inner in OPTIONAL and name not in found):
            continue
        shape = list(found[name].shape) if name in found else None
        if shape != list(x.shape):
            there = f"is {shape} there" if shape else "is not there"
            raise UserError(
                f"--init_from={path}: {inner} {there}, {list(x.shape)} in this run; use the encoder.* keys and "
                "input_size that it was made with"
            )
    for name in found:
        if name not in wanted and ".encoder." in name and not name.endswith((*OPTIONAL, ".positions")):
            inner = name.partition(".")[2]
            raise UserError(f"--init_from={path}: {inner} has no place in this run's encoder: it is another kind")


def _of_run(path: str, vit: ViT) -> tuple[Arrays, dict[str, Json]]:
    wanted = lambda name: name.split(".")[0] in NETWORKS
    folder, manifest, arrays = checkpoint.load_pretrained(path, wanted=wanted)
    heads = manifest["config"].get("encoder.heads")
    if heads is not None and heads != vit.arch.heads:
        raise UserError(f"--init_from={path}: its encoder has {heads} attention heads, this run's {vit.arch.heads}")
    return arrays, {"kind": manifest["kind"], "step": manifest["step"], "from": folder.name}


def _of_file(path: str, vit: ViT) -> tuple[Arrays, dict[str, Json]]:
    weights = load(path)
    arch, ours = weights.arch, vit.arch
    if not isinstance(arch, Architecture):
        raise UserError(f"--init_from={path}: family {weights.family} is no vision transformer")
    for what in ("patch_size", "heads", "activation", "rotary", "pre_norm"):
        if getattr(arch, what) != getattr(ours, what):
            raise UserError(
                f"--init_from={path}: its encoder has {what} {getattr(arch, what)}, this run's {getattr(ours, what)}; "
                "use the encoder.* keys that it was made with"
            )
    if not np.allclose((arch.mean, arch.std), (MEAN, STD)):
        log.warning("%s was trained with other pixel statistics (mean %s, std %s)", path, arch.mean, arch.std)
    if arch.positions != ours.positions:
        log.warning("%s has %s positions, this run %s", path, arch.positions, ours.positions)
    flat = {f"encoder.{name.replace('/', '.')}": x for name, x in weights.arrays.items()}
    arrays = {f"{network}.{name}": x for network in NETWORKS for name, x in flat.items()}
    kind = f"weights of family {weights.family}"
    return arrays, {"kind": kind, "step": None, "from": weights.source, "commit": weights.commit}


def _for_networks(found: Arrays, networks: set[str]) -> Arrays:
    """Keeps the networks that the new run has; a target network starts from the online one if there is no other."""
    if not any(name.startswith("target.") for name in found):
        found = found | {f"target.{n.removeprefix('online.')}": x for n, x in found.items() if n.startswith("online.")}
    return {name: x for name, x in found.items() if name.split(".")[0] in networks}


def _restack(found: Arrays, stacked: bool) -> Arrays:
    """Stores the layers one by one or stacked (encoder.scan_layers), as the new run does."""
    result: Arrays = {}
    rows: dict[str, list[np.ndarray]] = {}
    for name, x in sorted(found.items()):  # block_00, block_01, ...
        if not stacked and ".encoder.blocks." in name:
            parts = {name.replace(".blocks.", f".block_{i:02d}."): row for i, row in enumerate(x)}
            result |= parts
        elif stacked and re.search(r"\.encoder\.block_\d+\.", name):
            rows.setdefault(re.sub(r"\.block_\d+\.", ".blocks.", name), []).append(x)
        else:
            result[name] = x
    return {**result, **{name: np.stack(parts) for name, parts in rows.items()}}


def _groups(names: Iterable[str]) -> str:
    """Counts names by their first two parts: "online.encoder (14 arrays), target.encoder (14 arrays)"."""
    counts: dict[str, int] = {}
    for name in names:
        group = ".".join(name.split(".")[:2])
        counts[group] = counts.get(group, 0) + 1
    return ", ".join(f"{group} ({count} array{'s'[: count != 1]})" for group, count in sorted(counts.items()))
