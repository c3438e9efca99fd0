"""Schedules: names, sharing, and what is refused before anything runs."""

import pytest

from hummingbird.errors import UserError
from hummingbird.sweep import Sweep, cross, grid
from hummingbird.sweep.expand import build_schedule
from hummingbird.sweep.folder import SweepFolder
from hummingbird.sweep.names import as_text, name_runs, short_keys
from hummingbird.sweep.schedule import Schedule

PRETRAIN, SCENES = "configs/pretrain/demo.py:tiny", "configs/evaluate/scenes.py"


def schedule_of(points, job="pretrain", overrides=(), checkpoint=None, old=None, **more):
    config = PRETRAIN if job == "pretrain" else SCENES
    return build_schedule(Sweep(job, points, **more), config, overrides, checkpoint, "W", old)


def test_folders_are_named_by_what_differs():
    schedule = schedule_of(grid({"context.weight": [0.0, 0.5], "seed": [0, 1], "pooling": ["qk"]}))
    assert [run.name for run in schedule.runs] == [
        "weight=0.0,seed=0",
        "weight=0.0,seed=1",
        "weight=0.5,seed=0",
        "weight=0.5,seed=1",
    ]


def test_names_are_distinct_and_safe():
    assert short_keys(["a.weight", "b.weight", "seed"]) == {
        "a.weight": "a.weight",
        "b.weight": "b.weight",
        "seed": "seed",
    }
    assert name_runs([{"name": "+ [CLS]"}, {"name": "../x y"}], {}) == ["+-[CLS]", "x-y"]
    assert name_runs([{"checkpoint": "a/b/c"}, {"checkpoint": "random:vit_s16"}], {}) == [
        "checkpoint=c",
        "checkpoint=random-vit_s16",
    ]
    names = name_runs([{"k": "x" * 300 + "1"}, {"k": "x" * 300 + "2"}], {})
    assert len(set(names)) == 2
    assert max(map(len, names)) <= 100
    named = [{"name": "a", "seed": "0"}, {"name": "a", "seed": "1"}]
    assert name_runs(named, {}) == ["a,seed=0", "a,seed=1"]


def test_a_config_may_be_named_in_another_way_when_a_sweep_is_resumed(tmp_path):
    sweep = Sweep("pretrain", [{}], evaluate={"scenes": SCENES})
    old = build_schedule(sweep, PRETRAIN, (), None, "W")
    renamed = Sweep("pretrain", [{}], evaluate={"scenes": "evaluate/scenes"})
    folder = SweepFolder(tmp_path)
    folder.check_same_sweep(old, build_schedule(renamed, "pretrain/demo:tiny", (), None, "W", old))
    with pytest.raises(UserError, match="another sweep: its config"):
        folder.check_same_sweep(old, build_schedule(renamed, "pretrain/demo", (), None, "W", old))


LINEAR = "configs/finetune/linear.py"


def decoders_of(points, job="evaluate", config=None, overrides=(), **more):
    stages = {"evaluate": {"nn": SCENES}, "finetune": {"linear": LINEAR, "e2e": LINEAR}, "checkpoint": "rgb:8"}
    return build_schedule(Sweep(job, points, **{**stages, **more}), config, overrides, None, "W")


def test_decoders_are_trained_beside_evaluations_with_their_own_settings():
    shared = [("data.fraction", "0.5"), ("finetune.epochs", "2"), ("finetune.e2e.decoder.train_encoder", "true")]
    schedule = decoders_of([{}], overrides=[*shared, ("evaluate.nn.retrieval.neighbours", "5")])
    found = {id: (command.kind, dict(command.overrides)) for id, command in schedule.commands.items()}
    assert found == {
        "run/nn": ("evaluate", {"data.fraction": "0.5", "retrieval.neighbours": "5"}),
        "run/linear": ("finetune", {"data.fraction": "0.5", "epochs": "2"}),
        "run/e2e": ("finetune", {"data.fraction": "0.5", "epochs": "2", "decoder.train_encoder": "true"}),
    }
    assert len(schedule.jobs) == 3
    assert Schedule.from_json(schedule.to_json()) == schedule


def test_a_run_may_consist_of_some_stages_only():
    points = [{"stages": "nn", "data.fraction": 0.5}, {"stages": ("linear", "e2e"), "total_steps": 3}]
    schedule = decoders_of(points, finetune={"linear": LINEAR, "e2e": f"{LINEAR}:pascal_voc"})
    assert [list(run.stages) for run in schedule.runs] == [["nn"], ["linear", "e2e"]]
    with pytest.raises(UserError, match="stages: 'voc' is no evaluation or decoder of the sweep: nn, linear, e2e"):
        decoders_of([{"stages": "voc"}])


def test_decoders_follow_a_pretraining_and_stand_alone():
    sweep = Sweep("pretrain", [{"finetune.epochs": 2}], finetune={"linear": LINEAR})
    schedule = build_schedule(sweep, PRETRAIN, (), None, "W")
    assert schedule.jobs == [["epochs=2/pretrain", "epochs=2/linear"]]
    assert schedule.commands["epochs=2/linear"].checkpoint == "W/runs/epochs=2/pretrain"
    alone = build_schedule(Sweep("finetune", grid({"seed": [0, 1]})), LINEAR, (), "rgb:8", "W")
    assert [command.arguments[0] for command in alone.commands.values()] == ["finetune", "finetune"]
    assert [list(run.stages) for run in alone.runs] == [["finetune"], ["finetune"]]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"config": LINEAR}, "the sweep file names its evaluations and decoders; leave --config out"),
        ({"finetune": {"nn": LINEAR}}, "an evaluation and a decoder are both called nn"),
        ({"finetune": {"decoder": LINEAR}}, "a decoder cannot be called 'decoder'"),
        ({"finetune": {}, "overrides": [("finetune.epochs", "1")]}, "finetune.epochs: the sweep file names no decoder"),
        ({"overrides": [("finetune.linear.epoch", "1")]}, "epochs"),
        ({"checkpoint": None}, "no encoder: give --checkpoint=PATH"),
    ],
)
def test_decoders_that_do_not_fit_are_refused(more, message):
    with pytest.raises(UserError, match=message):
        decoders_of([{}], **more)


def test_decoders_can_be_added_to_a_sweep_but_not_changed(tmp_path):
    folder, old = SweepFolder(tmp_path), decoders_of([{}], finetune={"linear": LINEAR})
    folder.check_same_sweep(old, decoders_of([{}]))
    changed = decoders_of([{}], finetune={"linear": LINEAR}, overrides=[])
    folder.check_same_sweep(old, changed)
    with pytest.raises(UserError, match="its finetune is"):
        folder.check_same_sweep(old, decoders_of([{}], finetune={"linear": f"{LINEAR}:ade20k"}))


def test_values_become_command_line_text():
    assert [as_text(v) for v in (None, True, (0.1, 1), 1e-5, "qkv", 3)] == [
        "none",
        "true",
        "0.1,1",
        "1e-05",
        "qkv",
        "3",
    ]


def test_a_pretraining_is_evaluated_from_its_folder():
    schedule = schedule_of([{"context.weight": 0.5, "evaluate.retrieval.neighbours": 5}], evaluate={"scenes": SCENES})
    (job,) = schedule.jobs
    assert job == ["neighbours=5,weight=0.5/pretrain", "neighbours=5,weight=0.5/scenes"] or len(job) == 2
    command = schedule.commands[job[1]]
    assert command.checkpoint == f"W/runs/{job[0]}"
    assert command.arguments[:3] == ["evaluate", f"--config={SCENES}", f"--checkpoint={command.checkpoint}"]
    assert command.overrides == [("retrieval.neighbours", "5")]
    assert schedule.commands[job[0]].overrides == [("context.weight", "0.5")]


def test_runs_that_differ_in_evaluation_share_their_pretraining():
    schedule = schedule_of(grid({"seed": [0, 1], "evaluate.retrieval.neighbours": [3, 5]}), evaluate={"scenes": SCENES})
    kinds = [command.kind for command in schedule.commands.values()]
    assert kinds.count("pretrain") == 2
    assert kinds.count("evaluate") == 4
    assert [len(job) for job in schedule.jobs] == [3, 3]


def test_settings_of_one_evaluation_stay_with_it():
    points = [{"evaluate.one.retrieval.neighbours": 3, "evaluate.seed": 7}]
    schedule = schedule_of(points, evaluate={"one": SCENES, "two": SCENES})
    overrides = {command.stage: command.overrides for command in schedule.commands.values()}
    assert overrides["one"] == [("retrieval.neighbours", "3"), ("seed", "7")]
    assert overrides["two"] == [("seed", "7")]


def test_an_evaluation_sweep_may_name_the_evaluations_of_each_encoder():
    points = [{"name": "a", "checkpoint": "rgb:8"}, {"name": "b", "checkpoint": "rgb:16", "evaluate.one.seed": 7}]
    sweep = Sweep("evaluate", points, evaluate={"one": SCENES, "two": "evaluate/demo:depth"})
    overrides = [("encoder.dtype", "bfloat16"), ("evaluate.two.input_size", "32")]
    schedule = build_schedule(sweep, None, overrides, None, "W")
    found = {id: (command.config, command.checkpoint, command.overrides) for id, command in schedule.commands.items()}
    every = ("encoder.dtype", "bfloat16")
    assert found == {
        "a/one": (SCENES, "rgb:8", [every]),
        "a/two": ("evaluate/demo:depth", "rgb:8", [every, ("input_size", "32")]),
        "b/one": (SCENES, "rgb:16", [every, ("seed", "7")]),
        "b/two": ("evaluate/demo:depth", "rgb:16", [every, ("input_size", "32")]),
    }
    with pytest.raises(UserError, match=f"--config={SCENES}: the sweep file names its evaluations"):
        build_schedule(sweep, SCENES, (), None, "W")
    for unnamed in (Sweep("evaluate", points), Sweep("pretrain", [{}])):
        with pytest.raises(UserError, match="--config is missing"):
            build_schedule(unnamed, None, (), None, "W")


def test_a_sweep_without_a_config_is_resumed(tmp_path):
    sweep = Sweep("evaluate", [{"checkpoint": "rgb:8"}], evaluate={"one": SCENES}, published={"a": {"one.miou": 1.5}})
    old = build_schedule(sweep, None, (), None, "W")
    assert Schedule.from_json(old.to_json()) == old
    SweepFolder(tmp_path).check_same_sweep(old, build_schedule(sweep, None, (), None, "W", old))


def test_settings_of_the_search_share_a_bank_and_a_job():
    points = cross(grid({"seed": [0, 1]}), grid({"retrieval.neighbours": [3, 5], "retrieval.temperature": [0.02, 0.1]}))
    schedule = schedule_of(points, "evaluate", checkpoint="rgb:8")
    assert [len(job) for job in schedule.jobs] == [4, 4]
    banks = {command.bank for command in schedule.commands.values()}
    assert len(banks) == 2
    assert all(bank.startswith("W/banks/") for bank in banks)
    first = schedule.commands[schedule.jobs[0][0]]
    assert f"--config.retrieval.bank={first.bank}" in first.arguments


def test_distances_between_unnormalised_features_share_a_bank():
    axes = {"retrieval.distance": ["cosine", "l2"], "retrieval.standardise": [False, True]}
    schedule = schedule_of(grid(axes), "evaluate", checkpoint="rgb:8")
    assert [len(job) for job in schedule.jobs] == [1, 3], "cosines of features as they are have normalised keys"


def test_banks_cut_from_one_encoding_share_a_job_but_no_command():
    axes = {"retrieval.memory_length": [1000, 2000], "retrieval.augmentation_epochs": [1, 2]}
    schedule = schedule_of(grid(axes), "evaluate", checkpoint="rgb:8")
    assert [len(job) for job in schedule.jobs] == [4]
    assert len({command.bank for command in schedule.commands.values()}) == 1
    assert not any("retrieval.bank" in word for command in schedule.commands.values() for word in command.arguments)


def test_encodings_that_differ_share_nothing():
    schedule = schedule_of(grid({"retrieval.augmentation_epochs": [0, 2, None]}), "evaluate", checkpoint="rgb:8")
    assert {command.bank for command in schedule.commands.values()} == {""}
    schedule = schedule_of(grid({"checkpoint": ["rgb:8", "rgb:16"]}), "evaluate")
    assert {command.bank for command in schedule.commands.values()} == {""}


@pytest.mark.parametrize(
    ("points", "more", "message"),
    [
        ([{"contxt.weight": 0.1}], {}, "did you mean context.weight"),
        ([{"context.weight": 7.0}], {}, "context.weight: 7.0 is not accepted"),
        ([{"context.weight": "much"}], {}, "expected a number from 0 to 1"),
        ([{"context.weight": 0.1}, {"context.weight": 0.10}], {}, "are the same"),
        ([{"name": "a"}, {"name": "b"}], {}, "runs a and b are the same"),
        ([{"seed": 1}], {"overrides": [("seed", "2")]}, "seed fixes a key that the sweep varies"),
        ([{"evaluate.seed": 1}], {}, "names no evaluation"),
        ([{"evaluate.sed": 1}], {"evaluate": {"scenes": SCENES}}, "did you mean seed"),
        ([{}], {"evaluate": {"data": SCENES}}, "cannot be called 'data'"),
        ([{}], {"checkpoint": "rgb:8"}, "takes no checkpoint"),
        ([{}], {"job": "evaluate"}, "no encoder"),
        ([{}], {"evaluate": {"x": "configs/none.py"}}, "does not exist"),
    ],
)
def test_bad_sweeps_are_refused(points, more, message):
    with pytest.raises(UserError, match=message):
        schedule_of(points, **more)


def test_a_growing_sweep_keeps_its_names():
    old = schedule_of(grid({"context.weight": [0.1, 0.2]}))
    new = schedule_of(grid({"context.weight": [0.1, 0.2], "seed": [0]}), old=None)
    assert new.runs[0].name == "weight=0.1"
    wider = schedule_of([*grid({"context.weight": [0.1, 0.2]}), {"pooling": "qk"}], old=old)
    assert [run.name for run in wider.runs] == ["weight=0.1", "weight=0.2", "pooling=qk"]


def test_a_schedule_survives_json():
    schedule = schedule_of(grid({"seed": [0, 1]}), evaluate={"scenes": SCENES})
    assert Schedule.from_json(schedule.to_json()) == schedule
