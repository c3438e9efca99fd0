"""Inference in parts: windows, scales and mirror images against the direct computation."""

import numpy as np
import pytest

from hummingbird.config import resolve
from hummingbird.data.window import squashed
from hummingbird.decoders.inference import Inference, as_votes, assemble, build_inference, starts, views
from hummingbird.errors import UserError
from hummingbird.tasks import KINDS
from hummingbird.tasks.upsampling import upsampled_argmax
from tests import reference

IMAGE = np.random.default_rng(0).integers(0, 256, (13, 22, 3), np.uint8)
CLASSES = KINDS["segmentation"].__new__(KINDS["segmentation"])  # only its kind matters here
SLIDING = Inference("slide", size=13, window=8, stride=6, scales=(1.0,), flip=False)


def predicted(model, inference, image=IMAGE):
    parts = views(image, inference)
    return assemble(image, parts, [model(part.picture) for part in parts], inference, CLASSES)


def identity(picture):
    return picture.astype(np.float32)


def test_windows_of_an_identity_are_the_image():
    np.testing.assert_allclose(predicted(identity, SLIDING), IMAGE, atol=1e-3)


def test_overlapping_windows_are_averaged():
    """By a function that gives a pixel another value in each window: the difference from the window's mean."""
    total, counts = np.zeros(IMAGE.shape), np.zeros((13, 22, 1))
    for y in (0, 5):
        for x in (0, 6, 12, 14):
            part = IMAGE[y : y + 8, x : x + 8].astype(np.float64)
            total[y : y + 8, x : x + 8] += part - part.mean((0, 1))
            counts[y : y + 8, x : x + 8] += 1
    found = predicted(lambda x: identity(x) - identity(x).mean((0, 1)), SLIDING)
    np.testing.assert_allclose(found, total / counts, atol=1e-3)


def test_outputs_on_a_coarser_grid_are_resized_within_their_window():
    coarse = lambda x: identity(x).reshape(2, 4, 2, 4, 3).mean((1, 3))
    inference = Inference("slide", size=8, window=8, stride=8, scales=(1.0,), flip=False)
    halves = [coarse(IMAGE[:8, x : x + 8]) for x in (0, 8)]
    exact = np.concatenate([reference.bilinear(half, 8, 8) for half in halves], axis=1)
    np.testing.assert_allclose(predicted(coarse, inference, IMAGE[:8, :16]), exact, atol=1e-3)


@pytest.mark.parametrize(
    ("length", "window", "stride", "found"),
    [(512, 512, 341, (0,)), (683, 512, 341, (0, 171)), (20, 8, 6, (0, 6, 12)), (5, 8, 8, (0,))],
)
def test_the_last_window_is_pushed_inwards(length, window, stride, found):
    assert starts(length, window, stride) == found


def test_scales_and_mirrors_of_an_identity_average_resized_images():
    inference = Inference("slide", size=8, window=8, stride=6, scales=(1.0, 2.0), flip=True)
    image = IMAGE[:8, :16]
    larger = squashed(8, 16, 16, 32).picture(image)
    exact = (image + reference.bilinear(larger, 8, 16)) / 2
    np.testing.assert_allclose(predicted(identity, inference, image), exact, atol=1e-3)


def test_a_mirror_image_is_mirrored_back():
    """Columns numbered from the left: in the mean with the mirror image all are alike."""
    inference = Inference("whole", size=8, window=8, stride=8, scales=(1.0,), flip=True)
    columns = lambda x: np.broadcast_to(np.arange(8, dtype=np.float32)[:, None], (8, 8, 2))
    np.testing.assert_allclose(predicted(columns, inference), 3.5)


def test_votes_win_where_logits_do():
    logits = np.random.default_rng(1).normal(size=(3, 4, 5)).astype(np.float32) - 7
    exact = reference.bilinear(logits, 9, 13).argmax(-1)
    np.testing.assert_array_equal(upsampled_argmax(as_votes(logits, CLASSES), 9, 13), exact)


@pytest.mark.parametrize(
    ("window", "stride", "line"),
    [
        (8, 8, "decoder.window: 8 pixels are less than a patch of 16; use more"),
        (32, 40, "decoder.stride: 40 is not between 1 and the window of 32 pixels"),
    ],
)
def test_windows_that_do_not_fit_are_refused_by_a_line(window, stride, line):
    given = {"decoder.inference": "slide", "decoder.window": window, "decoder.stride": stride}
    with pytest.raises(UserError, match=line):
        build_inference(resolve("finetune", overrides=given), patch=16)


@pytest.mark.parametrize("preset", ["segmenter", "dinov2", "dinov3", "mae_upernet"])
def test_windows_of_the_presets_suit_patches_of_14_pixels(preset):
    """512 pixels are padded to 518, as DINOv2 does; its windows stay 512 pixels."""
    inference = build_inference(resolve("finetune", overrides={"decoder.preset": preset}), patch=14)
    assert (inference.mode, inference.window) == ("slide", 512)
