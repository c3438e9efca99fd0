"""Features of every family are those of the project's own code, at the trained size and at another one."""

from __future__ import annotations

import numpy as np
import pytest

from hummingbird import weights
from hummingbird.data import scenes
from tests.weights.flax_zoo import FLAX_ZOO
from tests.weights.hf_zoo import HF_ZOO
from tests.weights.upstream import relative_error
from tests.weights.zoo import ZOO

ALL = {**ZOO, **HF_ZOO, **FLAX_ZOO}
SIZES = ((32, 32), (24, 48))  # fewer rows and more columns than the positions were trained for


@pytest.fixture(scope="module")
def images():
    return {
        size: np.stack([scenes.render(0, i, 48)["image"][: size[0], : size[1]] for i in range(2)]) for size in SIZES
    }


@pytest.mark.parametrize("name", ALL)
def test_features_are_those_of_the_projects_own_code_at_two_sizes(name, tmp_path, images):
    specimen = ALL[name](tmp_path)
    encoder = weights.load_foreign(specimen.path, **specimen.options)
    assert weights.describe(specimen.path)["family"] == specimen.family
    for size in SIZES:
        ours, theirs = encoder(images[size]), specimen.features(images[size])
        assert ours.dtype == np.float32
        assert ours.shape[-1] == encoder.dim
        error = relative_error(ours, theirs)
        print(f"PARITY {name} | {size[0]}x{size[1]} | {error:.1e}")
        assert error < 1e-4
