"""Reads checkpoints of training runs: arrays written by Orbax, and a manifest that proves what they hold.

WORKDIR/checkpoints/00001000/
    state/          Orbax, one array per name ("online.encoder.norm.scale")
    manifest.json   see `Manifest`; written last

A step without a manifest is unfinished. It is skipped with a warning, as is a step with an array that does not match
its checksum in the manifest. `run.saver` writes checkpoints.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NotRequired, TypedDict, TypeVar

import flax.serialization
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from jax import Array

from hummingbird.config.schema import Value
from hummingbird.errors import UserError, first_line
from hummingbird.run import fingerprint
from hummingbird.run.agreement import from_all
from hummingbird.run.files import Json

log = logging.getLogger(__name__)

KIND = "hummingbird training checkpoint"
DECODER = "hummingbird decoder checkpoint"
KINDS = (KIND, DECODER)
State = TypeVar("State")
Loaded = TypeVar("Loaded")


class Manifest(TypedDict):
    """What manifest.json of a step holds.

    Attributes:
      kind: one of `KINDS`.
      step: optimiser steps taken.
      fingerprint: checksum over all arrays; equal for states that are equal to the bit.
      parameters: number of parameters of the online network.
      config: flat config of the run.
      data: position of the input pipeline, and the fingerprint of its data.
      versions: {package: version}.
      arrays: {name: [dtype, shape, checksum]}.
      init_from: where the parameters at step 0 came from; None if they were drawn at random.
    """

    kind: str
    step: int
    fingerprint: str
    parameters: int
    config: dict[str, Value]
    data: dict[str, Any]
    versions: dict[str, str]
    arrays: dict[str, tuple[str, list[int], str]]
    init_from: NotRequired[dict[str, Json] | None]


class Checkpoint(NamedTuple):
    """A verified step.

    Attributes:
      folder: of the step.
      manifest: content of its manifest.json.
      arrays: {name: array on the host}; those that were wanted.
    """

    folder: epath.Path
    manifest: Manifest
    arrays: dict[str, np.ndarray]


class Damaged(Exception):
    """A checkpoint is unfinished, or does not hold what its manifest says."""


def to_arrays(state: Any) -> dict[str, Any]:
    """Flattens a train state to {"online.encoder.norm.scale": leaf}; empty nodes and None disappear."""
    flat = flax.traverse_util.flatten_dict(flax.serialization.to_state_dict(state), sep=".")
    return {name: leaf for name, leaf in flat.items() if leaf is not None}


def from_arrays(state: State, arrays: Mapping[str, Array | np.ndarray]) -> State:
    """Returns `state` with the given arrays in place of the leaves of those names; see `to_arrays`."""
    flat = flax.traverse_util.flatten_dict(flax.serialization.to_state_dict(state), keep_empty_nodes=True, sep=".")
    filled = {name: arrays.get(name, leaf) for name, leaf in flat.items()}
    nested = flax.traverse_util.unflatten_dict(filled, sep=".")
    restored: Any = flax.serialization.from_state_dict(state, nested)  # declared to return a dict, but of state's type
    return restored


def absolute(path: epath.PathLike) -> epath.Path:
    """Makes a path absolute, as Orbax requires; addresses in buckets (gs://...) already are."""
    text = os.fspath(path)
    return epath.Path(text if "://" in text else os.path.abspath(text))


def steps(workdir: epath.PathLike) -> list[epath.Path]:
    """Lists the step folders of a workdir, newest first, finished or not."""
    root = absolute(workdir) / "checkpoints"
    folders = [p for p in root.iterdir() if p.name.isdigit()] if root.exists() else []
    return sorted(folders, key=lambda p: int(p.name), reverse=True)


def is_finished(step: epath.Path) -> bool:
    """Returns whether a step folder was saved to the end."""
    return (step / "manifest.json").exists()


def is_training(path: epath.PathLike) -> bool:
    """Returns whether the path looks like a training workdir or one of its step folders."""
    path = epath.Path(path)
    return (path / "checkpoints").exists() or (path / "manifest.json").exists() or (path / "state").exists()


def load_pretrained(path: epath.PathLike, wanted: Callable[[str], bool] = lambda name: True) -> Checkpoint:
    """Loads the newest sound step of a pretraining run; see `load_newest`.

    Raises:
      UserError: no step is sound, or it holds a decoder.
    """
    found = load_newest(path, wanted)
    if found.manifest["kind"] != KIND:
        origin = (found.manifest.get("init_from") or {}).get("encoder")
        raise UserError(f"{path} holds a decoder, not an encoder; give the checkpoint of its encoder ({origin})")
    return found


def load_newest(path: epath.PathLike, wanted: Callable[[str], bool] = lambda name: True) -> Checkpoint:
    """Loads the newest sound step into host memory; damaged steps are skipped with a warning that names them.

    Args:
      path: workdir, or a single step folder.
      wanted: chooses arrays by name.

    Raises:
      UserError: no step is sound.
    """

    def load(folder: epath.Path) -> Checkpoint:
        manifest = read_manifest(folder)
        names = [name for name in manifest["arrays"] if wanted(name)]
        arrays = _read(folder, manifest, {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in names})
        _check(manifest, arrays)
        return Checkpoint(folder, manifest, {name: np.asarray(x) for name, x in arrays.items()})

    path = absolute(path)
    return _first_sound(path, [path] if is_finished(path) else steps(path), load)


def restore_newest(workdir: epath.PathLike, like: State, shardings: State) -> tuple[State, Manifest]:
    """Restores the newest sound state onto devices.

    With several processes all restore the same step: one that the first process lists and all can read.

    Args:
      workdir: of the run.
      like: the state's tree with the shapes and dtypes that are expected.
      shardings: the same tree, with the sharding of each array.

    Raises:
      UserError: no step is sound, or the newest sound one holds a different model.
    """
    expected, places = to_arrays(like), to_arrays(shardings)
    saved = {name: x for name, x in expected.items() if x.size}  # arrays without elements are not saved

    def load(folder: epath.Path) -> tuple[epath.Path, Manifest, Mapping[str, Array | np.ndarray]]:
        manifest = _in_all(lambda: read_manifest(folder))
        listed = {name: ocp.ArrayRestoreArgs(sharding=places[name]) for name in saved if name in manifest["arrays"]}
        arrays = _in_all(lambda: _read(folder, manifest, listed))
        _check(manifest, arrays)
        return folder, manifest, arrays

    workdir = absolute(workdir)
    listed = from_all("\n".join(folder.name for folder in steps(workdir)))[0]
    folder, manifest, arrays = _first_sound(workdir, [workdir / "checkpoints" / name for name in listed.split()], load)
    wrong = [
        f"{name}: {tuple(x.shape)} {x.dtype} expected"
        for name, x in saved.items()
        if name not in arrays or arrays[name].shape != x.shape or arrays[name].dtype != x.dtype
    ]
    if wrong:
        raise UserError(f"checkpoint {folder} holds a different model ({'; '.join(wrong[:3])}); use another workdir")
    empty = {name: jnp.zeros(x.shape, x.dtype, device=places[name]) for name, x in expected.items() if not x.size}
    return from_arrays(like, {**arrays, **empty}), manifest


def read_manifest(folder: epath.Path) -> Manifest:
    """Reads the manifest of a step folder.

    Raises:
      Damaged: there is none, or it is incomplete.
    """
    if not is_finished(folder):
        raise Damaged("it is unfinished (no manifest.json)")
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
    except OSError as error:
        raise Damaged(f"its manifest.json cannot be read ({error.strerror or first_line(error)})") from error
    except ValueError as error:
        raise Damaged(f"its manifest.json is broken ({error})") from error
    if not isinstance(manifest, dict) or manifest.get("kind") not in KINDS:
        raise Damaged("its manifest.json does not belong to a training checkpoint")
    return Manifest(**manifest)


def _first_sound(path: epath.Path, folders: Sequence[epath.Path], load: Callable[[epath.Path], Loaded]) -> Loaded:
    """Applies `load` to steps until one is not `Damaged`."""
    for folder in folders:
        try:
            return load(folder)
        except Damaged as damage:
            log.warning("checkpoint %s is skipped: %s", folder, damage)
    raise UserError(f"{path} holds no sound checkpoint ({len(folders)} steps found); give a training workdir or step")


def _in_all(read: Callable[[], Loaded]) -> Loaded:
    """Calls `read`, in which processes do not wait for one another, in each; `Damaged` in all if it is in one."""
    try:
        loaded = read()
    except Damaged as damage:
        from_all(str(damage) or "damaged")
        raise
    for process, damage in enumerate(from_all("")):
        if damage:
            raise Damaged(f"process {process} of {jax.process_count()} found that {damage}")
    return loaded


def checkpointer() -> ocp.Checkpointer:
    """Makes a synchronous Orbax checkpointer."""
    return ocp.Checkpointer(ocp.PyTreeCheckpointHandler())


def _read(
    folder: epath.Path, manifest: Manifest, how: Mapping[str, ocp.RestoreArgs]
) -> Mapping[str, Array | np.ndarray]:
    """Reads the arrays named by `how`. Unlike Orbax's checkpointers, does not wait for other processes."""
    if not how:
        return {}
    listed = {name: manifest["arrays"][name] for name in how}
    item = {n: jax.ShapeDtypeStruct(tuple(shape), np.dtype(dtype)) for n, (dtype, shape, _) in listed.items()}
    try:
        restore = ocp.args.PyTreeRestore(item=item, restore_args=how, partial_restore=True)
        return ocp.PyTreeCheckpointHandler().restore(folder / "state", args=restore)
    except Exception as error:  # TensorStore raises many types for truncated or missing files
        raise Damaged(f"its arrays cannot be read ({first_line(error)})") from error


def _check(manifest: Manifest, arrays: Mapping[str, Array | np.ndarray]) -> None:
    """Raises `Damaged` if an array differs from its dtype, shape or checksum in the manifest."""
    checksums = fingerprint.array_checksums(arrays)
    for name, array in arrays.items():
        dtype, shape, checksum = manifest["arrays"][name]
        if str(array.dtype) != dtype or list(array.shape) != shape or checksums[name] != checksum:
            raise Damaged(f"array {name} does not have the checksum in its manifest")
