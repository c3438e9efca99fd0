"""Works through one job of a sweep: `python -m hummingbird.sweep.worker WORKDIR JOB [PARENT]`.

Launchers start one of these for each job. It runs the job's commands one after the other, keeps their states, and on
SIGTERM (or when the process PARENT is gone) passes the signal on, so that a pretraining saves before it ends.
"""

import os
import signal
import subprocess
import sys
import time

from hummingbird.errors import UserError
from hummingbird.sweep import state
from hummingbird.sweep.plan import Task
from hummingbird.sweep.python import python_command
from hummingbird.sweep.state import Workdir

PREEMPTED = 42  # exit status of a command that saved and can go on
POLL_SECONDS = 0.2
GRACE_SECONDS = 120


class Worker:
    """Runs the tasks of one job.

    Args:
      workdir: the sweep's folder.
      tasks: in order; evaluations of a pretraining that failed are not tried.
      program: the command that is `hummingbird`.
      parent: process id whose end also ends this, or None.
    """

    def __init__(self, workdir: Workdir, tasks: list[Task], program: list[str], parent: int | None = None):
        self.workdir, self.tasks, self.program, self.parent = workdir, tasks, program, parent
        self.stopped = False

    def stop(self, *_: object) -> None:
        self.stopped = True

    def run(self) -> None:
        """Runs what is not done yet."""
        for tasks in self._batches():
            left = [task for task in tasks if self.workdir.state(task.id)["state"] != state.DONE]
            while left and not self.stopped:
                left = self._run_batch(left)
                if tasks[0].kind == "pretrain" and self.workdir.state(tasks[0].id)["state"] == state.FAILED:
                    for task in self.tasks:
                        if task.kind == "evaluate":
                            self.workdir.set_state(task.id, state.FAILED, tail="its pretraining failed")
                    return

    def _batches(self) -> list[list[Task]]:
        """What one process runs: a task, or all that share a bank (they also share one encoding of the queries)."""
        batches: dict[str, list[Task]] = {}
        for task in self.tasks:
            batches.setdefault(task.bank or task.id, []).append(task)
        return list(batches.values())

    def _run_batch(self, tasks: list[Task]) -> list[Task]:
        """One process; gives the tasks that it did not come to, to be tried by another."""
        first = tasks[0]
        command = [*self.program, *first.arguments, f"--workdir={self.workdir.folder(first.id)}"]
        if len(tasks) > 1 or first.cut:
            ids = [task.id for task in tasks]
            command = [*python_command(), "-m", "hummingbird.sweep.shared", str(self.workdir.path), *ids]
        self.workdir.log(first.id).parent.mkdir(parents=True, exist_ok=True)
        started = time.time()
        with open(self.workdir.log(first.id), "ab") as log:
            # Its own session: Ctrl-C reaches only the launcher, which then stops everything in order.
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
            self.workdir.set_state(first.id, state.RUNNING, started=started)
            code = self._wait(process)
        if len(tasks) == 1 and not first.cut and code == 0:
            self.workdir.set_state(first.id, state.DONE, started=started, seconds=time.time() - started)
            return []
        # A process for several tasks keeps their states itself; the one it died in is still called running.
        for task in tasks:
            found = self.workdir.state(task.id)
            if found["state"] == state.RUNNING:
                seconds = time.time() - found.get("started", started)
                if self.stopped or code == PREEMPTED:
                    self.workdir.set_state(task.id, state.WAITING, seconds=seconds)
                    return []
                self.workdir.set_state(
                    task.id, state.FAILED, seconds=seconds, returncode=code, tail=self._tail(first, code)
                )
        return [task for task in tasks if self.workdir.state(task.id)["state"] == state.WAITING]

    def _tail(self, task: Task, code: int) -> str:
        text = self.workdir.tail(task.id)
        if code < 0:
            text += f"\nkilled by {signal.Signals(-code).name}" + (
                " (out of memory?)" if code == -signal.SIGKILL else ""
            )
        return text.strip()

    def _wait(self, process: subprocess.Popen) -> int:
        asked = None
        while True:
            try:
                return process.wait(POLL_SECONDS)
            except subprocess.TimeoutExpired:
                pass
            if self.parent is not None and os.getppid() != self.parent:
                self.stopped = True
            if self.stopped and asked is None:
                process.terminate()
                asked = time.monotonic()
            elif asked is not None and time.monotonic() - asked > GRACE_SECONDS:
                process.kill()


def main(arguments: list[str]) -> int:
    """Runs one job; exit status 0 whatever became of its tasks, for that is in their states."""
    workdir = Workdir(arguments[0])
    plan = workdir.load_plan()
    if plan is None:
        print(f"hummingbird: error: {workdir.path} holds no sweep", file=sys.stderr)
        return 2
    number = int(arguments[1])
    parent = int(arguments[2]) if len(arguments) > 2 else None
    worker = Worker(workdir, [plan.tasks[id] for id in plan.jobs[number]], plan.program, parent)
    signal.signal(signal.SIGTERM, worker.stop)
    try:
        with workdir.lock(job_lock(plan.jobs[number]), f"job {number} of {workdir.path} is already running"):
            worker.run()
    except UserError as error:
        print(f"hummingbird: error: {error}", file=sys.stderr)
        return 2
    return 0


def job_lock(job: list[str]) -> str:
    """Name of the lock that whoever works on a job holds; stays the same when the sweep grows."""
    return job[0].replace("/", " ")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
