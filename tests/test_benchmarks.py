"""The arithmetic of benchmarks whose numbers configs/README.md prints."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_bank_weights_are_those_of_a_softmax_in_numpy():
    rng = np.random.default_rng(0)
    tokens, keys = rng.normal(size=(10, 7, 16)), rng.normal(size=(12, 16))
    labels, known = np.array([0, 1, 0, 2, -1, 1, 1, 0, 2, 2]), np.array([0, 1, 0, 2, -1, 1, 1, 0, 2, 2, 0, 1])
    found = load("bank_weights").read(*(np.float32(tokens), labels, np.float32(keys), known), own=True, beta=0.3)

    unit = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)
    scores = unit(tokens) @ unit(keys).T
    weights = np.exp(scores / 0.3)
    weights /= weights.sum(axis=-1, keepdims=True)
    own = np.mean([weights[i, :, i].mean() for i in range(10)])
    same = np.mean(
        [
            sum(weights[i, :, j].mean() for j in range(12) if j != i and labels[i] >= 0 and known[j] == labels[i])
            for i in range(10)
        ]
    )
    assert found["own"] == {"percent": pytest.approx(100 * own, abs=0.006), "expected": 8.33}
    assert found["same_class"]["percent"] == pytest.approx(100 * same, abs=0.006)
    assert found["nearest"]["percent"] == pytest.approx(100 * weights.max(axis=-1).mean(), abs=0.006)
    entropy = -(weights * np.log(weights)).sum(axis=-1).mean()
    assert found["entropy"] == {"nats": pytest.approx(entropy, abs=0.006), "expected": 2.48}
    assert found["similarity"] == pytest.approx(scores.max(axis=-1).mean(), abs=0.0006)


def test_comparisons_are_pooled_by_pair_seed_and_comparison():
    found = {"a": {0: -4.0, 1: -2.0}, "b": {0: 0.0, 2: 6.0}}
    units = load("context_effect").pooled(found, "depth", "all")
    assert {name: sorted(one.values) for name, one in units.items()} == {
        "pairs": [-4, -2, 0, 6],
        "seeds": [-2, -2, 6],  # seed 0 is the mean of -4 and 0
        "comparisons": [-3, 3],
    }
    assert units["pairs"].better == 2


def test_the_table_of_comparisons_is_that_of_the_kept_runs():
    module = load("context_effect")
    text = (ROOT / "configs" / "README.md").read_text()
    rows = dict(re.findall(r"^\| (?:\*\*)?(.+?) \| \d+ of \d+ \| ([-+\d.]+)%", text, re.MULTILINE))
    means = {
        name: module.change(name, module.pairs(one, "depth").values(), "depth").mean
        for name, one in module.COMPARISONS.items()
    }
    means["ten new seeds**, 800 steps, the paper's loss"] = module.change(
        "new", module.pairs(module.FURTHER, "depth").values(), "depth"
    ).mean
    assert {name: float(rows[name]) for name in means} == pytest.approx(means, abs=0.051)
