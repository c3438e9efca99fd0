"""What every objective may rely on: state of its own, labels, schedules, one list of names."""

import dataclasses
import functools
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hummingbird import config, train
from hummingbird.errors import UserError
from hummingbird.objectives import OBJECTIVES
from hummingbird.objectives.hummingbird import Hummingbird
from hummingbird.run import checkpoint
from hummingbird.train import program as programs
from hummingbird.train_step import train_step
from tests import tiny


def test_the_config_names_every_objective():
    assert set(config.declared("pretrain")["objective.name"].choices) == set(OBJECTIVES)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"augment.local.count": 2}, r"augment.local.count: objective.name=simclr uses no local crops; use 0"),
        (
            {"augment.local.count": 2, "augment.local.size": 20},
            r"augment.local.size: 20 is not a multiple of the patch",
        ),
        ({"augment.local.count": 2, "augment.local.size": 4}, r"augment.local.size: 4 is not a multiple of the patch"),
        ({"augment.views": 1}, r"augment.views: objective.name=simclr compares two views; use 2"),
    ],
)
def test_views_that_do_not_fit_are_refused_by_a_line(changes, message):
    with pytest.raises(UserError, match=message):
        train.build_program(tiny.tiny_config(**{"objective.name": "simclr"}, **changes), 64)


def test_a_state_is_made_on_devices_that_do_not_divide_the_tokens_of_a_few_images():
    program = train.build_program(tiny.tiny_config(input_size=24), 64)  # 3 x 3 patches, 8 devices
    assert program.state.bank.keys.shape[1] == 16


class Centred(Hummingbird):
    """The usual objective, with a running mean of the target's pooled features as a state of its own."""

    def init(self, key, width):
        return super().init(key, width)._replace(extra={"centre": jnp.zeros(width)})

    def loss(self, online, target, batch, extra, schedules):
        mean = target.outputs["global"].pooled.mean(axis=(0, 1))
        loss = super().loss(online, target, batch, extra, schedules)
        return loss._replace(extra={"centre": 0.9 * extra["centre"] + 0.1 * mean})


@pytest.fixture
def centred(monkeypatch):
    build = programs.build_objective

    def build_centred(settings, replicate):
        usual = build(settings, replicate)
        return Centred(**{field.name: getattr(usual, field.name) for field in dataclasses.fields(usual)})

    monkeypatch.setattr(programs, "build_objective", build_centred)
    return train.build_program(tiny.tiny_config(), 64, jax.devices()[:1])


@pytest.mark.slow
@pytest.mark.program
def test_an_objectives_own_state_is_updated_saved_and_resumed(centred, tmp_path):
    settings, run = tiny.tiny_config(), tmp_path / "run"
    state = jax.device_get(train.pretrain(settings, str(run), program=centred))
    assert np.any(state.extra["centre"])
    shutil.rmtree(checkpoint.steps(run)[0])
    resumed = train.pretrain(settings, str(run), program=centred)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(resumed), state)


def test_labels_that_an_objective_cannot_use_are_refused_by_a_line():
    objective = lambda **changes: train.build_program(tiny.tiny_config(**changes), 64).algorithm.objective
    none, some = np.full(4, -1, np.int32), np.array([0, -1, 7, 2], np.int32)
    train.check_labels(objective(), none, "photos")
    train.check_labels(objective(**{"supervised.weight": 0.1}), some, "photos")
    with pytest.raises(UserError, match=r"supervised.weight: the images of data.name=photos have no labels"):
        train.check_labels(objective(**{"supervised.weight": 0.1}), none, "photos")
    classifier = {"supervised.weight": 0.1, "supervised.objective": "classifier", "supervised.classes": 5}
    with pytest.raises(UserError, match=r"supervised.classes: 5, but an image is of class number 7; use at least 8"):
        train.check_labels(objective(**classifier), some, "photos")


@pytest.mark.program
def test_decays_and_temperature_may_follow_a_schedule():
    program = tiny.program(1)
    schedules = {
        **program.algorithm.schedules,
        "ema_decay": lambda step: jnp.where(step == 0, 0.0, 1.0),
        "temperature": optax.linear_schedule(0.1, 0.2, 1),
    }
    algorithm = dataclasses.replace(program.algorithm, schedules=schedules)
    step = jax.jit(functools.partial(train_step, algorithm))
    state, usual = program.init(), float(program.step(program.init(), tiny.placed(program, 0))[1]["loss"])
    first, metrics = step(state, tiny.batch(0))
    assert float(metrics["loss"]) == pytest.approx(usual, rel=1e-5)
    assert (metrics["ema_decay"], metrics["temperature"]) == (0.0, pytest.approx(0.1))  # they are logged
    assert "weight_decay" not in metrics  # a constant is not
    online = {name: first.online[name] for name in first.target}
    jax.tree.map(np.testing.assert_array_equal, first.target, online)  # decay 0
    second, metrics = step(first, tiny.batch(0))
    jax.tree.map(np.testing.assert_array_equal, second.target, first.target)  # decay 1
    assert float(metrics["loss"]) < usual - 0.5  # a higher temperature brings it closer to log 16
