"""What a sweep will run: runs, their tasks, and the jobs that tasks are grouped into.

A run is one point of the sweep. Its tasks are commands: a pretraining and the evaluations of its checkpoint, or one
evaluation. A job is a list of tasks that one process works through in order. In a sweep's workdir a task called
"weight=0.2/pretrain" has the folder runs/weight=0.2/pretrain, and beside it pretrain.log and pretrain.json (its state).
Imports nothing heavy: every worker begins with it.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from hummingbird.sweep.python import python_command

Pairs = list[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class Task:
    """One command.

    Attributes:
      id: "run/stage".
      kind: "pretrain" or "evaluate".
      config: config file of the kind.
      overrides: pairs of key and text.
      checkpoint: the encoder of an evaluation.
      bank: folder of the encoded prompt that several evaluations share, or "".
      cut: each of them has a bank of its own, cut from that: only a process that runs them all can share it.
    """

    id: str
    kind: str
    config: str
    overrides: Pairs
    checkpoint: str = ""
    bank: str = ""
    cut: bool = False

    @property
    def stage(self) -> str:
        return self.id.rpartition("/")[2]

    @property
    def pairs(self) -> Pairs:
        """All overrides, that of the shared bank too."""
        return [*self.overrides, *([("retrieval.bank", self.bank)] if self.bank and not self.cut else [])]

    @property
    def arguments(self) -> list[str]:
        """What follows `hummingbird` on the command line, without --workdir, which `id` implies."""
        encoder = [f"--checkpoint={self.checkpoint}"] if self.checkpoint else []
        flags = [f"--config.{key}={value}" for key, value in self.pairs]
        return [self.kind, f"--config={self.config}", *encoder, *flags]


@dataclasses.dataclass(frozen=True)
class Run:
    """One point: its folder's name, the name its point gave (or ""), its swept keys as text, the task of each stage
    (a pretraining may be another run's)."""

    name: str
    label: str
    settings: dict[str, str]
    stages: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything a sweep will run.

    `identity` must not change when the same workdir is used again, nor may what `reference`'s config resolves to:
    {"run": its settings_key, "settings": {stage: {key: value}}}, kept of one run.
    """

    identity: dict[str, Any]
    reference: dict[str, Any]
    runs: list[Run]
    tasks: dict[str, Task]
    jobs: list[list[str]]
    objective: str
    maximise: bool | None
    repeat: list[str]
    program: list[str] = dataclasses.field(default_factory=lambda: [*python_command(), "-m", "hummingbird"])

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Plan":
        runs = [Run(**run) for run in content["runs"]]
        tasks = {
            key: Task(**{**task, "overrides": [tuple(pair) for pair in task["overrides"]]})
            for key, task in content["tasks"].items()
        }
        return cls(**{**content, "runs": runs, "tasks": tasks})


def settings_key(settings: Mapping[str, str]) -> str:
    """What identifies a run across calls: its swept keys, whatever their order."""
    return json.dumps({k: v for k, v in settings.items() if k != "name"}, sort_keys=True)
