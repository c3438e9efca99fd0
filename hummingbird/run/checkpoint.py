"""Checkpoints of a training run: arrays by Orbax, with a manifest that proves what they are.

WORKDIR/checkpoints/00001000/
    state/          Orbax, one array per name ("online.encoder.norm.scale")
    manifest.json   step, config, data position, checksum of every array, fingerprint, versions; written last

A step without a manifest is unfinished and is passed over with a warning, and so is one whose arrays do not have the
checksums of the manifest.
"""

from __future__ import annotations

import concurrent.futures
import functools
import json
import logging
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

import flax.serialization
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from hummingbird.errors import UserError, first_line
from hummingbird.run import fingerprint
from hummingbird.run.files import versions, write_json

log = logging.getLogger(__name__)
PACKAGES = ("hummingbird-incontext", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "scann")


KIND = "hummingbird training checkpoint"
# Orbax logs a failed save with tracebacks; `Saver` raises it, to be told in a line.
_TOLD = ("background save thread", "_SignalingThread.run() raised")
logging.getLogger("absl").addFilter(lambda record: not any(words in record.getMessage() for words in _TOLD))


class Damaged(Exception):
    """A checkpoint that is unfinished or does not hold what its manifest says."""


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


class Saver:
    """Saves the steps of a run. The copy off the devices blocks; the writing goes on while the run does.

    A background thread waits for the arrays of all hosts (Orbax meets through the coordination service, never in a
    collective that could cross the train step's), then writes the manifest and removes old steps. One save is under
    way at a time: the next waits for it. A context manager: leaving it waits for the last.
    """

    def __init__(
        self, workdir: epath.PathLike, *, config: Mapping[str, Any], keep: int, more: Mapping[str, Any] | None = None
    ):
        """Args:
        workdir: of the run.
        config: flat resolved config, saved in the manifest.
        keep: newest finished steps to keep.
        more: further entries of the manifest.
        """
        self.root, self.config, self.keep, self.more = absolute(workdir) / "checkpoints", config, keep, dict(more or {})
        hosts = jax.process_count()
        meet = set(range(hosts)) if hosts > 1 else None  # None would meet in a collective
        together = ocp.options.MultiprocessingOptions(active_processes=meet)
        # Compressing takes most of a save's processor time and saves 8% of the bytes: weights are noise to it.
        handler = ocp.PyTreeCheckpointHandler(use_compression=False, multiprocessing_options=together)
        self._writer = ocp.AsyncCheckpointer(handler, multiprocessing_options=together)
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "checkpoint")
        self._under_way: tuple[epath.Path, concurrent.futures.Future[None]] | None = None

    def __enter__(self) -> Saver:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        try:
            self.wait()
        except UserError as failed:
            if error is None:
                raise
            log.warning("%s", failed)  # what ended the run is told by `error`
        finally:
            self._thread.shutdown()

    def save(self, state: Any, data: Any) -> None:
        """Begins to save the state as a step of its own; returns once the state may be changed or donated.

        Args:
          state: a TrainState.
          data: JSON-able position of the input pipeline and its fingerprint.

        Raises:
          UserError: this step, or the one before, could not be saved.
        """
        self.wait()
        arrays = {name: x for name, x in to_arrays(state).items() if x.size}  # Orbax refuses empty ones
        step = int(jax.device_get(state.step))
        folder = self.root / f"{step:08d}"
        if jax.default_backend() == "cpu" and jax.process_count() == 1:
            # Here Orbax would read the very memory that the next step is given, which would wait for it; and sums over
            # a gigabyte take a second of the step's own processors: both are left to the background, from a copy.
            arrays = _copies(arrays)
            checksums = functools.partial(fingerprint.array_checksums, arrays)
        else:
            checksums = fingerprint.start_checksums(arrays)
        manifest = {
            "kind": KIND,
            "step": step,
            "fingerprint": None,
            "parameters": sum(x.size for n, x in arrays.items() if n.startswith("online.")),
            "config": dict(self.config),
            **self.more,
            "data": data,
            "versions": versions(),
            "arrays": {n: [str(x.dtype), list(x.shape), None] for n, x in arrays.items()},
        }
        try:
            if jax.process_index() == 0:  # of a step that was damaged and is taken again
                (folder / "manifest.json").unlink(missing_ok=True)
            self._writer.save(folder / "state", args=ocp.args.PyTreeSave(arrays), force=True)
        except Exception as error:
            raise _unsaved(folder, error) from error
        self._under_way = folder, self._thread.submit(self._finish, folder, manifest, checksums)

    def check(self) -> None:
        """Raises UserError if the save under way has failed; does not wait."""
        if self._under_way is not None and self._under_way[1].done():
            self.wait()

    def wait(self) -> None:
        """Waits until the last save is finished. Raises UserError, which names the step, if it failed."""
        if self._under_way is None:
            return
        (folder, finished), self._under_way = self._under_way, None
        try:
            finished.result()
        except Exception as error:
            raise _unsaved(folder, error) from error

    def _finish(self, folder: epath.Path, manifest: dict[str, Any], checksums: Callable[[], dict[str, str]]) -> None:
        """In the background: the manifest, once the arrays of all hosts are there; then the pruning."""
        self._writer.wait_until_finished()
        if jax.process_index() != 0:
            return
        for name, checksum in checksums().items():
            manifest["arrays"][name][2] = checksum
        entries = {n: (dtype, tuple(shape), checksum) for n, (dtype, shape, checksum) in manifest["arrays"].items()}
        write_json(folder / "manifest.json", {**manifest, "fingerprint": fingerprint.combine(entries)})
        self._prune(manifest["step"])

    def _prune(self, step: int) -> None:
        """Removes all but the newest finished steps up to `step`, and what killed saves have left before it.

        Newer steps than this one were damaged when the run went on from an older: they do not count as kept.
        """
        here = [p for p in steps(self.root.parent) if int(p.name) <= step]
        finished = [p for p in here if (p / "manifest.json").exists()]
        for old in [*finished[self.keep :], *(p for p in here if p not in finished)]:
            try:
                old.rmtree()
            except OSError as error:
                log.warning("checkpoint %s could not be removed: %s", old, error)


def save(workdir: epath.PathLike, state: Any, *, config: Mapping[str, Any], data: Any, keep: int) -> None:
    """Saves one state and waits for it; arguments as of `Saver`."""
    with Saver(workdir, config=config, keep=keep) as saver:
        saver.save(state, data)


@jax.jit
def _copies(arrays: dict[str, Any]) -> dict[str, Any]:
    return {name: jnp.copy(x) for name, x in arrays.items()}


def _unsaved(folder: epath.Path, error: Exception) -> UserError:
    code = re.search(r"os_error_code='(\d+)'", str(error))  # at the end of TensorStore's long story
    reason = os.strerror(int(code[1])) if code else first_line(error)
    return UserError(
        f"checkpoint {folder} (step {int(folder.name)}) could not be saved: {reason}; earlier checkpoints "
        "are kept. Make room or mend the storage; the same command goes on from the newest"
    )


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
        raise Damaged(f"its arrays cannot be read ({first_line(error)})") from error
    found = fingerprint.array_checksums(arrays)
    for name, (dtype, shape, checksum) in listed.items():
        if str(arrays[name].dtype) != dtype or list(arrays[name].shape) != shape or found[name] != checksum:
            raise Damaged(f"array {name} does not have the checksum in its manifest")
    return manifest, arrays


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
