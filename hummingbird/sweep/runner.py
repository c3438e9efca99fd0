"""`hummingbird sweep`: schedule, check, lock, launch, collect."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from hummingbird.errors import UserError
from hummingbird.sweep.display import Display
from hummingbird.sweep.expand import build_schedule
from hummingbird.sweep.folder import DONE, SweepFolder
from hummingbird.sweep.launch import LAUNCHERS
from hummingbird.sweep.preflight import check_data
from hummingbird.sweep.slurm import check_slurm
from hummingbird.sweep.spec import load_sweep


def run(
    config_path: str | None,
    sweep_path: str,
    workdir: str,
    launcher: str = "local",
    overrides: Sequence[tuple[str, str]] = (),
    checkpoint: str | None = None,
    parallel: int | None = None,
    program: Sequence[str] | None = None,
) -> int:
    """Runs or resumes a sweep: finished runs stay, failed and killed ones are run again.

    Args:
      config_path: the config of all runs, a file or a shipped one; None if the sweep names its evaluations or
        decoders.
      sweep_path: the sweep, a file or a shipped one (see `hummingbird.sweep.spec`).
      workdir: the sweep's folder.
      launcher: "local", "slurm" or "print".
      overrides: pairs of key and text for all runs.
      checkpoint: the encoder of a sweep without pretraining.
      parallel: runs at a time; None: one per GPU, or one.
      program: the command line of `hummingbird`, such as one in a container; None: this Python's.

    Returns:
      The number of failed runs.

    Raises:
      UserError: a bad sweep file, setting or folder, data of an evaluation or a decoder that cannot be used (asked
        here only if this machine runs them), or another process is running the sweep; nothing is run then.
      Preempted: stopped by SIGTERM; the same call resumes.
    """
    if launcher not in LAUNCHERS:
        raise UserError(f"--launcher={launcher}: not known, expected one of {', '.join(LAUNCHERS)}")
    if launcher == "slurm":
        check_slurm()
    if parallel is not None and parallel < 1:
        raise UserError(f"--parallel={parallel}: expected a number >= 1")
    folder = SweepFolder(workdir)
    old = folder.load_schedule()
    schedule = build_schedule(load_sweep(sweep_path), config_path, overrides, checkpoint, workdir, old)
    if program is not None:
        schedule = dataclasses.replace(schedule, program=list(program))
    if old is not None:
        folder.check_same_sweep(old, schedule)
    elif folder.path.exists() and any(folder.path.iterdir()):
        raise UserError(f"--workdir={workdir} is not empty and holds no sweep; choose another folder")
    if launcher == "local":
        check_data(command for id, command in schedule.commands.items() if folder.state(id) != DONE)
    try:
        with folder.lock("sweep", f"--workdir={workdir}: another sweep process is running it"):
            folder.save_schedule(schedule)
            with Display(schedule, folder, quiet=launcher == "print") as display:
                LAUNCHERS[launcher](schedule, folder, parallel, display.show)
            return display.finish()
    except OSError as error:
        raise UserError(f"--workdir={workdir} cannot be written ({error.strerror}); choose another folder") from error
