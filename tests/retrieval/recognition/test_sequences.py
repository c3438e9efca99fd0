"""Texts and sounds, classified by features with gradients; what cannot be classified is refused in one line."""

import json

import numpy as np
import pytest

import hummingbird as hb
from hummingbird.commands import inspect_data
from hummingbird.errors import UserError
from hummingbird.gradients.samples import TEXT
from hummingbird.retrieval.recognition import sequences
from tests.data.test_sounds import write_sounds
from tests.data.test_texts import write_texts

SMALL = {"sequence.length": 6, "features.dim": 8, "images.neighbours": 3, "progress": False}


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    write_texts(folder)
    return folder


@pytest.mark.long
@pytest.mark.parametrize("objectives", [("kl",), pytest.param(("kl", "simclr"), marks=pytest.mark.slow)])
def test_gradients_stand_beside_the_embedding_of_a_text_whatever_its_company(objectives, texts, tmp_path, monkeypatch):
    monkeypatch.setattr(sequences, "TEXT", TEXT._replace(views=3, drawn=2, head_dim=8))
    built, build = [], sequences.build
    monkeypatch.setattr(sequences, "build", lambda *given: built.append(build(*given)) or built[-1])
    few = {"images.shots": 2, "images.draws": 2, "images.neighbours": 1}
    changes = {**SMALL, **few, "features.gradients": objectives}
    result = hb.evaluate("random:bert_tiny", "texts", tmp_path / "run", root=texts, overrides=changes)
    width = 8 * len(objectives)
    assert result["encoder"]["dim"] == width + 128
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["metrics"] == result["metrics"]
    assert result["metrics"].keys() >= {"accuracy", "few_shot_accuracy", "few_shot_accuracy_std"}
    words = ["rain sun cloud", "soup", "bread apple cheese"]
    together, alone = built[0](words, [1, 2, 3]), built[0](words[2:], [3])
    np.testing.assert_allclose(alone[0], together[2], atol=1e-6)
    parts = np.split(together, range(8, width + 1, 8), axis=1)
    np.testing.assert_allclose([np.linalg.norm(part, axis=1) for part in parts], 1, rtol=1e-5)


def test_neighbours_of_texts_are_those_of_scikit_learn(texts):
    neighbors = pytest.importorskip("sklearn.neighbors", reason="scikit-learn is not installed")
    config = hb.config.resolve("evaluate", "evaluate/texts", [("data.root", str(texts)), ("sequence.length", "6")])
    model = sequences.load_sequence_model("random:bert_tiny")
    splits = sequences.build_splits(config)
    problem = sequences.build_problem(config, splits, model, sequences.Clock())
    np.testing.assert_allclose(np.linalg.norm(problem.train.units, axis=1), 1, rtol=1e-5)
    theirs = neighbors.KNeighborsClassifier(3).fit(problem.train.units, problem.train.labels)
    result = hb.evaluate("random:bert_tiny", "texts", root=texts, overrides=SMALL)
    assert result["metrics"]["accuracy"] == 100
    assert result["metrics"]["accuracy"] == 100 * theirs.score(problem.test.units, problem.test.labels)


@pytest.mark.slow
def test_sounds_are_told_apart(tmp_path):
    write_sounds(tmp_path)
    nearest = {"images.neighbours": 1, "features.dim": 64}
    changes = {**SMALL, **nearest, "sequence.length": 32, "features.gradients": ["kl"]}
    result = hb.evaluate("random:ssast_tiny", "sounds", root=tmp_path, overrides=changes)
    assert result["metrics"]["accuracy"] == 100


@pytest.mark.parametrize(
    ("checkpoint", "changes", "message"),
    [
        ("random:ssast_tiny", {}, r"random:ssast_tiny is an encoder of sound; data.task is text"),
        ("random:bert_tiny", {"features.gradients": ["dino"]}, r"features.gradients: dino is for images; use kl and"),
        ("random:bert_tiny", {"features.projection": "tensor"}, r"features.projection: texts and sounds need dense"),
        ("random:bert_tiny", {"images.pooling": "mean"}, r"images.pooling is for images; texts and sounds have one"),
        ("random:bert_tiny", {"sequence.length": 600}, r"has positions for 512 tokens, not 600"),
        (
            "random:bert_tiny",
            {"images.neighbours": 20},
            r"20 is more than the training texts; there are 6",
        ),
        ("random:bert_tiny", {"images.neighbours": 2, "images.shots": 5}, r"images.shots: 5 texts of each class are"),
        ("random:vit_ti8", {}, r"random:vit_ti8 is not known; for text and sound there are"),
    ],
)
def test_what_cannot_be_classified_is_refused_in_one_line(checkpoint, changes, message, texts):
    with pytest.raises(UserError, match=message):
        hb.evaluate(checkpoint, "texts", root=texts, overrides={**SMALL, **changes})


def test_the_command_that_shows_images_says_that_there_are_none(texts):
    with pytest.raises(UserError, match=r"hummingbird data shows images, and texts has none"):
        inspect_data.run("evaluate/texts", [("data.root", str(texts))])
