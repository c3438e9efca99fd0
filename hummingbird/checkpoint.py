"""Checkpoints of a training run: arrays by Orbax, with a manifest that proves what they are.

WORKDIR/checkpoints/00001000/
    state/          Orbax, one array per name ("online.encoder.norm.scale")
    manifest.json   step, config, data position, checksum of every array, fingerprint, versions; written last

A step without a manifest is unfinished and is passed over with a warning, and so is one whose arrays do not have the
checksums of the manifest.
"""

from __future__ import annotations

import importlib.metadata
import json
import logging
import os
from collections.abc import Callable, Mapping
from typing import Any

import flax.serialization
import flax.traverse_util
import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from hummingbird import fingerprint
from hummingbird.errors import UserError

log = logging.getLogger(__name__)
PACKAGES = ("hummingbird-incontext", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "scann")


KIND = "hummingbird training checkpoint"


class Damaged(Exception):
    """A checkpoint that is unfinished or does not hold what its manifest says."""


def versions() -> dict[str, str]:
    """{package: version} of what the result depends on; packages that are absent are left out."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def to_arrays(state: Any) -> dict[str, Any]:
    """{"online.encoder.norm.scale": array} of a train state; empty nodes disappear."""
    return flax.traverse_util.flatten_dict(flax.serialization.to_state_dict(state), sep=".")


def from_arrays(state: Any, arrays: Mapping[str, Any]) -> Any:
    """The state with the structure of `state` and the given arrays."""
    flat = flax.traverse_util.flatten_dict(flax.serialization.to_state_dict(state), keep_empty_nodes=True, sep=".")
    filled = {name: arrays.get(name, leaf) for name, leaf in flat.items()}
    return flax.serialization.from_state_dict(state, flax.traverse_util.unflatten_dict(filled, sep="."))


def _checkpointer() -> ocp.Checkpointer:
    return ocp.Checkpointer(ocp.PyTreeCheckpointHandler())


def absolute(path: epath.PathLike) -> epath.Path:
    """The path as Orbax wants it; buckets (gs://...) are absolute as they are."""
    text = os.fspath(path)
    return epath.Path(text if "://" in text else os.path.abspath(text))


def steps(workdir: epath.PathLike) -> list[epath.Path]:
    """Step folders of a workdir, newest first, finished or not."""
    root = absolute(workdir) / "checkpoints"
    folders = [p for p in root.iterdir() if p.name.isdigit()] if root.exists() else []
    return sorted(folders, key=lambda p: int(p.name), reverse=True)


def save(workdir: epath.PathLike, state: Any, *, config: Mapping[str, Any], data: Any, keep: int) -> str:
    """Saves the state as a new step, then removes all but the `keep` newest finished steps.

    Args:
      workdir: of the run.
      state: a TrainState.
      config: flat resolved config, saved in the manifest.
      data: JSON-able position of the input pipeline and its fingerprint.
      keep: number of steps to keep.

    Returns:
      The fingerprint of the state.
    """
    arrays = {name: x for name, x in to_arrays(state).items() if x.size}  # Orbax refuses empty ones
    checksums = fingerprint.array_checksums(arrays)
    step = int(jax.device_get(state.step))
    folder = absolute(workdir) / "checkpoints" / f"{step:08d}"
    try:
        try:
            _checkpointer().save(folder / "state", args=ocp.args.PyTreeSave(arrays), force=True)
        except (ValueError, RuntimeError) as error:  # what TensorStore makes of a full disk
            raise OSError(_first_line(error)) from error
        entries = {n: (str(x.dtype), tuple(x.shape), checksums[n]) for n, x in arrays.items()}
        manifest = {
            "kind": KIND,
            "step": step,
            "fingerprint": fingerprint.combine(entries),
            "parameters": sum(x.size for n, x in arrays.items() if n.startswith("online.")),
            "config": dict(config),
            "data": data,
            "versions": versions(),
            "arrays": {n: [dtype, list(shape), checksum] for n, (dtype, shape, checksum) in entries.items()},
        }
        if jax.process_index() == 0:
            write_json(folder / "manifest.json", manifest)
    except OSError as error:
        raise UserError(f"checkpoint {folder} could not be saved: {error}; earlier checkpoints are kept") from error
    if jax.process_index() == 0:
        # Newer steps than this one were damaged when the run went on from an older: they do not count as kept.
        finished = [p for p in steps(workdir) if int(p.name) <= step and (p / "manifest.json").exists()]
        for old in finished[keep:]:
            old.rmtree()
    return manifest["fingerprint"]


def write_json(path: epath.Path, content: Any) -> None:
    """Writes a JSON file in one move, so that a reader finds all of it or none."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(content, indent=1))
    part.replace(path)


def read_manifest(folder: epath.Path) -> dict[str, Any]:
    """The manifest of a step folder; Damaged if there is none or it is not whole."""
    path = folder / "manifest.json"
    if not path.exists():
        raise Damaged("it is unfinished (no manifest.json)")
    try:
        manifest = json.loads(path.read_text())
    except ValueError as error:
        raise Damaged(f"its manifest.json is broken ({error})") from error
    if not isinstance(manifest, dict) or manifest.get("kind") != KIND:
        raise Damaged("its manifest.json is not of a training checkpoint")
    return manifest


def load_arrays(
    folder: epath.Path,
    wanted: Callable[[str], bool] = lambda name: True,
    shardings: Mapping[str, jax.sharding.Sharding] | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The manifest and the arrays whose name is `wanted`, checksums verified.

    Args:
      folder: step folder.
      wanted: chooses names.
      shardings: {name: sharding} to restore onto devices; None: NumPy arrays.

    Raises:
      Damaged: the folder is unfinished, unreadable, or an array does not have its checksum.
    """
    manifest = read_manifest(folder)
    listed = {name: entry for name, entry in manifest["arrays"].items() if wanted(name)}
    if not listed:
        return manifest, {}
    item = {n: jax.ShapeDtypeStruct(tuple(shape), np.dtype(dtype)) for n, (dtype, shape, _) in listed.items()}
    if shardings is None:
        how: dict[str, Any] = {n: ocp.RestoreArgs(restore_type=np.ndarray) for n in item}
    else:
        how = {n: ocp.ArrayRestoreArgs(sharding=shardings[n]) for n in item}
    try:
        restore = ocp.args.PyTreeRestore(item=item, restore_args=how, partial_restore=True)
        arrays = _checkpointer().restore(folder / "state", args=restore)
    except Exception as error:  # whatever TensorStore makes of truncated or missing files
        raise Damaged(f"its arrays cannot be read ({_first_line(error)})") from error
    found = fingerprint.array_checksums(arrays)
    for name, (dtype, shape, checksum) in listed.items():
        if str(arrays[name].dtype) != dtype or list(arrays[name].shape) != shape or found[name] != checksum:
            raise Damaged(f"array {name} does not have the checksum in its manifest")
    return manifest, arrays


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def load_newest(path: epath.PathLike, **how: Any) -> tuple[epath.Path, dict[str, Any], dict[str, Any]]:
    """The newest sound step of a workdir (or the one step folder that `path` is): folder, manifest, arrays.

    Damaged steps are passed over with a warning that names them.

    Raises:
      UserError: no step is sound.
    """
    path = absolute(path)
    folders = [path] if (path / "manifest.json").exists() else steps(path)
    for folder in folders:
        try:
            return folder, *load_arrays(folder, **how)
        except Damaged as damage:
            log.warning("checkpoint %s is skipped: %s", folder, damage)
    raise UserError(f"{path} holds no sound checkpoint ({len(folders)} steps found); give a training workdir or step")


def is_training(path: epath.PathLike) -> bool:
    """Whether the path looks like a training workdir or a step folder of one."""
    path = epath.Path(path)
    return (path / "checkpoints").exists() or (path / "manifest.json").exists() or (path / "state").exists()
