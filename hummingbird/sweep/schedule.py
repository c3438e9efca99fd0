"""What a sweep will run: its runs, their commands, and the jobs that commands are grouped into.

A run is one point of the sweep. Its commands are a pretraining and the evaluations and decoders of its checkpoint, or
evaluations and decoders of one encoder. A job is a list of commands that one process runs in order. In a sweep's folder
the command "weight=0.2/pretrain" has the workdir runs/weight=0.2/pretrain, and beside it pretrain.log and pretrain.json
(its status).

Every worker imports this module, so it imports nothing heavy.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

from hummingbird.run.files import Json
from hummingbird.sweep.figures import Figure, PaperTable, figure_from_json, table_from_json
from hummingbird.sweep.python import python_command

Pairs = list[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class Command:
    """A command of a sweep.

    Attributes:
      id: "run/stage".
      kind: "pretrain", "evaluate" or "finetune".
      config: config file of that kind.
      overrides: pairs of key and text.
      checkpoint: the encoder of an evaluation or a decoder.
      bank: folder of the encoded prompt that several evaluations share; empty: not shared.
      cut: whether each of them cuts its own bank from the shared one; then one process has to run them all.
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
        """The part of its run: "pretrain", or the name of an evaluation or a decoder."""
        return self.id.rpartition("/")[2]

    @property
    def arguments(self) -> list[str]:
        """What follows `hummingbird` on the command line, without --workdir, which `id` implies."""
        encoder = [f"--checkpoint={self.checkpoint}"] if self.checkpoint else []
        bank = [("retrieval.bank", self.bank)] if self.bank and not self.cut else []
        return [
            self.kind,
            f"--config={self.config}",
            *encoder,
            *(f"--config.{key}={value}" for key, value in [*self.overrides, *bank]),
        ]


@dataclasses.dataclass(frozen=True)
class Run:
    """One point of a sweep.

    Attributes:
      name: its folder.
      label: the name that the sweep file gave it, or "".
      settings: its swept keys as text.
      stages: the command of each stage; runs with equal pretraining share that command.
    """

    name: str
    label: str
    settings: dict[str, str]
    stages: dict[str, str]


class Identity(TypedDict):
    """What must not change when a sweep's folder is used again."""

    job: str
    config: str
    overrides: list[list[str]]
    evaluate: dict[str, str]
    finetune: NotRequired[dict[str, str]]
    checkpoint: str | None


class Reference(TypedDict):
    """The resolved settings of one run, to notice an edited config file.

    Attributes:
      run: `settings_key` of the run.
      settings: by stage and key.
    """

    run: str
    settings: dict[str, dict[str, Json]]


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Everything that a sweep will run; the content of sweep.json.

    Attributes:
      identity, reference: must not change when the folder is used again.
      runs: in the order of the sweep file.
      commands: by id.
      jobs: lists of command ids.
      objective: metric that runs are sorted by; empty: the first evaluation's headline score.
      maximise: whether larger is better; None: known from the metric.
      repeat: keys that only repeat a setting.
      program: the command line of `hummingbird`.
      published: scores to show beside those measured, by name of a run and metric.
      compare: pairs of names of runs whose differences are shown.
      figures, tables: of the paper, with published numbers.
    """

    identity: Identity
    reference: Reference
    runs: list[Run]
    commands: dict[str, Command]
    jobs: list[list[str]]
    objective: str
    maximise: bool | None
    repeat: list[str]
    program: list[str] = dataclasses.field(default_factory=lambda: [*python_command(), "-m", "hummingbird"])
    published: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    compare: Pairs = dataclasses.field(default_factory=list)
    figures: list[Figure] = dataclasses.field(default_factory=list)
    tables: list[PaperTable] = dataclasses.field(default_factory=list)

    def to_json(self) -> dict[str, Json]:
        """Returns the content of sweep.json, in which commands are called tasks."""
        content = dataclasses.asdict(self)
        content["tasks"] = content.pop("commands")
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Schedule:
        """Restores a schedule; KeyError or TypeError if the content is not one."""
        restored = ("runs", "tasks", "compare", "figures", "tables")
        rest = {key: value for key, value in content.items() if key not in restored}
        figures = [figure_from_json(figure) for figure in content.get("figures", [])]
        tables = [table_from_json(table) for table in content.get("tables", [])]
        compare = [(first, second) for first, second in content.get("compare", [])]
        runs = [Run(**run) for run in content["runs"]]
        commands = {
            id: Command(**{**command, "overrides": [(key, value) for key, value in command["overrides"]]})
            for id, command in content["tasks"].items()
        }
        return cls(runs=runs, commands=commands, compare=compare, figures=figures, tables=tables, **rest)


def settings_key(settings: Mapping[str, str]) -> str:
    """Returns what identifies a run across calls: its swept keys, in any order."""
    return json.dumps({k: v for k, v in settings.items() if k != "name"}, sort_keys=True)
