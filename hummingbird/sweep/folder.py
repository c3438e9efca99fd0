"""The folder of a sweep: its schedule, the status of each command, logs and locks."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import shlex
import time
from typing import NotRequired, TypedDict

from hummingbird.errors import UserError
from hummingbird.run import locks
from hummingbird.run.files import Json, write_json
from hummingbird.sweep.schedule import Command, Identity, Schedule, settings_key

WAITING, RUNNING, DONE, FAILED = "waiting", "running", "done", "failed"
TAIL_LINES = 12


class Status(TypedDict):
    """The status of a command; the content of its .json file.

    Attributes:
      state: waiting, running, done or failed.
      time: when the status was written, seconds since the epoch.
      started: when the command was started.
      seconds: how long it ran.
      returncode: exit status of a failed command.
      tail: last lines of a failed command's log.
    """

    state: str
    time: NotRequired[float]
    started: NotRequired[float]
    seconds: NotRequired[float]
    returncode: NotRequired[int]
    tail: NotRequired[str]


class SweepFolder:
    """The folder of a sweep: sweep.json (the schedule), runs/, banks/, locks/, and the results.

    Args:
      path: made when something is written.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = pathlib.Path(path)

    # ------------------------------------------------------------ commands
    def workdir(self, id: str) -> pathlib.Path:
        """Returns the --workdir of a command."""
        return self.path / "runs" / id

    def log(self, id: str) -> pathlib.Path:
        """Returns the log file of a command."""
        return self.workdir(id).with_name(self.workdir(id).name + ".log")

    def status_file(self, id: str) -> pathlib.Path:
        """Returns the file that holds the status of a command."""
        return self.workdir(id).with_name(self.workdir(id).name + ".json")

    def status(self, id: str) -> Status:
        """Returns the status of a command; waiting if it has not started, or if its results have been deleted."""
        try:
            status: Status = json.loads(self.status_file(id).read_text())
        except FileNotFoundError:
            return {"state": WAITING}
        except ValueError as error:
            raise UserError(
                f"{self.status_file(id)} is damaged ({error}); delete it to run the command again"
            ) from None
        return {"state": WAITING} if status["state"] == DONE and not self.workdir(id).is_dir() else status

    def state(self, id: str) -> str:
        """Returns the state of a command."""
        return self.status(id)["state"]

    def set_status(
        self,
        id: str,
        state: str,
        started: float | None = None,
        seconds: float | None = None,
        returncode: int | None = None,
        tail: str | None = None,
    ) -> None:
        """Writes the status of a command; see `Status` for the arguments."""
        details: dict[str, Json] = {"started": started, "seconds": seconds, "returncode": returncode, "tail": tail}
        known = {key: value for key, value in details.items() if value is not None}
        write_json(self.status_file(id), {"state": state, "time": time.time(), **known})

    def tail(self, id: str) -> str:
        """Returns the last lines of a command's log, without progress bars."""
        try:
            with open(self.log(id), "rb") as log:
                log.seek(max(0, os.path.getsize(self.log(id)) - 20_000))
                text = log.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
        lines = [line.rpartition("\r")[2].rstrip() for line in text.replace("\r\n", "\n").split("\n")]
        return "\n".join([line for line in lines if line][-TAIL_LINES:])

    def shell_command(self, command: Command) -> str:
        """Returns a command as one would type it."""
        return shlex.join(["hummingbird", *command.arguments, f"--workdir={self.workdir(command.id)}"])

    # ------------------------------------------------------------ schedule
    def load_schedule(self) -> Schedule | None:
        """Reads the schedule of the last call; None in a new folder, UserError if sweep.json is something else."""
        file = self.path / "sweep.json"
        try:
            return Schedule.from_json(json.loads(file.read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{file} is not the schedule of a sweep ({error}); choose another --workdir") from None

    def save_schedule(self, schedule: Schedule) -> None:
        """Writes sweep.json."""
        write_json(self.path / "sweep.json", schedule.to_json())

    def unfinished(self, schedule: Schedule) -> list[int]:
        """Returns the numbers of the jobs with commands left to run; failed commands are run again."""
        return [number for number, job in enumerate(schedule.jobs) if any(self.state(id) != DONE for id in job)]

    def check_same_sweep(self, old: Schedule, new: Schedule) -> None:
        """Raises UserError unless `new` is the sweep of this folder, perhaps with more runs or evaluations."""
        before, now = same_spelling(old.identity), same_spelling(new.identity)
        for kind in ("evaluate", "finetune"):  # what has been added leaves finished commands as they are
            if known_stages := before.get(kind):
                now[kind] = {name: path for name, path in now.get(kind, {}).items() if name in known_stages}
        known: dict[str, object] = {**before}
        for key, value in now.items():
            if known.get(key) != value:
                raise UserError(
                    f"--workdir={self.path} holds another sweep: its {key} is {known.get(key)!r}, not {value!r}; "
                    "choose another folder"
                )
        kept = {settings_key(run.settings) for run in new.runs}
        missing = [run.name for run in old.runs if settings_key(run.settings) not in kept]
        if missing:
            raise UserError(
                f"--workdir={self.path} holds a sweep with other runs, such as {missing[0]}; "
                "runs can be added to a sweep, but not removed; choose another folder"
            )
        for stage, settings in old.reference["settings"].items():
            harmless = harmless_settings(kind_of(stage, new.identity))
            for key, value in settings.items():
                now = new.reference["settings"][stage].get(key, value)
                if now != value and key not in harmless:
                    raise UserError(
                        f"--workdir={self.path}: {key} of {stage} was {value!r} when the sweep was started and is "
                        f"{now!r} now (an edited config file, or another version); choose another folder"
                    )

    # ------------------------------------------------------------ locks
    def lock(self, name: str, busy: str) -> contextlib.AbstractContextManager[None]:
        """Holds the lock `name`; UserError that starts with `busy` if another process holds it."""
        return locks.hold(self.path / "locks" / name, busy, "wait for it or stop it")

    def is_locked(self, name: str) -> bool:
        """Returns whether a living process holds the lock `name`."""
        return locks.is_held(self.path / "locks" / name)

    def is_running(self, job: list[str]) -> bool:
        """Returns whether a living worker runs this job, perhaps one that an earlier call left behind."""
        return self.is_locked(job_lock(job))


def harmless_settings(kind: str) -> set[str]:
    """Returns settings that may differ within a sweep, as defaults of another version: a run resumes with them too."""
    from hummingbird import config  # workers compare no sweeps

    decisive = ("epochs", "total_steps", "init_from")
    return {key for key, setting in config.declared(kind).items() if setting.resumable and key not in decisive}


def same_spelling(identity: Identity) -> Identity:
    """Returns an identity in which a config file has the same name however it was typed."""
    from hummingbird.config.names import canonical  # workers compare no sweeps

    evaluate = {name: canonical(path, "evaluate") for name, path in identity["evaluate"].items()}
    finetune = {name: canonical(path, "finetune") for name, path in identity.get("finetune", {}).items()}
    config = identity["config"] and canonical(identity["config"], identity["job"])
    return {**identity, "config": config, "evaluate": evaluate, "finetune": finetune}


def kind_of(stage: str, identity: Identity) -> str:
    """Returns the kind of command of a stage of a sweep."""
    if stage in ("pretrain", identity["job"]):
        return stage
    return "finetune" if stage in identity.get("finetune", {}) else "evaluate"


def job_lock(job: list[str]) -> str:
    """Returns the name of a job's lock, which stays the same when the sweep grows."""
    return job[0].replace("/", " ")
