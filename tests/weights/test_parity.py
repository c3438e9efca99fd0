"""Features of every family are those of the project's own code, at the trained size and at another one."""

from __future__ import annotations

import numpy as np
import pytest

from hummingbird import config, retrieval, weights
from hummingbird.data import scenes
from hummingbird.weights.foreign import as_encoder
from tests.weights.conv_zoo import CONV_ZOO
from tests.weights.flax_zoo import FLAX_ZOO
from tests.weights.hf_zoo import HF_ZOO
from tests.weights.upstream import relative_error
from tests.weights.zoo import ZOO

ALL = {**ZOO, **HF_ZOO, **FLAX_ZOO, **CONV_ZOO}


@pytest.fixture(scope="module")
def image():
    return np.stack([scenes.render(0, i, 64)["image"] for i in range(2)])


@pytest.mark.parametrize("name", ALL)
def test_features_are_those_of_the_projects_own_code_at_two_sizes(name, tmp_path, image):
    specimen = ALL[name](tmp_path)
    found = weights.load(specimen.path)
    assert found.family == specimen.family
    encoder = as_encoder(found.arch, found.arrays, found.features, "float32", name)
    for height, width in specimen.sizes:
        images = image[:, :height, :width]
        ours, theirs = encoder(images), specimen.features(images)
        assert ours.dtype == np.float32
        assert ours.shape == (2, height // encoder.patch_size, width // encoder.patch_size, encoder.dim)
        error = relative_error(ours, theirs)
        print(f"PARITY {name} | {height}x{width} | {error:.1e}")
        assert error < 1e-4


class Theirs:
    """The project's own model as an encoder: any callable with a patch size can be evaluated."""

    patch_size = 8

    def __init__(self, features):
        self.features = features

    def __call__(self, images):
        return self.features(np.asarray(images))


@pytest.mark.parametrize("name", ["DINO", "HF DINOv3", "big_vision SigLIP npz"])
def test_retrieval_scores_are_those_of_the_projects_own_code(name, tmp_path):
    specimen = ALL[name](tmp_path)
    settings = {
        "input_size": 48,
        "data.max_images": 12,
        "retrieval.augmentation_epochs": 0,
        "retrieval.index": "exact",
        "retrieval.memory_length": 200,
        "report.enabled": False,
        "progress": False,
    }
    resolved = config.resolve("evaluate", None, settings)
    ours, theirs = (
        retrieval.evaluate(encoder, resolved, str(tmp_path / label))["metrics"]
        for label, encoder in (("ours", weights.load_foreign(specimen.path)), ("theirs", Theirs(specimen.features)))
    )
    assert ours["miou"] == pytest.approx(theirs["miou"], abs=1e-3)  # of 100; a tie may fall the other way
    assert ours["pixel_accuracy"] == pytest.approx(theirs["pixel_accuracy"], abs=1e-3)
