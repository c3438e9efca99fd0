"""Goodput: the share of a run's time that was spent on training that lasted."""

from __future__ import annotations

import json
import logging

from etils import epath

from hummingbird.run.files import write_json

log = logging.getLogger(__name__)


class Goodput:
    """Share of the wall time since a run first started that was spent on steps that were kept.

    A step is kept if the current parameters build on it. Lost are: starting, filling the bank, restoring, compiling
    (the whole first step of every start), saving, evaluating and drawing, waiting for data while the devices were idle,
    the time between a stop and the next start, and steps that a kill threw away.

    WORKDIR/goodput.json survives kills. It holds the time of the first start and the seconds spent on steps up to each
    checkpoint; a resumed run continues from those of its checkpoint, or of the one before if a kill came between a
    checkpoint and its record.

    Args:
      path: goodput.json, local or in a bucket; need not exist.
      start: step the run starts or resumes from.
      start_time: when this process started the run, seconds since the epoch.

    Attributes:
      start_time: when the run first started.
    """

    def __init__(self, path: epath.Path, start: int, start_time: float):
        self._path, self.start_time = path, start_time
        self._saved: dict[int, float] = {}  # {step of a checkpoint: seconds on steps up to it}
        if path.exists():
            try:
                record = json.loads(path.read_text())
                self.start_time = float(record["began"])
                self._saved = {int(step): float(s) for step, s in record["seconds_on_steps"].items()}
            except (ValueError, KeyError, AttributeError, TypeError) as error:  # a statistic must not end a run
                log.warning("%s is damaged (%s): goodput is counted from now on", path, error)
        self._saved = {step: seconds for step, seconds in self._saved.items() if step <= start}
        self._before = self._saved[max(self._saved)] if self._saved else 0.0

    def share(self, seconds: float, now: float) -> float:
        """Returns goodput, 0 to 1.

        Args:
          seconds: spent on steps in this process.
          now: seconds since the epoch.
        """
        return (self._before + seconds) / max(now - self.start_time, 1e-9)

    def save(self, step: int, seconds: float) -> None:
        """Records a checkpoint that was just saved, and the seconds spent on steps in this process."""
        self._saved[step] = self._before + seconds
        self.write()

    def write(self) -> None:
        """Writes the record."""
        rounded = {str(step): round(seconds, 3) for step, seconds in self._saved.items()}
        write_json(self._path, {"began": self.start_time, "seconds_on_steps": rounded})
