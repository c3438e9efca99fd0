"""The shipped sweep files: the commands in their docstrings work, for the paper and for the demo."""

import ast
import shlex
from pathlib import Path

import jax
import pytest

from hummingbird import config, list_models, train
from hummingbird.errors import UserError
from hummingbird.objectives import OBJECTIVES
from hummingbird.sweep.expand import build_schedule
from hummingbird.sweep.spec import load_sweep

FILES = sorted((Path(__file__).parents[2] / "configs" / "sweeps").glob("*.py"))
RUNS = {
    "ablation": (20, 20, 20, 55, 10, 10, 10),
    "adaptation_time": (136, 136, 20),
    "bank_length_evaluation": (10, 10),
    "bank_length_pretraining": (6, 6),
    "capi": (8, 8),
    "context_weight": (18, 18),
    "data_fractions": (40, 40, 15, 40),
    "fungi_ablations": (14, 36, 16, 5),
    "fungi_audio": (4, 4),
    "fungi_incontext": (40, 45, 12, 40),
    "fungi_knn": (40, 12, 4),
    "fungi_linear": (40, 12, 2),
    "fungi_pca": (8, 4),
    "fungi_retrieval": (16, 4),
    "fungi_seeds": (12, 6, 20),
    "fungi_text": (6, 6),
    "neighbours": (60, 20),
    "objectives": (3 * (len(OBJECTIVES) + 2), 3 * (len(OBJECTIVES) + 2), 3 * (2 * 7 + 1)),
    "photographs": (15,),
    "retrieval_vs_finetuning": (11, 11, 1),
    "supervised_weight": (6, 6),
    "table1": (10, 20, 2),
    "table12": (3, 3),
    "table5": (7, 7),
}


def commands(file):
    text = ast.get_docstring(ast.parse(file.read_text())).replace("\\\n", " ").replace("\\ ", " ")
    return [shlex.split(line) for line in text.splitlines() if line.strip().startswith("hummingbird sweep")]


def schedule_of(command):
    flags = dict(word.removeprefix("--").split("=", 1) for word in command[2:])
    pairs = [(key.removeprefix("config."), value) for key, value in flags.items() if key.startswith("config.")]
    return build_schedule(load_sweep(flags["sweep"]), flags.get("config"), pairs, flags.get("checkpoint"), "DIR")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_commands_of_a_sweep_file_schedule_its_runs(file, monkeypatch):
    monkeypatch.chdir(file.parents[2])
    assert tuple(len(schedule_of(command).runs) for command in commands(file)) == RUNS[file.stem]


def test_the_search_is_swept_over_one_bank(monkeypatch):
    file = next(file for file in FILES if file.stem == "neighbours")
    monkeypatch.chdir(file.parents[2])
    schedule = schedule_of(commands(file)[0])
    assert len({command.bank for command in schedule.commands.values()}) == 1
    assert len(schedule.jobs) == 1


def test_table_1_scores_listed_encoders_three_times_each(monkeypatch):
    file = next(file for file in FILES if file.stem == "table1")
    monkeypatch.chdir(file.parents[2])
    schedule = schedule_of(commands(file)[0])
    assert {command.checkpoint for command in schedule.commands.values()} <= {m.checkpoint for m in list_models()}
    assert len(schedule.commands) == len(schedule.jobs) == 30
    assert all(set(schedule.published[run.label]) == {"voc.miou", "ade20k.miou", "nyuv2.rmse"} for run in schedule.runs)
    roots = {command.stage: dict(command.overrides)["data.root"] for command in schedule.commands.values()}
    assert roots == {"voc": "VOCdevkit/VOC2012", "ade20k": "ADEChallengeData2016", "nyuv2": "TFDS_DIR"}
    every = load_sweep("configs/sweeps/table1.py:all")
    assert {point["name"] for point in every.points} == set(every.published) - {
        "MAE ViT-B IN22K",
        "CLIP NFNet-F6 ALIGN",
    }


@pytest.mark.parametrize("table", ["table5", "table12"])
def test_the_papers_scores_are_shown_beside_every_row_of_a_table(table):
    sweep = load_sweep(f"{FILES[0].parent}/{table}.py")
    assert list(sweep.published) == [point["name"] for point in sweep.points]
    assert load_sweep(f"{FILES[0].parent}/{table}.py:demo").published == {}


def test_an_unknown_variant_is_refused():
    with pytest.raises(UserError, match="no variant 'toy'"):
        load_sweep(f"{FILES[0]}:toy")


# The rows of the paper's tables exist twice: one by one as config variants, and together as sweeps.
VARIANTS = {
    "table5": ["moclr", "moclr_context", "cls", "cls_context", "qk_context", "qkv", ""],
    "table12": ["supervised_retrieval", "", "supervised"],
}


@pytest.mark.parametrize("sweep", VARIANTS)
def test_each_row_of_a_table_is_the_config_variant_of_that_name(sweep, monkeypatch):
    monkeypatch.chdir(FILES[0].parents[2])
    path = "configs/pretrain/vit_b16_imagenet.py"
    for point, variant in zip(load_sweep(f"configs/sweeps/{sweep}.py").points, VARIANTS[sweep], strict=True):
        row = {key: value for key, value in point.items() if key != "name"}
        named = config.resolve("pretrain", f"{path}:{variant}" if variant else path)
        assert config.to_flat(config.resolve("pretrain", path, row)) == config.to_flat(named)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["demo", "demo_context", "small"])
def test_every_objective_of_the_sweep_builds_its_program(variant, monkeypatch):
    monkeypatch.chdir(FILES[0].parents[2])
    path = "configs/pretrain/" + ("small.py:cpu" if variant == "small" else "demo.py")
    for point in load_sweep(f"configs/sweeps/objectives.py:{variant}").points:
        known = variant == "demo_context" and "context.bank_length" in point  # `:demo` has the same
        if not point["seed"] and not known:
            changes = {key: x for key, x in point.items() if key != "name" and not key.startswith("evaluate.")}
            settings = config.resolve("pretrain", path, changes)
            program = train.build_program(settings, 4096, jax.devices()[:1])
            assert settings.objective.name == point.get("objective.name", "hummingbird")
            assert bool(program.state.bank.keys.size) == bool(settings.context.bank_length)


def test_without_a_bank_the_supervised_objective_is_a_classifier(monkeypatch):
    monkeypatch.chdir(FILES[0].parents[2])
    path = "configs/pretrain/vit_b16_imagenet22k.py"
    points = load_sweep("configs/sweeps/bank_length_pretraining.py:supervised").points
    resolved = [config.resolve("pretrain", path, dict(point)) for point in points]
    assert [c.supervised.objective for c in resolved] == ["classifier"] + ["retrieval"] * 5
    assert config.to_flat(resolved[0]) == config.to_flat(config.resolve("pretrain", path + ":classifier"))
