"""Runs one job of a sweep: `python -m hummingbird.sweep.worker FOLDER JOB [PARENT]`.

Launchers start one worker per job. It runs the job's commands in order and writes their statuses. On SIGTERM, or when
the process PARENT is gone, it passes the signal on, so that a pretraining saves before it ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from hummingbird.errors import UserError
from hummingbird.sweep.folder import DONE, FAILED, RUNNING, WAITING, SweepFolder, job_lock
from hummingbird.sweep.python import python_command
from hummingbird.sweep.schedule import Command

PREEMPTED = 42  # exit status of a command that has saved and can be resumed
POLL_SECONDS = 0.2
GRACE_SECONDS = 120


class Worker:
    """Runs the commands of one job.

    Args:
      folder: the sweep's folder.
      commands: in order; if a pretraining fails, what uses its encoder is not run.
      program: the command line of `hummingbird`.
      parent: process id; the worker stops when that process ends. None: it runs on its own.
    """

    def __init__(self, folder: SweepFolder, commands: list[Command], program: list[str], parent: int | None = None):
        self.folder, self.commands, self.program, self.parent = folder, commands, program, parent
        self.stopped = False

    def stop(self, *_: object) -> None:
        """Asks the running command to save; nothing else is started."""
        self.stopped = True

    def run(self) -> None:
        """Runs the commands that are not done."""
        for batch in self._batches():
            left = [command for command in batch if self.folder.state(command.id) != DONE]
            for command in left:  # so that failed ones are retried even if this process dies before it reaches them
                self.folder.set_status(command.id, WAITING)
            while left and not self.stopped:
                left = self._run_batch(left)
            if batch[0].kind == "pretrain" and self.folder.state(batch[0].id) == FAILED:
                self._fail_others()
                return

    def _batches(self) -> list[list[Command]]:
        """Groups commands by process: one command, or all that share a bank and an encoding of the queries."""
        batches: dict[str, list[Command]] = {}
        for command in self.commands:
            batches.setdefault(command.bank or command.id, []).append(command)
        return list(batches.values())

    def _fail_others(self) -> None:
        for command in self.commands:
            if command.kind != "pretrain":
                self.folder.set_status(command.id, FAILED, tail="its pretraining failed")

    def _run_batch(self, batch: list[Command]) -> list[Command]:
        """Runs one process; returns the commands that it did not get to."""
        first = batch[0]
        shared = len(batch) > 1 or first.cut
        started = time.time()
        code = self._run_process(first.id, self._process(batch, shared), started)
        if not shared and code == 0:
            self.folder.set_status(first.id, DONE, started=started, seconds=time.time() - started)
            return []
        # A process for several commands writes their statuses itself; one that dies leaves its command "running".
        for command in batch:
            status = self.folder.status(command.id)
            if status["state"] == RUNNING:
                seconds = time.time() - status.get("started", started)
                if self.stopped or code == PREEMPTED:
                    self.folder.set_status(command.id, WAITING, seconds=seconds)
                    return []
                tail = self._tail(first.id, code)
                self.folder.set_status(command.id, FAILED, seconds=seconds, returncode=code, tail=tail)
        return [command for command in batch if self.folder.state(command.id) == WAITING]

    def _process(self, batch: list[Command], shared: bool) -> list[str]:
        """Returns the command line that runs a batch."""
        if shared:
            ids = [command.id for command in batch]
            return [*python_command(), "-m", "hummingbird.sweep.shared", str(self.folder.path), *ids]
        return [*self.program, *batch[0].arguments, f"--workdir={self.folder.workdir(batch[0].id)}"]

    def _run_process(self, id: str, process_command: list[str], started: float) -> int:
        """Runs a process, appending its output to the log of command `id`; returns its exit status."""
        self.folder.log(id).parent.mkdir(parents=True, exist_ok=True)
        with open(self.folder.log(id), "ab") as log:
            # In a session of its own, so that Ctrl-C reaches only the launcher, which stops everything in order.
            process = subprocess.Popen(
                process_command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
            self.folder.set_status(id, RUNNING, started=started)
            return self._wait(process)

    def _wait(self, process: subprocess.Popen[bytes]) -> int:
        """Waits for a process; passes a request to stop on, and kills the process if it ignores that."""
        terminated = None
        while True:
            try:
                return process.wait(POLL_SECONDS)
            except subprocess.TimeoutExpired:
                pass
            if self.parent is not None and os.getppid() != self.parent:
                self.stopped = True
            if self.stopped and terminated is None:
                process.terminate()
                terminated = time.monotonic()
            elif terminated is not None and time.monotonic() - terminated > GRACE_SECONDS:
                process.kill()

    def _tail(self, id: str, code: int) -> str:
        text = self.folder.tail(id)
        if code < 0:
            memory = " (out of memory?)" if code == -signal.SIGKILL else ""
            text += f"\nkilled by {signal.Signals(-code).name}{memory}"
        return text.strip()


def main(arguments: list[str]) -> int:
    """Runs one job; returns 0 even if commands fail, since their statuses say so."""
    folder = SweepFolder(arguments[0])
    schedule = folder.load_schedule()
    if schedule is None:
        print(f"hummingbird: error: {folder.path} holds no sweep", file=sys.stderr)
        return 2
    number = int(arguments[1])
    parent = int(arguments[2]) if len(arguments) > 2 else None
    job = schedule.jobs[number]
    worker = Worker(folder, [schedule.commands[id] for id in job], schedule.program, parent)
    signal.signal(signal.SIGTERM, worker.stop)
    try:
        with folder.lock(job_lock(job), f"job {number} of {folder.path} is already running"):
            worker.run()
    except UserError as error:
        print(f"hummingbird: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
