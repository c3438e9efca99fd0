"""EMA decay, weight decay and temperature by step."""

import math

import numpy as np
import pytest

from hummingbird.errors import UserError
from hummingbird.objectives.schedules import build_schedules
from tests import tiny


def values(schedule, steps):
    return [float(schedule(step)) for step in steps]


def test_they_are_the_numbers_of_the_config_unless_a_schedule_is_set():
    schedules = build_schedules(tiny.tiny_config(ema_decay=0.95), 100, 10.0)
    assert schedules == {"weight_decay": 0.1, "ema_decay": 0.95, "temperature": 0.1}
    assert {type(value) for value in schedules.values()} == {float}


def test_the_ema_decay_of_byol_grows_to_one_along_a_cosine():
    decay = build_schedules(tiny.tiny_config(ema_decay=0.996, ema_schedule="cosine"), 40, 10.0)["ema_decay"]
    exact = [1 - (1 - 0.996) * (math.cos(math.pi * k / 40) + 1) / 2 for k in range(41)]  # Sec. 3.2 of BYOL
    np.testing.assert_allclose(values(decay, range(41)), exact, atol=1e-6)
    assert float(decay(50)) == 1.0


def test_the_ema_decay_is_the_same_per_image_whatever_the_batch():
    scaled = {"ema_decay": 0.99, "ema_reference_batch": 64}
    decay = build_schedules(tiny.tiny_config(**scaled), 100, 10.0)["ema_decay"]  # a batch of 16
    assert decay**4 == pytest.approx(0.99)
    growing = build_schedules(tiny.tiny_config(**scaled, ema_schedule="cosine"), 40, 10.0)["ema_decay"]
    assert values(growing, (0, 40)) == pytest.approx([decay, 1.0])


def test_weight_decay_moves_along_a_cosine():
    config = tiny.tiny_config(**{"optimizer.weight_decay": 0.04, "optimizer.final_weight_decay": 0.4})
    decay = build_schedules(config, 100, 10.0)["weight_decay"]
    assert values(decay, (0, 50, 100)) == pytest.approx([0.04, 0.22, 0.4])


def test_the_temperature_warms_up_along_a_line():
    warm = {"contrastive.temperature": 0.07, "contrastive.warmup_temperature": 0.04}
    config = tiny.tiny_config(**warm, **{"contrastive.warmup_temperature_epochs": 3.0})
    temperature = build_schedules(config, 100, 10.0)["temperature"]
    assert values(temperature, (0, 10, 30, 99)) == pytest.approx([0.04, 0.05, 0.07, 0.07])
    immediately = tiny.tiny_config(**warm, **{"contrastive.warmup_temperature_epochs": 0.0})
    assert values(build_schedules(immediately, 100, 10.0)["temperature"], (0, 1)) == pytest.approx([0.07, 0.07])


def test_an_unknown_schedule_is_refused_by_a_line():
    with pytest.raises(UserError, match=r"ema_schedule: 'linear' is not accepted, expected one of constant, cosine"):
        tiny.tiny_config(ema_schedule="linear")
