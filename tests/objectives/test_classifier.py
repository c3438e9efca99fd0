"""Supervised training: smoothed cross-entropy against NumPy float64, one view, and labels that do not fit."""

from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hummingbird as hb
from hummingbird import train
from hummingbird.errors import UserError
from hummingbird.train import pretraining
from tests import reference, tiny
from tests.directional import assert_same_value_and_gradient

CHANGES = {"objective.name": "supervised", "supervised.classes": 5, "augment.views": 1, "context.bank_length": 0}
LABELS = np.array([3, 0, -1, 4, 1], np.int32)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_equals_numpys_in_value_and_gradient(smoothing):
    logits = np.random.default_rng(0).normal(size=(5, 2, 5))

    def independent(logits):
        losses = []
        for row, label in zip(logits, LABELS, strict=True):
            if label < 0:
                continue
            wanted = (1 - smoothing) * np.eye(5)[label] + smoothing / 5
            losses.append(sum(-wanted @ np.log(reference.softmax(view)) for view in row))
        return np.mean(losses)

    ours = lambda logits: hb.objectives.classification(logits, jnp.asarray(LABELS), smoothing)[0]
    assert_same_value_and_gradient(ours, independent, logits)


@pytest.mark.slow
@pytest.mark.program
def test_devices_and_micro_batches_do_not_change_loss_and_gradient():
    one, split = tiny.gradient(1, **CHANGES), tiny.gradient(4, micro_batches=2, **CHANGES)
    tiny.assert_same_gradient(one, split)
    assert np.any(one[1]["classifier"]["kernel"])


@pytest.mark.program
def test_the_first_loss_is_that_of_guessing():
    program = train.build_program(tiny.tiny_config(**CHANGES), 64, jax.devices()[:1])
    heads = program.algorithm.objective.init(jax.random.key(0), 32)
    assert not np.any(heads.params["classifier"]["kernel"])
    assert program.batch.views["global"].shape == (16, 1, 32, 32, 3)
    assert not jax.tree.leaves(program.state.target)


def test_images_without_labels_are_refused_before_anything_is_compiled_or_written(tmp_path):
    config = tiny.tiny_config(**CHANGES)
    with (
        pytest.raises(UserError, match=r"data.name=scenes have no labels; data.scenes.labels=true draws scenes that"),
        mock.patch.object(pretraining, "resume_or_initialise") as begun,
    ):
        train.pretrain(config, str(tmp_path / "run"))
    assert not begun.called
    assert not (tmp_path / "run").exists()


def test_labels_that_are_missing_or_too_large_are_refused_by_a_line():
    objective = train.build_program(tiny.tiny_config(**CHANGES), 64, jax.devices()[:1]).algorithm.objective
    with pytest.raises(UserError, match=r"objective.name: the images of data.name=photos have no labels"):
        train.check_labels(objective, np.full(4, -1, np.int32), "photos")
    with pytest.raises(UserError, match=r"supervised.classes: 5, but an image is of class number 7"):
        train.check_labels(objective, np.array([0, 7], np.int32), "photos")
    with pytest.raises(UserError, match=r"supervised.weight: objective.name=supervised has no other loss"):
        train.build_program(tiny.tiny_config(**{**CHANGES, "context.bank_length": 32, "supervised.weight": 0.1}), 64)
