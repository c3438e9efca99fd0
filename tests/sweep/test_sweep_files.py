"""The shipped sweep files: the commands in their docstrings plan what they say, for the paper and for the demo."""

import ast
import shlex
from pathlib import Path

import pytest

from hummingbird.errors import UserError
from hummingbird.sweep.spec import load_sweep
from hummingbird.sweep.tasks import build_plan

FILES = sorted((Path(__file__).parents[2] / "configs" / "sweeps").glob("*.py"))
RUNS = {
    "bank_length_evaluation": (10, 10),
    "bank_length_pretraining": (6, 6),
    "context_weight": (18, 18),
    "data_fractions": (40, 12),
    "neighbours": (60, 20),
    "supervised_weight": (6,),
    "table12": (3,),
    "table5": (7, 7),
}


def commands(file):
    text = ast.get_docstring(ast.parse(file.read_text())).replace("\\\n", " ").replace("\\ ", " ")
    return [shlex.split(line) for line in text.splitlines() if line.strip().startswith("hummingbird sweep")]


def plan_of(command):
    flags = dict(word.removeprefix("--").split("=", 1) for word in command[2:])
    pairs = [(key.removeprefix("config."), value) for key, value in flags.items() if key.startswith("config.")]
    return build_plan(load_sweep(flags["sweep"]), flags["config"], pairs, flags.get("checkpoint"), "DIR")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_commands_of_a_sweep_file_plan_its_runs(file, monkeypatch):
    monkeypatch.chdir(file.parents[2])
    assert tuple(len(plan_of(command).runs) for command in commands(file)) == RUNS[file.stem]


def test_the_search_is_swept_over_one_bank(monkeypatch):
    file = next(file for file in FILES if file.stem == "neighbours")
    monkeypatch.chdir(file.parents[2])
    plan = plan_of(commands(file)[0])
    assert len({task.bank for task in plan.tasks.values()}) == 1
    assert len(plan.jobs) == 1


def test_an_unknown_variant_is_refused():
    with pytest.raises(UserError, match="no variant 'toy'"):
        load_sweep(f"{FILES[0]}:toy")
