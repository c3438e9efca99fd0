"""Evaluations over one bank: each image is encoded once, with the same scores as separate evaluations."""

import json

import numpy as np
import pytest

from hummingbird import config, encoder
from hummingbird.data.sources import build_dense_source
from hummingbird.retrieval import search
from hummingbird.retrieval.evaluate import measure
from hummingbird.sweep import Sweep, grid
from hummingbird.sweep.expand import build_schedule
from hummingbird.sweep.folder import SweepFolder
from hummingbird.sweep.shared import run_shared
from tests.gradients.small import encoder as vit

SMALL = {
    "data.scenes.size": 32,
    "input_size": 32,
    "data.scenes.prompt_images": 6,
    "data.scenes.query_images": 3,
    "batch_size": 4,
    "retrieval.augmentation_epochs": 0,
    "report.enabled": False,
    "progress": False,
}


class Counting:
    """Mean colour of each patch; counts the images that it encodes."""

    patch_size, dim, name, fingerprint = 8, 4, "counting", "f00"

    def __init__(self):
        self.images = 0

    def __call__(self, images):
        self.images += len(images)
        b, h, w, _ = images.shape
        colours = images.reshape(b, h // 8, 8, w // 8, 8, 3).mean((2, 4)) + 1
        return np.concatenate([colours, np.ones_like(colours[..., :1])], axis=-1).astype(np.float32)


def run_sweep(folder, monkeypatch, axes, changes=(), shared=None):
    """The sweep's folder and commands after they have run, and the encoder that all shared."""
    pairs = [(key, str(value).lower()) for key, value in {**SMALL, **dict(changes)}.items()]
    schedule = build_schedule(Sweep("evaluate", grid(axes)), "configs/evaluate/scenes.py", pairs, "rgb:8", str(folder))
    sweep_folder, counting = SweepFolder(folder), shared or Counting()
    monkeypatch.setattr(encoder, "build_encoder", lambda *_: counting)
    run_shared(sweep_folder, list(schedule.commands.values()))
    return sweep_folder, schedule.commands, counting


def alone_and_shared(folder, commands, build=Counting):
    """The results of every command: evaluated separately, and in the sweep."""
    for id, command in commands.items():
        assert folder.state(id) == "done"
        resolved = config.resolve("evaluate", command.config, command.overrides)
        sources = [build_dense_source(resolved, split) for split in ("prompt", "query")]
        shared = json.loads((folder.workdir(id) / "metrics.json").read_text())
        yield measure(build(), resolved, *sources)[0], shared


def test_search_settings_share_one_encoding_and_keep_their_scores(tmp_path, monkeypatch):
    axes = {"retrieval.neighbours": [1, 3], "retrieval.memory_length": [96, 40]}
    folder, commands, counting = run_sweep(tmp_path, monkeypatch, axes)
    assert counting.images == 4 + 8 + 4  # batches of 4: the preflight, 6 prompt and 3 query images, padded

    for alone, shared in alone_and_shared(folder, commands):
        assert shared["metrics"]["miou"] == pytest.approx(alone["metrics"]["miou"], abs=1e-9)


@pytest.mark.long
def test_search_settings_share_one_index(tmp_path, monkeypatch):
    pytest.importorskip("scann", reason="ScaNN exists for Linux only")
    built, build = [], search.build_index
    monkeypatch.setattr(search, "build_index", lambda *given, **settings: built.append(1) or build(*given, **settings))
    axes = {
        "retrieval.neighbours": [2, 4],
        "retrieval.scann.reorder": [5, 50],
        "retrieval.scann.leaves_to_search": [1, 8],
    }
    more = {"retrieval.index": "scann", "retrieval.scann.leaves": 8}
    folder, commands, _ = run_sweep(tmp_path, monkeypatch, axes, more)
    assert len(built) == 1
    results = list(alone_and_shared(folder, commands))
    for alone, shared in results:
        assert shared["metrics"]["miou"] == pytest.approx(alone["metrics"]["miou"], abs=1e-9)
        assert shared["index"] == alone["index"]
    assert len({alone["index"]["recall_at_k"] for alone, _ in results}) > 2  # the settings took effect


@pytest.mark.long
def test_parts_of_the_prompt_have_the_same_scores_in_a_sweep(tmp_path, monkeypatch):
    # 24 entries of six images: a third of them keeps 12 patches of each, the whole prompt only 4.
    axes = {"retrieval.memory_length": [24, 18]}
    more = {"data.fractions": "0.34,0.5", "data.subsets": 2, "retrieval.neighbours": 3}
    folder, commands, counting = run_sweep(tmp_path, monkeypatch, axes, more)
    assert counting.images == 4 + 8 + 4

    for alone, shared in alone_and_shared(folder, commands):
        assert shared["fractions"] == alone["fractions"]


@pytest.mark.long
@pytest.mark.parametrize("preset", ["paper", pytest.param("public-code", marks=pytest.mark.slow)])
def test_gradients_with_a_support_have_the_same_scores_in_a_sweep(preset, tmp_path, monkeypatch):
    gradients = {"gradients": "simclr", "preset": preset, "projection": "tensor", "rank": 1, "dim": 8}
    more = {**{f"features.{key}": value for key, value in gradients.items()}, "data.scenes.prompt_images": 4}
    folder, commands, _ = run_sweep(tmp_path, monkeypatch, {"retrieval.neighbours": [1, 3]}, more, vit())
    results = list(alone_and_shared(folder, commands, vit))
    for alone, shared in results:
        assert shared["metrics"]["miou"] == pytest.approx(alone["metrics"]["miou"], abs=1e-9)
        assert shared["features"] == alone["features"]
    assert len({alone["metrics"]["miou"] for alone, _ in results}) == 2


def test_a_setting_that_fails_stops_no_other(tmp_path, monkeypatch):
    axes = {"retrieval.neighbours": [9999, 3]}
    folder, commands, _ = run_sweep(tmp_path, monkeypatch, axes)
    failed, done = (folder.status(id) for id in commands)
    assert failed["state"] == "failed"
    assert "retrieval.neighbours: 9999" in failed["tail"]
    assert done["state"] == "done"
