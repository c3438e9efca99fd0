"""Saves checkpoints of a training run in the background; `run.checkpoint` describes and reads them."""

from __future__ import annotations

import concurrent.futures
import functools
import logging
import os
import re
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from jax import Array

from hummingbird.config.schema import Value
from hummingbird.errors import UserError, first_line
from hummingbird.run import checkpoint, fingerprint
from hummingbird.run.files import Json, versions, write_json

log = logging.getLogger(__name__)

# Orbax logs a failed save with tracebacks; `Saver` raises it as one line.
_REPEATED = ("background save thread", "_SignalingThread.run() raised")
logging.getLogger("absl").addFilter(lambda record: not any(words in record.getMessage() for words in _REPEATED))


@runtime_checkable
class Stepped(Protocol):
    """A train state: a pytree that Flax can serialise, with its step."""

    @property
    def step(self) -> Array:
        """Optimiser steps taken."""
        ...


class _Save(NamedTuple):
    """A save in progress."""

    folder: epath.Path
    finished: concurrent.futures.Future[None]


# Replicas share the writing of an array from this many bytes each on. Without a limit, Orbax cuts every bias on every
# device, and a save waits for thousands of slices (9 s for the tiny state of the tests on eight devices).
SHARED_FROM = 2**16


class Saver:
    """Saves the steps of a run. Copying from the devices blocks; writing continues in the background.

    A background thread waits for the arrays of all hosts, then writes the manifest and removes old steps. Hosts meet
    through the coordination service, never in a collective that could interleave with the train step's. One save is in
    progress at a time; the next waits for it. A context manager: leaving it waits for the last save.

    Args:
      workdir: of the run.
      config: flat config, for the manifest.
      keep: number of newest finished steps to keep.
      keep_every: finished steps that this divides stay too; 0: none, and never step 0.
      init_from: where the parameters at step 0 came from, for the manifest.
      kind: one of `checkpoint.KINDS`.
    """

    def __init__(
        self,
        workdir: epath.PathLike,
        *,
        config: Mapping[str, Value],
        keep: int,
        keep_every: int = 0,
        init_from: Mapping[str, Json] | None = None,
        kind: str = checkpoint.KIND,
    ):
        self._workdir, self._config, self._keep = checkpoint.absolute(workdir), dict(config), keep
        self._keep_every, self._kind = keep_every, kind
        self._init_from = None if init_from is None else dict(init_from)
        hosts = jax.process_count()
        meet = set(range(hosts)) if hosts > 1 else None  # None would meet in a collective
        together = ocp.options.MultiprocessingOptions(active_processes=meet)
        # Compression takes most of a save's CPU time and saves 8% of the bytes: weights look like noise to it.
        kinds = ocp.type_handlers.create_type_handler_registry(
            (jax.Array, ocp.type_handlers.ArrayHandler(min_slice_bytes_for_replica_parallel=SHARED_FROM)),
            (np.ndarray, ocp.type_handlers.NumpyHandler()),
        )
        handler = ocp.PyTreeCheckpointHandler(
            use_compression=False, multiprocessing_options=together, type_handler_registry=kinds
        )
        self._writer = ocp.AsyncCheckpointer(handler, multiprocessing_options=together)
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "checkpoint")
        self._current: _Save | None = None

    def __enter__(self) -> Saver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.wait()
        except UserError as failed:
            if error is None:
                raise
            log.warning("%s", failed)  # `error` is what ended the run
        finally:
            self._thread.shutdown()

    def save(self, state: Stepped, data: dict[str, Json]) -> None:
        """Starts to save a state; returns as soon as the state may be changed or donated.

        Args:
          state: a TrainState.
          data: position of the input pipeline and fingerprint of its data.

        Raises:
          UserError: this step or the previous one could not be saved.
        """
        self.wait()
        arrays = {name: x for name, x in checkpoint.to_arrays(state).items() if x.size}  # Orbax refuses empty ones
        step = int(jax.device_get(state.step))
        folder = self._workdir / "checkpoints" / f"{step:08d}"
        if jax.default_backend() == "cpu" and jax.process_count() == 1:
            # On CPU, Orbax would read buffers that the next step donates, and so block it: copy them.
            arrays = _copies(arrays)
        if jax.default_backend() == "cpu" and jax.device_count() == 1:
            # Checksums of a gigabyte take a second of the cores that the step needs: leave them to the background. On
            # several devices they are collectives, which deadlock with those of a step if another thread starts them.
            checksums = functools.partial(fingerprint.array_checksums, arrays)
        else:
            checksums = fingerprint.start_checksums(arrays)
        manifest: dict[str, Json] = {
            "kind": self._kind,
            "step": step,
            "parameters": sum(x.size for n, x in arrays.items() if n.startswith("online.")),
            "config": self._config,
            "init_from": self._init_from,
            "data": data,
            "versions": versions(),
        }
        kinds = {n: (str(x.dtype), tuple(x.shape)) for n, x in arrays.items()}
        try:
            if jax.process_index() == 0:  # a damaged step that is saved again
                (folder / "manifest.json").unlink(missing_ok=True)
            self._writer.save(folder / "state", args=ocp.args.PyTreeSave(arrays), force=True)
        except Exception as error:
            raise _unsaved(folder, error) from error
        self._current = _Save(folder, self._thread.submit(self._finish, folder, manifest, kinds, checksums))

    def check(self) -> None:
        """Raises UserError if the save in progress has failed; does not wait."""
        if self._current is not None and self._current.finished.done():
            self.wait()

    def wait(self) -> None:
        """Waits until the last save is finished.

        Raises:
          UserError: it failed; the message names the step.
        """
        if self._current is None:
            return
        current, self._current = self._current, None
        try:
            current.finished.result()
        except Exception as error:
            raise _unsaved(current.folder, error) from error

    def _finish(
        self,
        folder: epath.Path,
        manifest: dict[str, Json],
        kinds: Mapping[str, tuple[str, tuple[int, ...]]],
        checksums: Callable[[], dict[str, str]],
    ) -> None:
        """In the background: writes the manifest once the arrays of all hosts are written, then removes old steps.

        Args:
          folder: of the step.
          manifest: without what follows from the checksums.
          kinds: {array: (dtype, shape)}.
          checksums: waits for {array: checksum}.
        """
        self._writer.wait_until_finished()
        if jax.process_index() != 0:
            return
        sums = checksums()
        entries = {name: (*kind, sums[name]) for name, kind in kinds.items()}
        write_json(
            folder / "manifest.json", {**manifest, "fingerprint": fingerprint.combine(entries), "arrays": entries}
        )
        self._remove_old(int(folder.name))

    def _remove_old(self, step: int) -> None:
        """Removes finished steps up to `step`, but the newest and those to keep, and what killed saves left before it.

        Steps above `step` were found damaged when the run resumed from an older one: they do not count as kept.
        """
        present = [p for p in checkpoint.steps(self._workdir) if int(p.name) <= step]
        finished = [p for p in present if checkpoint.is_finished(p)]
        outdated = [p for p in finished[self._keep :] if not self._stays(int(p.name))]
        for old in [*outdated, *(p for p in present if p not in finished)]:
            try:
                old.rmtree()
            except OSError as error:
                log.warning("checkpoint %s could not be removed: %s", old, error)

    def _stays(self, step: int) -> bool:
        return bool(step and self._keep_every) and step % self._keep_every == 0


@jax.jit
def _copies(arrays: dict[str, Array]) -> dict[str, Array]:
    return {name: jnp.copy(x) for name, x in arrays.items()}


def _unsaved(folder: epath.Path, error: Exception) -> UserError:
    """Makes the one-line error of a failed save."""
    code = re.search(r"os_error_code='(\d+)'", str(error))  # at the end of TensorStore's long message
    reason = os.strerror(int(code[1])) if code else first_line(error)
    return UserError(
        f"checkpoint {folder} (step {int(folder.name)}) could not be saved: {reason}; earlier checkpoints are kept. "
        "Free some space or repair the storage, then rerun the same command to resume"
    )
