"""Notices that a run is to stop: SIGTERM, which schedulers send before they take a machine away."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

import jax
from jax.experimental import multihost_utils


class StopSignal:
    """Catches SIGTERM while the block runs. `with StopSignal() as stopped:` polls `stopped(step)` once per step.

    All processes of a run get the same answer.
    """

    def __init__(self) -> None:
        self._arrived = threading.Event()
        self._previous: Callable[[int, FrameType | None], object] | int | None = None

    def __enter__(self) -> Callable[[int], bool]:
        if jax.process_count() > 1:
            # A signal reaches the processes at different steps. JAX's coordination service agrees on a step that no
            # process has passed: a process that saved earlier would leave the others waiting in a collective.
            return multihost_utils.reached_preemption_sync_point
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, self._notice)
        return lambda step: self._arrived.is_set()

    def _notice(self, number: int, frame: FrameType | None) -> None:
        self._arrived.set()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)
