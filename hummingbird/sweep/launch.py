"""Launchers, how the jobs of a sweep come to run: `local` here, `slurm` as a job array, `print` not at all."""

import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import jinja2

from hummingbird.errors import Preempted, UserError
from hummingbird.run.files import write_json
from hummingbird.sweep import state
from hummingbird.sweep.plan import Plan, Task
from hummingbird.sweep.python import python_command
from hummingbird.sweep.state import Workdir
from hummingbird.sweep.worker import job_lock

POLL_SECONDS = 0.2
MOST_STARTS = 4  # a job that keeps stopping without failing (preempted from outside) is given up after these
Show = Callable[[bool], None]  # redraws what the user sees; True: something has changed on disk


def unfinished(plan: Plan, workdir: Workdir) -> list[int]:
    """Numbers of the jobs that have something left to run (failed tasks are tried again)."""
    return [
        number
        for number, job in enumerate(plan.jobs)
        if any(workdir.state(task)["state"] != state.DONE for task in job)
    ]


# ---------------------------------------------------------------- print
def launch_print(plan: Plan, workdir: Workdir, parallel: int | None, show: Show) -> None:
    """Prints one line for each job, to be run by any scheduler from this folder; each runs what is not done yet."""
    for number in unfinished(plan, workdir):
        print(" && ".join(shell_command(plan.tasks[id], workdir) for id in plan.jobs[number]))


def shell_command(task: Task, workdir: Workdir) -> str:
    """The command of a task as one would type it."""
    return shlex.join(["hummingbird", *task.arguments, f"--workdir={workdir.folder(task.id)}"])


# ---------------------------------------------------------------- local
def launch_local(plan: Plan, workdir: Workdir, parallel: int | None, show: Show) -> None:
    """Runs the jobs on this machine, `parallel` at a time, each with its share of the GPUs or CPU cores.

    Raises:
      Preempted: this process was asked to end (SIGTERM); everything that ran has saved and the same command goes on.
    """
    gpus = find_gpus()
    slots = parallel or max(1, len(gpus))
    waiting = unfinished(plan, workdir)
    free, running = list(range(slots)), {}
    starts = dict.fromkeys(waiting, 0)

    def stop(*_: object) -> None:
        raise Preempted("the sweep was asked to stop; the same command goes on")

    previous = signal.signal(signal.SIGTERM, stop)
    before = None
    try:
        while waiting or running:
            for number in [n for n in waiting if not workdir.is_locked(job_lock(plan.jobs[n]))]:
                if not free:
                    break
                waiting.remove(number)
                if starts[number] == 0 and number not in unfinished(plan, workdir):
                    continue  # a worker that an earlier call left behind has just finished it
                starts[number] += 1
                slot = free.pop(0)
                running[number] = slot, _start(number, slot, slots, gpus, workdir)
            time.sleep(POLL_SECONDS)
            for number, (slot, process) in list(running.items()):
                if process.poll() is not None:
                    del running[number]
                    free.append(slot)
                    states = [workdir.state(id)["state"] for id in plan.jobs[number]]
                    stopped = state.FAILED not in states and set(states) != {state.DONE}
                    if stopped and starts[number] < MOST_STARTS:
                        waiting.append(number)
            now = [workdir.state(id)["state"] for id in plan.tasks]
            show(now != before)
            before = now
    finally:
        # Also on Ctrl-C: what runs is told to save, and waited for.
        for _, process in running.values():
            process.terminate()
        for _, process in running.values():
            process.wait()
        signal.signal(signal.SIGTERM, previous)
    show(True)


def _start(number: int, slot: int, slots: int, gpus: list[str], workdir: Workdir) -> subprocess.Popen:
    environment = {**os.environ, **slot_environment(slot, slots, gpus)}
    command = [*python_command(), "-m", "hummingbird.sweep.worker", str(workdir.path), str(number), str(os.getpid())]
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
    if not gpus and slots > 1 and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        share = cores[slot::slots] if slots <= len(cores) else [cores[slot % len(cores)]]
        os.sched_setaffinity(process.pid, share)
    return process


def slot_environment(slot: int, slots: int, gpus: list[str]) -> dict[str, str]:
    """Environment of the slot-th of `slots` workers: its own GPUs, or its share of one GPU's memory."""
    if not gpus or slots == 1:
        return {}
    if slots <= len(gpus):
        return {"CUDA_VISIBLE_DEVICES": ",".join(gpus[slot::slots])}
    sharing = -(-slots // len(gpus))
    fraction = os.environ.get("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{0.9 / sharing:.2f}")
    return {"CUDA_VISIBLE_DEVICES": gpus[slot % len(gpus)], "XLA_PYTHON_CLIENT_MEM_FRACTION": fraction}


def find_gpus() -> list[str]:
    """Names of the NVIDIA GPUs that this process may use; asks no library, so that no memory is taken."""
    if os.environ.get("JAX_PLATFORMS", "").startswith("cpu"):
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name.strip() and name.strip() != "-1"]
    return [str(i) for i, _ in enumerate(p for p in os.listdir("/dev") if re.fullmatch(r"nvidia\d+", p))]


# ---------------------------------------------------------------- slurm
def launch_slurm(plan: Plan, workdir: Workdir, parallel: int | None, show: Show) -> None:
    """Submits a job array with one element for each unfinished job that is not queued already.

    Partition, time, GPUs and so on come from sbatch's own environment variables (SBATCH_PARTITION, SBATCH_TIMELIMIT,
    SBATCH_GPUS, ...). Calling the sweep again shows the results so far and submits what has failed since.
    """
    if shutil.which("sbatch") is None:
        raise UserError("--launcher=slurm: sbatch is not installed here; run on a login node, or use --launcher=print")
    folder = workdir.path / "slurm"
    queued = set(_queued(folder))
    numbers = [
        n for n in unfinished(plan, workdir) if n not in queued and not workdir.is_locked(job_lock(plan.jobs[n]))
    ]
    if not numbers:
        print(f"nothing to submit: {len(queued)} jobs are queued or running")
        return
    script = folder / "array.sh"
    template = jinja2.Environment(
        loader=jinja2.PackageLoader("hummingbird.sweep", "templates"),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    template.filters["quote"] = lambda text: shlex.quote(str(text))
    folder.mkdir(parents=True, exist_ok=True)
    script.write_text(
        template.get_template("array.sh.j2").render(
            name=workdir.path.name,
            array=",".join(map(str, numbers)) + (f"%{parallel}" if parallel else ""),
            logs=folder.resolve(),
            folder=pathlib.Path.cwd(),
            python=python_command(),
            workdir=workdir.path.resolve(),
        )
    )
    result = subprocess.run(["sbatch", "--parsable", str(script)], capture_output=True, text=True)
    if result.returncode:
        raise UserError(f"--launcher=slurm: sbatch refused the job: {result.stderr.strip()}")
    id = result.stdout.strip().partition(";")[0]
    write_json(folder / f"{id}.json", {"array": id, "jobs": numbers})
    print(f"submitted array {id} with {len(numbers)} jobs; the same command shows how far they are")


def _queued(folder: pathlib.Path) -> Iterator[int]:
    """Numbers of the jobs whose array elements the queue still holds."""
    for file in folder.glob("*.json"):
        submitted = json.loads(file.read_text())
        found = subprocess.run(
            ["squeue", "--noheader", "--array", "--format=%K", f"--jobs={submitted['array']}"],
            capture_output=True,
            text=True,
        )
        # squeue fails for an array that it has forgotten.
        if found.returncode == 0:
            yield from (int(word) for word in found.stdout.split() if word.isdigit())


LAUNCHERS: dict[str, Callable[[Plan, Workdir, int | None, Show], None]] = {
    "local": launch_local,
    "slurm": launch_slurm,
    "print": launch_print,
}
