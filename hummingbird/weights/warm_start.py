"""Beginning a new run with parameters that are already there (`--init_from`); not the same as going on with a run.

Taken are parameters alone: the encoder's, which must all be there, and of another run of this framework also those
other parameters of each network whose name and shape are ours. Everything else, step, optimiser, bank and batch-norm
statistics, is new.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from etils import epath

from hummingbird.errors import UserError
from hummingbird.models.architecture import MEAN, STD, Architecture
from hummingbird.models.vit import ViT
from hummingbird.run import checkpoint, fingerprint

log = logging.getLogger(__name__)
NETWORKS = ("online", "target")
MAY_MISS = "encoder.cls"  # a token that is drawn, or left behind, leaves the rest of an encoder whole

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Given:
    """Parameters to begin with.

    Attributes:
      arrays: {"online.encoder.norm.scale": array}, names, shapes and dtypes of the new run's state.
      record: what was taken from where; JSON, for the manifest.
    """

    arrays: Arrays
    record: dict[str, Any]


def read(path: str, vit: ViT, state: Any) -> Given:
    """What a new run takes from `path`.

    Args:
      path: training workdir or step folder, imported folder, or a weights file of another project.
      vit: the new run's encoder.
      state: its TrainState, of arrays or shapes.

    Raises:
      UserError: nothing is there; the encoder is another one: the first array that does not fit is named.
    """
    if not epath.Path(path).exists():
        raise UserError(f"--init_from={path} does not exist; give a training workdir, imported folder or weights file")
    found, about = _of_run(path, vit) if checkpoint.is_training(path) else _of_file(path, vit)
    ours = {n: x for n, x in checkpoint.to_arrays(state).items() if n.split(".")[0] in NETWORKS}
    found = _for_networks(found, {name.split(".")[0] for name in ours})
    found = _restack(found, ours)
    for name, x in ours.items():
        inner = name.partition(".")[2]
        if not inner.startswith("encoder.") or (inner == MAY_MISS and name not in found):
            continue
        shape = list(found[name].shape) if name in found else None
        if shape != list(x.shape):
            there = f"is {shape} there" if shape else "is not there"
            raise UserError(
                f"--init_from={path}: {inner} {there}, {list(x.shape)} in this run; use the encoder.* keys and "
                "input_size that it was made with"
            )
    extra = [n for n in found if n not in ours and ".encoder." in n and not n.endswith((MAY_MISS, ".positions"))]
    if extra:
        raise UserError(
            f"--init_from={path}: {extra[0].partition('.')[2]} has no place in this run's encoder: it is another kind"
        )
    taken = {n: x for n, x in found.items() if n in ours and x.shape == ours[n].shape}
    cast = [n for n, x in taken.items() if x.dtype != ours[n].dtype]
    if cast:
        raise UserError(f"--init_from={path}: {cast[0]} is {taken[cast[0]].dtype}, {ours[cast[0]].dtype} in this run")
    left, drawn = sorted(found.keys() - taken.keys()), sorted(ours.keys() - taken.keys())
    log.info("a new run from step 0 with the parameters of %s (%s): %s", path, about["kind"], _groups(taken))
    for names, what in ((left, "of its parameters not taken, their names or shapes are not ours"), (drawn, "drawn")):
        if names:
            log.info("%s: %s", what, _groups(names))
    record = {"path": path, **about, "fingerprint": fingerprint.fingerprint(taken), "taken": len(taken)}
    return Given(taken, {**record, "not_taken": left, "drawn": drawn})


def put(given: Given, state: Any, shardings: Any) -> Any:
    """The state with the given parameters in their places, on the devices that `shardings` (a like tree) says."""
    where = checkpoint.to_arrays(shardings)
    here = {n: jax.make_array_from_callback(x.shape, where[n], x.__getitem__) for n, x in given.arrays.items()}
    return checkpoint.from_arrays(state, {**checkpoint.to_arrays(state), **here})


def _of_run(path: str, vit: ViT) -> tuple[Arrays, dict[str, Any]]:
    wanted = lambda name: name.split(".")[0] in NETWORKS
    folder, manifest, arrays = checkpoint.load_newest(path, wanted=wanted)
    heads = manifest["config"].get("encoder.heads")
    if heads is not None and heads != vit.arch.heads:
        raise UserError(f"--init_from={path}: its encoder has {heads} attention heads, this run's {vit.arch.heads}")
    return arrays, {"kind": manifest["kind"], "step": manifest["step"], "from": folder.name}


def _of_file(path: str, vit: ViT) -> tuple[Arrays, dict[str, Any]]:
    from hummingbird import weights  # other projects' files; may need torch

    loaded = weights.load(path)
    arch = loaded.arch
    if not isinstance(arch, Architecture):
        raise UserError(f"--init_from={path}: family {loaded.family} is no vision transformer")
    for what, theirs, ours in (
        ("patch_size", arch.patch_size, vit.patch_size),
        ("heads", arch.heads, vit.arch.heads),
        ("activation", arch.activation, "gelu"),
        ("rotary positions", bool(arch.rotary), False),
        ("norm before the layers", arch.pre_norm, False),
    ):
        if theirs != ours:
            raise UserError(f"--init_from={path}: its encoder has {what} {theirs}, this run's {ours}")
    if not np.allclose((arch.mean, arch.std), (MEAN, STD)):
        log.warning("%s was trained on pixels normalised otherwise (mean %s, std %s)", path, arch.mean, arch.std)
    if arch.positions != vit.arch.positions:
        log.warning("%s has %s positions, this run %s", path, arch.positions, vit.arch.positions)
    flat = {f"encoder.{name.replace('/', '.')}": x for name, x in loaded.arrays.items()}
    arrays = {f"{network}.{name}": x for network in NETWORKS for name, x in flat.items()}
    return arrays, {"kind": f"weights of family {loaded.family}", "step": None, "from": loaded.source}


def _for_networks(found: Arrays, networks: set[str]) -> Arrays:
    """Keeps the networks that the new run has; a target network starts from the online one if there is no other."""
    if not any(name.startswith("target.") for name in found):
        found = found | {f"target.{n.removeprefix('online.')}": x for n, x in found.items() if n.startswith("online.")}
    return {name: x for name, x in found.items() if name.split(".")[0] in networks}


def _restack(found: Arrays, ours: Mapping[str, Any]) -> Arrays:
    """Layers one by one or stacked (encoder.scan_layers), as the new run has them."""
    stacked = any(".encoder.blocks." in name for name in ours)
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


def _groups(names: Any) -> str:
    """ "online.encoder (14 arrays), target.encoder (14 arrays)"."""
    counts: dict[str, int] = {}
    for name in names:
        group = ".".join(name.split(".")[:2])
        counts[group] = counts.get(group, 0) + 1
    return ", ".join(f"{group} ({count} array{'s'[: count != 1]})" for group, count in sorted(counts.items()))
