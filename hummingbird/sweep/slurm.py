"""The launcher `slurm`: submits the jobs of a sweep as a job array."""

from __future__ import annotations

import json
import pathlib
import shlex
import shutil
import subprocess
from collections.abc import Iterator

import jinja2

from hummingbird.errors import UserError
from hummingbird.run.files import write_json
from hummingbird.sweep.folder import SweepFolder
from hummingbird.sweep.local import Show
from hummingbird.sweep.python import python_command
from hummingbird.sweep.schedule import Schedule


def check_slurm() -> None:
    """Raises UserError where no job can be submitted."""
    if shutil.which("sbatch") is None:
        raise UserError("--launcher=slurm: sbatch is not installed here; run on a login node, or use --launcher=print")


def launch_slurm(schedule: Schedule, folder: SweepFolder, parallel: int | None, show: Show) -> None:
    """Submits a job array with one element per unfinished job that is not queued or running already.

    Partition, time, GPUs and so on come from sbatch's own environment variables (SBATCH_PARTITION, SBATCH_TIMELIMIT,
    SBATCH_GPUS, ...). Calling the sweep again shows the results so far and submits the jobs that have failed since.
    """
    check_slurm()
    logs = folder.path / "slurm"
    queued = set(_queued(logs))
    numbers = [
        number
        for number in folder.unfinished(schedule)
        if number not in queued and not folder.is_running(schedule.jobs[number])
    ]
    if not numbers:
        print(f"nothing to submit: {len(queued)} jobs are queued or running")
        return
    logs.mkdir(parents=True, exist_ok=True)
    script = logs / "array.sh"
    script.write_text(_script(folder, logs, numbers, parallel))
    result = subprocess.run(["sbatch", "--parsable", str(script)], capture_output=True, text=True)
    if result.returncode:
        raise UserError(f"--launcher=slurm: sbatch refused the job: {result.stderr.strip()}")
    id = result.stdout.strip().partition(";")[0]
    write_json(logs / f"{id}.json", {"array": id, "jobs": numbers})
    print(f"submitted array {id} with {len(numbers)} jobs; run the same command again to see their progress")


def _script(folder: SweepFolder, logs: pathlib.Path, numbers: list[int], parallel: int | None) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("hummingbird.sweep", "templates"),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["quote"] = lambda text: shlex.quote(str(text))
    return environment.get_template("array.sh.j2").render(
        name=folder.path.name,
        array=",".join(map(str, numbers)) + (f"%{parallel}" if parallel else ""),
        logs=logs.resolve(),
        here=pathlib.Path.cwd(),
        python=python_command(),
        folder=folder.path.resolve(),
    )


def _queued(logs: pathlib.Path) -> Iterator[int]:
    """Yields the numbers of the jobs with array elements in the queue."""
    for file in logs.glob("*.json"):
        submitted = json.loads(file.read_text())
        found = subprocess.run(
            ["squeue", "--noheader", "--array", "--format=%K", f"--jobs={submitted['array']}"],
            capture_output=True,
            text=True,
        )
        if found.returncode == 0:  # squeue fails for an array that has left its records
            yield from (int(word) for word in found.stdout.split() if word.isdigit())
