"""Sweep files: what the helpers return, and what is refused."""

import numpy as np
import pytest

from hummingbird.errors import UserError
from hummingbird.sweep import Sweep, chain, choice, cross, draw, grid, integers, log_uniform, uniform, zipped
from hummingbird.sweep.spec import load_sweep


def test_grid_is_every_combination_last_key_fastest():
    assert grid({"a": [1, 2], "b": ["x", "y"]}) == [
        {"a": 1, "b": "x"},
        {"a": 1, "b": "y"},
        {"a": 2, "b": "x"},
        {"a": 2, "b": "y"},
    ]


def test_zipped_takes_values_together():
    assert zipped({"a": [1, 2], "b": [3, 4]}) == [{"a": 1, "b": 3}, {"a": 2, "b": 4}]
    with pytest.raises(UserError, match="as many values"):
        zipped({"a": [1], "b": [1, 2]})


def test_chain_and_cross():
    assert chain([{"a": 1}], [{"b": 2}]) == [{"a": 1}, {"b": 2}]
    points = cross([{"name": "x", "a": 1}, {"name": "y", "a": 2}], grid({"seed": [0, 1]}))
    assert points[1] == {"name": "x", "a": 1, "seed": 1}
    assert len(points) == 4
    assert cross([{"name": "x"}], [{"name": "y"}]) == [{"name": "x y"}]
    with pytest.raises(UserError, match="sets a twice"):
        cross([{"a": 1}], [{"a": 2}])


def test_a_string_is_not_a_list_of_values():
    with pytest.raises(UserError, match="list of values for pooling"):
        grid({"pooling": "qkv"})


def test_draws_are_reproducible_and_can_be_extended():
    axes = {
        "lr": log_uniform(1e-4, 1e-2),
        "w": uniform(0, 1),
        "k": integers(1, 3),
        "p": choice(["qk", "mean"]),
    }
    points = draw(200, axes, seed=3)
    assert points[:20] == draw(20, axes, seed=3)
    assert points[:20] != draw(20, axes, seed=4)
    rates = np.log10([p["lr"] for p in points])
    assert rates.min() >= -4
    assert rates.max() <= -2
    assert abs(rates.mean() + 3) < 0.15  # uniform in the logarithm
    assert {p["k"] for p in points} == {1, 2, 3}
    assert {p["p"] for p in points} == {"qk", "mean"}
    with pytest.raises(UserError, match="not a range"):
        log_uniform(0, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "has no function get_sweep"),
        ("def get_sweep(): return 3", "returned int"),
        ("def get_sweep(): raise ValueError('oh')", "ValueError: oh"),
        ("def get_sweep(variant=''): return {}[variant]", "no variant 'tiny'"),
        (
            "from hummingbird.sweep import *\ndef get_sweep(v=''): return Sweep('pretrain', grid({'seed': []}))",
            "no runs",
        ),
        (
            "from hummingbird.sweep import *\ndef get_sweep(v=''): return Sweep('train', [{}])",
            "job 'train' is not known",
        ),
        ("def get_sweep(): pass", "takes no variant"),
    ],
)
def test_a_bad_file_is_refused(tmp_path, text, message):
    (tmp_path / "s.py").write_text(text)
    variant = ":tiny" if "variant" in message else ""
    with pytest.raises(UserError, match=message):
        load_sweep(f"{tmp_path}/s.py{variant}")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        load_sweep(f"{tmp_path}/none.py")


def test_runs_repeat_over_seeds_by_default():
    assert Sweep("pretrain", [{}]).repeat == ("seed",)
