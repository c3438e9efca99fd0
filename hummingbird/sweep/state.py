"""What is on disk about a sweep while it runs: the plan, the state of each task, and who holds which lock."""

import contextlib
import json
import os
import pathlib
import re
import time
from typing import Any

from hummingbird.errors import UserError
from hummingbird.run import locks
from hummingbird.run.files import write_json
from hummingbird.sweep.plan import Plan, settings_key

WAITING, RUNNING, DONE, FAILED = "waiting", "running", "done", "failed"
TAIL_LINES = 12


class Workdir:
    """The folder of a sweep: sweep.json (the plan), runs/, locks/, and the results.

    Args:
      path: the folder; nothing is made before something is written.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = pathlib.Path(path)

    def folder(self, task: str) -> pathlib.Path:
        """Where the task's command writes."""
        return self.path / "runs" / task

    def log(self, task: str) -> pathlib.Path:
        return self.folder(task).with_name(self.folder(task).name + ".log")

    def state_file(self, task: str) -> pathlib.Path:
        return self.folder(task).with_name(self.folder(task).name + ".json")

    def state(self, task: str) -> dict[str, Any]:
        """{"state", "started", "ended", "returncode", "tail"}; waiting where nothing has happened yet."""
        try:
            found = json.loads(self.state_file(task).read_text())
        except FileNotFoundError:
            return {"state": WAITING}
        except ValueError as error:
            raise UserError(f"{self.state_file(task)} is damaged ({error}); delete it to run the task again") from None
        # Whoever deleted the results wants them again.
        return {"state": WAITING} if found["state"] == DONE and not self.folder(task).is_dir() else found

    def set_state(self, task: str, state: str, **more: Any) -> None:
        write_json(self.state_file(task), {"state": state, "time": time.time(), **more})

    def tail(self, task: str) -> str:
        """The last lines of the task's log, progress bars left out."""
        try:
            with open(self.log(task), "rb") as log:
                log.seek(max(0, os.path.getsize(self.log(task)) - 20_000))
                text = log.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
        lines = [line.rpartition("\r")[2].rstrip() for line in text.replace("\r\n", "\n").split("\n")]
        return "\n".join([line for line in lines if line][-TAIL_LINES:])

    # ------------------------------------------------------------ the plan
    def load_plan(self) -> Plan | None:
        """The plan of the last call, None in a new workdir."""
        file = self.path / "sweep.json"
        try:
            return Plan.from_json(json.loads(file.read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{file} is not the plan of a sweep ({error}); choose another --workdir") from None

    def save_plan(self, plan: Plan) -> None:
        write_json(self.path / "sweep.json", plan.to_json())

    def check_same_sweep(self, old: Plan, new: Plan) -> None:
        """UserError unless `new` is the sweep of this workdir, perhaps with more runs."""
        for key, value in new.identity.items():
            if old.identity.get(key) != value:
                raise UserError(
                    f"--workdir={self.path} holds another sweep: "
                    f"its {key} is {old.identity.get(key)!r}, not {value!r}; choose another folder"
                )
        missing = {settings_key(run.settings) for run in old.runs} - {settings_key(run.settings) for run in new.runs}
        if missing:
            names = [run.name for run in old.runs if settings_key(run.settings) in missing]
            raise UserError(
                f"--workdir={self.path} holds a sweep with other runs, such as {names[0]}; "
                "a sweep may grow in its folder, for another one choose another folder"
            )

        for stage, settings in old.reference["settings"].items():
            for key, value in settings.items():
                now = new.reference["settings"][stage].get(key, value)
                if now != value:
                    raise UserError(
                        f"--workdir={self.path}: {key} of {stage} was {value!r} when the sweep began, now it is "
                        f"{now!r} (an edited config file, or another version); choose another folder"
                    )

    # ------------------------------------------------------------ locks
    def lock(self, name: str, busy: str) -> contextlib.AbstractContextManager[None]:
        """Holds the lock `name`; UserError that begins with `busy` if another process holds it."""
        return locks.hold(self.path / "locks" / name, busy, "wait for it or stop it")

    def is_locked(self, name: str) -> bool:
        """Returns whether a living process holds the lock `name`."""
        return locks.is_held(self.path / "locks" / name)
