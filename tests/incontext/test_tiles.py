"""Large images in overlapping tiles."""

import numpy as np
import pytest

import hummingbird as hb
from hummingbird.incontext.encoded import View, encode_all, encode_bands, tile_weights
from tests.incontext.test_prompt import Fourier, scene

VIEW = View(8, 32, "none")


@pytest.mark.parametrize("size", [(32, 32), (20, 90), (131, 75)])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_tiles_of_an_encoder_without_context_equal_the_whole_image(size, scale):
    image, view = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8), View(8, 32, "none", scale)
    (found,) = encode_all(Fourier(), [image], view, "", 4)
    whole = Fourier()(view.frame(*size).window.picture(image)[None])[0].reshape(-1, 32)
    whole /= np.linalg.norm(whole, axis=-1, keepdims=True)
    # Resizing a part of an image may round a value in the other direction.
    np.testing.assert_allclose(found.features, whole, atol=1e-6 if scale == 1 else 0.02)


def test_bands_follow_one_another_and_hold_few_rows():
    image = scene(0)[0].repeat(5, axis=0)
    bands = list(encode_bands(Fourier(), image, VIEW, 4))
    rows = [len(band.features) // VIEW.frame(*image.shape[:2]).cells.grid[1] for band in bands]
    assert [band.first for band in bands] == np.cumsum([0, *rows[:-1]]).tolist()
    assert max(rows) <= 4
    assert sum(rows) == VIEW.frame(*image.shape[:2]).cells.grid[0]


class Border(Fourier):
    """An encoder that knows where in a tile a patch lies: features fall off towards the borders."""

    def __call__(self, images):
        found = super().__call__(images)
        place = np.minimum(np.arange(found.shape[1]), np.arange(found.shape[1])[::-1])
        return found + np.minimum.outer(place, place)[..., None].astype(np.float32)


def test_seams_are_smooth():
    (found,) = encode_all(Border(), [np.full((8, 400, 3), 90, np.uint8)], View(8, 96, "none"), "", 4)
    row = found.features.reshape(*found.frame.cells.grid, -1)[5]
    (plain,) = Border()(np.full((1, 96, 96, 3), 90, np.uint8))
    plain = plain[5] / np.linalg.norm(plain[5], axis=-1, keepdims=True)
    jump = np.linalg.norm(np.diff(plain, axis=0), axis=-1).max()
    assert np.linalg.norm(np.diff(row[2:-2], axis=0), axis=-1).max() < jump / 2
    assert tile_weights(12)[6, 6] == 1


def test_a_large_image_is_predicted_in_bands_as_from_kept_features():
    prompt = hb.Prompt(Fourier(), classes=["red", "green", "blue"], input_size=32, resize="none")
    prompt.add(*scene(0))
    query = np.tile(scene(1)[0], (3, 2, 1))
    labels, confidence = prompt.predict(query)
    again, sure = prompt.predict(prompt.encode(query))
    assert labels.shape == query.shape[:2]
    np.testing.assert_array_equal(labels, again)
    np.testing.assert_allclose(confidence.share, sure.share, atol=1e-5)
    np.testing.assert_allclose(confidence.similarity, sure.similarity, atol=1e-5)
