"""The launcher `local`: runs the jobs of a sweep on this machine."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable

from hummingbird.errors import Preempted
from hummingbird.sweep.folder import DONE, FAILED, SweepFolder
from hummingbird.sweep.python import python_command
from hummingbird.sweep.schedule import Schedule

# Polling slows down while nothing changes: checking 168 jobs five times a second takes 6% of a core.
FIRST_POLL_SECONDS, LAST_POLL_SECONDS = 0.2, 2.0
MOST_STARTS = 4  # of a job that stops without failing, as when it is preempted from outside
Show = Callable[[bool], None]  # redraws the display; True: a status has changed


def launch_local(schedule: Schedule, folder: SweepFolder, parallel: int | None, show: Show) -> None:
    """Runs the jobs on this machine, `parallel` at a time, each with its share of the GPUs or CPU cores.

    Raises:
      Preempted: SIGTERM arrived; everything that ran has saved, and the same command resumes.
    """
    gpus = find_gpus()
    pool = Pool(schedule, folder, parallel or max(1, len(gpus)), gpus)
    previous = signal.signal(signal.SIGTERM, _preempt)
    before: list[str] = []
    pause = FIRST_POLL_SECONDS
    try:
        while pool.waiting or pool.running:
            pool.start()
            time.sleep(pause)
            pool.collect()
            states = [folder.state(id) for id in schedule.commands]
            pause = FIRST_POLL_SECONDS if states != before else min(1.5 * pause, LAST_POLL_SECONDS)
            show(states != before)
            before = states
    finally:
        pool.stop()  # also on Ctrl-C
        signal.signal(signal.SIGTERM, previous)
    show(True)


def _preempt(*_: object) -> None:
    raise Preempted("the sweep was asked to stop; the same command resumes it")


class Pool:
    """Workers that run jobs side by side.

    Args:
      schedule: what to run.
      folder: the sweep's folder.
      slots: workers at a time.
      gpus: names of the GPUs to share.

    Attributes:
      waiting: numbers of the jobs to run.
      running: slot and process of each running job.
    """

    def __init__(self, schedule: Schedule, folder: SweepFolder, slots: int, gpus: list[str]):
        self.schedule, self.folder, self.slots, self.gpus = schedule, folder, slots, gpus
        self.waiting = folder.unfinished(schedule)
        self.running: dict[int, tuple[int, subprocess.Popen[bytes]]] = {}
        self._free = list(range(slots))
        self._starts = dict.fromkeys(self.waiting, 0)

    def start(self) -> None:
        """Starts waiting jobs in free slots, except those that a worker of an earlier call still runs."""
        for number in list(self.waiting):
            if not self._free:
                return
            if self.folder.is_running(self.schedule.jobs[number]):
                continue
            self.waiting.remove(number)
            if self._starts[number] == 0 and number not in self.folder.unfinished(self.schedule):
                continue  # a worker of an earlier call has just finished it
            self._starts[number] += 1
            slot = self._free.pop(0)
            self.running[number] = slot, self._start_worker(number, slot)

    def _start_worker(self, number: int, slot: int) -> subprocess.Popen[bytes]:
        environment = {**os.environ, **slot_environment(slot, self.slots, self.gpus)}
        module = [*python_command(), "-m", "hummingbird.sweep.worker"]
        command = [*module, str(self.folder.path), str(number), str(os.getpid())]
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
        if not self.gpus and self.slots > 1 and hasattr(os, "sched_setaffinity"):
            cores = sorted(os.sched_getaffinity(0))
            share = cores[slot :: self.slots] if self.slots <= len(cores) else [cores[slot % len(cores)]]
            os.sched_setaffinity(process.pid, share)
        return process

    def collect(self) -> None:
        """Frees the slots of workers that have ended; jobs that were only interrupted wait again."""
        for number, (slot, process) in list(self.running.items()):
            if process.poll() is None:
                continue
            del self.running[number]
            self._free.append(slot)
            states = [self.folder.state(id) for id in self.schedule.jobs[number]]
            interrupted = FAILED not in states and set(states) != {DONE}
            if interrupted and self._starts[number] < MOST_STARTS:
                self.waiting.append(number)

    def stop(self) -> None:
        """Asks all workers to save and waits for them."""
        for _, process in self.running.values():
            process.terminate()
        for _, process in self.running.values():
            process.wait()


def slot_environment(slot: int, slots: int, gpus: list[str]) -> dict[str, str]:
    """Returns the environment of the slot-th of `slots` workers: its own GPUs, or its share of one GPU's memory."""
    if not gpus or slots == 1:
        return {}
    if slots <= len(gpus):
        return {"CUDA_VISIBLE_DEVICES": ",".join(gpus[slot::slots])}
    sharing = -(-slots // len(gpus))
    fraction = os.environ.get("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{0.9 / sharing:.2f}")
    return {"CUDA_VISIBLE_DEVICES": gpus[slot % len(gpus)], "XLA_PYTHON_CLIENT_MEM_FRACTION": fraction}


def find_gpus() -> list[str]:
    """Returns the names of the NVIDIA GPUs that this process may use, without a library that would take memory."""
    if os.environ.get("JAX_PLATFORMS", "").startswith("cpu"):
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name.strip() and name.strip() != "-1"]
    return [str(i) for i, _ in enumerate(p for p in os.listdir("/dev") if re.fullmatch(r"nvidia\d+", p))]
