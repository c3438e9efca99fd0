"""Decoders fitted from end to end on tiny rendered scenes, from the command line and in Python."""

import json

import numpy as np
import pytest
from etils import epath

from hummingbird import cli, config
from hummingbird.decoders.finetune import finetune
from hummingbird.decoders.results import seconds_of_steps
from hummingbird.encoder import load_encoder
from hummingbird.errors import UserError

SCENES = {
    "data.scenes.size": 32,
    "data.scenes.prompt_images": 6,
    "data.scenes.query_images": 3,
    "data.threads": 0,
    "input_size": 32,
    "batch_size": 4,
    "total_steps": 4,
    "report.enabled": False,
    "progress": False,
    "mesh.data": 1,
}


def finetune_config(**changes):
    return config.resolve("finetune", "finetune/linear", {**SCENES, **changes})


@pytest.fixture(autouse=True)
def without_curves(monkeypatch):
    monkeypatch.setattr("hummingbird.run.curves.write", lambda workdir: True)  # which takes seconds


@pytest.fixture(scope="module")
def encoder():
    return load_encoder("rgb:8")


def test_the_command_trains_scores_and_says_what_it_did(tmp_path, capsys):
    overrides = [f"--config.{key}={value}" for key, value in SCENES.items() if key != "report.enabled"]
    run = tmp_path / "run"
    words = ["finetune", "--config=finetune/linear", "--checkpoint=rgb:8", f"--workdir={run}", *overrides]
    assert cli.run(words) == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    result = json.loads((run / "metrics.json").read_text())
    assert printed["miou"] == result["metrics"]["miou"]
    assert (
        result["decoder"] | {"name": "bn_linear", "train_encoder": False, "iterations": 4, "batch": 4}
        == (result["decoder"])
    )
    assert result["queries"] == {"images": 3}
    assert (run / "report.html").exists()
    capsys.readouterr()
    assert cli.run(["info", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "hummingbird decoder checkpoint"
    assert cli.run(words) == 0  # a finished run is scored again
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == printed
    other = ["--checkpoint=rgb:4" if word.startswith("--checkpoint") else word for word in words]
    assert cli.run(other) == 2
    assert "raw RGB patches of 8 px" in capsys.readouterr().err


def test_training_helps(tmp_path, encoder):
    few = {"optimizer.learning_rate": 0.02, "optimizer.warmup": 0.0}
    scores = [
        finetune(finetune_config(**few, total_steps=steps), encoder, tmp_path / str(steps))["metrics"]
        for steps in (1, 60)
    ]
    assert scores[1]["pixel_accuracy"] > scores[0]["pixel_accuracy"] + 5


def test_images_that_are_held_out_are_scored_apart_and_steps_are_timed(tmp_path, encoder):
    result = finetune(finetune_config(**{"data.held_out": 0.4}), encoder, tmp_path / "run")
    assert (result["held_out"]["images"], result["protocol"]["training_images"]) == (2, 4)
    assert set(result["held_out"]["metrics"]) == set(result["metrics"])
    assert 0 < result["seconds"]["steps"] < result["seconds"]["train"]
    with pytest.raises(UserError, match=r"data\.held_out: 0\.5 leaves no image to train on"):
        finetune(finetune_config(**{"data.held_out": 0.5, "data.max_images": 1}), encoder, tmp_path / "none")


def test_steps_cost_what_the_log_says_also_after_a_pause(tmp_path):
    lines = [(1, None), (4, 0.5), (5, None), (7, 2.0)]  # steps 1 and 5 compiled
    text = [json.dumps({"step": n} | ({} if s is None else {"seconds_per_step": s})) for n, s in lines]
    (tmp_path / "metrics.jsonl").write_text("\n".join(text))
    assert seconds_of_steps(epath.Path(tmp_path)) == {"steps": pytest.approx(7 * (3 * 0.5 + 2 * 2.0) / 5)}
    (tmp_path / "metrics.jsonl").write_text(text[0])
    assert seconds_of_steps(epath.Path(tmp_path)) == {}


def test_a_head_that_does_not_fit_the_labels_is_refused_before_anything_is_written(tmp_path, encoder):
    with pytest.raises(UserError, match=r"decoder.name: depth_bins does not predict segmentation; use linear or"):
        finetune(finetune_config(**{"decoder.name": "depth_bins"}), encoder, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_depth_is_predicted_in_metres(tmp_path, encoder):
    settings = config.resolve("finetune", "finetune/depth", SCENES)
    metrics = finetune(settings, encoder, tmp_path / "run")["metrics"]
    assert np.isfinite(metrics["rmse"])
    assert 0 < metrics["rmse"] < 20
