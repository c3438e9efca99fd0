"""ConvNeXts: any stage's map, folders that stand alone, and what they cannot give."""

from __future__ import annotations

import numpy as np
import pytest

from hummingbird import weights
from hummingbird.errors import UserError
from tests.weights.conv_zoo import original, timm_model
from tests.weights.upstream import relative_error, upstream
from tests.weights.zoo import IMAGENET, pixels, save

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (1, 32, 64, 3), dtype=np.uint8)


def test_an_earlier_stage_gives_a_finer_grid(images, tmp_path):
    torch = upstream("torch")
    model = timm_model()
    path = save(tmp_path / "convnext.pth", model.state_dict())
    with torch.no_grad():
        maps = model.forward_intermediates(pixels(images, IMAGENET), intermediates_only=True)
    for stage, theirs in enumerate(maps):
        encoder = weights.load_foreign(path, layers=(stage,), norm=False)
        assert (encoder.patch_size, encoder.dim) == (4 * 2**stage, theirs.shape[1])
        assert relative_error(encoder(images), theirs.permute(0, 2, 3, 1).numpy()) < 1e-4


def test_an_imported_convnext_stands_alone(images, tmp_path):
    (tmp_path / "in").mkdir()
    path = original(tmp_path / "in").path
    expected = weights.load_foreign(path)(images)
    said = weights.import_weights(str(path), str(tmp_path / "out"))
    np.testing.assert_array_equal(weights.load_foreign(tmp_path / "out")(images), expected)
    assert said["config"]["widths"] == (8, 16, 24, 32)
    with pytest.raises(UserError, match="ConvNeXt, which is only written as `hummingbird`"):
        weights.export_weights(str(tmp_path / "out"), str(tmp_path / "timm"), format="timm")
    weights.export_weights(str(tmp_path / "out"), str(tmp_path / "own"), format="hummingbird")
    assert weights.describe(tmp_path / "own")["fingerprint"] == said["fingerprint"]


def test_what_a_convnext_does_not_have_is_refused(tmp_path):
    path = original(tmp_path).path
    for options, message in (
        ({"features": "key"}, "has no attention"),
        ({"layers": (0, 1)}, "has no attention, and stages of different grids"),
        ({"layers": (4,)}, "layers 0 to 3"),
        ({"family": "dino"}, "does not hold family dino"),
    ):
        with pytest.raises(UserError, match=message):
            weights.load(path, **options)
    state = upstream("torch").load(path)["model"]
    del state["stages.0.0.pwconv1.bias"]
    save(path, state | {"surprise": state["norm.bias"]})
    with pytest.raises(UserError, match="unexpected: surprise"):
        weights.load(path)
    save(path, state)
    with pytest.raises(UserError, match="missing: stage_0_block_0/up/bias"):
        weights.load(path)
    with pytest.raises(UserError, match="patches of 32"):
        weights.load_foreign(original(tmp_path).path)(np.zeros((1, 48, 32, 3), np.uint8))
