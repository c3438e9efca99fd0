"""Launchers: `local` runs the jobs of a sweep here, `slurm` submits them as a job array, `print` prints them."""

from __future__ import annotations

from collections.abc import Callable

from hummingbird.sweep.folder import SweepFolder
from hummingbird.sweep.local import Show, launch_local
from hummingbird.sweep.schedule import Schedule
from hummingbird.sweep.slurm import launch_slurm


def launch_print(schedule: Schedule, folder: SweepFolder, parallel: int | None, show: Show) -> None:
    """Prints one line per unfinished job, to be run from this folder by any scheduler; run again, it resumes."""
    for number in folder.unfinished(schedule):
        print(" && ".join(folder.shell_command(schedule.commands[id]) for id in schedule.jobs[number]))


LAUNCHERS: dict[str, Callable[[Schedule, SweepFolder, int | None, Show], None]] = {
    "local": launch_local,
    "slurm": launch_slurm,
    "print": launch_print,
}
