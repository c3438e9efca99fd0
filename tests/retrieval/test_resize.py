"""Images in their own aspect: padded or under sliding windows, with grids of rows and columns."""

import numpy as np
import pytest

from hummingbird import config
from hummingbird.errors import UserError
from hummingbird.retrieval import evaluate
from hummingbird.retrieval.encode import boxes, encode_images
from hummingbird.retrieval.examples import prepare_prompt, prepare_query
from hummingbird.retrieval.protocol import build_protocol
from hummingbird.retrieval.sample_files import load_samples
from hummingbird.tasks import build_task
from tests import reference
from tests.retrieval.fakes import FakeSource, MeanColour
from tests.retrieval.test_evaluate import make_config, run

SHORTER = {"resize": "shorter", "input_size": 48}


def protocol_of(task="segmentation", **changes):
    settings = make_config(**changes)
    source = FakeSource(4, task)
    built = build_task(source, settings)
    return source, built, build_protocol(settings, built, 8)


def test_images_keep_their_aspect_and_are_padded_to_few_shapes():
    source, task, protocol = protocol_of(**SHORTER)
    for index, resized in ((0, (48, 64)), (1, (48, 55))):
        example = prepare_query(source, index, task, protocol)
        assert example.image.shape == (48, 64, 3)  # the side of 55 is padded to a multiple of 16
        assert example.cells.grid == (6, 8)
        height, width = example.label.shape
        assert example.cells.shown == (6, -(-resized[1] // 8))
        assert example.canvas == (height, round(8 * example.cells.shown[1] * width / resized[1]))
        assert example.cells.columns[-1] == width
    sliding = protocol_of(**SHORTER, windows="slide")[2]
    assert prepare_query(source, 1, task, sliding).image.shape == (48, 56, 3)  # to whole patches


def test_predictions_lie_where_the_image_is():
    """Upsampled votes are those of bilinear interpolation between patch centres, wherever the padding ends."""
    source, task, protocol = protocol_of("depth", **SHORTER)
    example = prepare_query(source, 1, task, protocol)
    votes = np.add.outer(np.arange(6.0), 3 * np.arange(7.0)).astype(np.float32)
    height, width = example.label.shape
    found = task.predict(votes[..., None], *example.canvas)[:height, :width]
    row, column = ((np.arange(n) + 0.5) * m / n / 8 - 0.5 for n, m in ((height, 48), (width, 55)))
    expected = np.add.outer(np.clip(row, 0, 5), 3 * np.clip(column, 0, 6))
    np.testing.assert_allclose(found, expected, atol=3 * 0.5 / 8)  # half a pixel: the canvas is whole


def test_padding_never_enters_the_bank():
    source, task, protocol = protocol_of(**SHORTER)
    example = prepare_prompt(source, 1, 0, task, protocol)
    labelled = task.local_labels(example.label, example.cells).labelled.reshape(6, 8)
    assert labelled[1:, :7].all()
    assert not labelled[:, 7].any()


def test_square_images_are_the_same_in_every_way():
    source = FakeSource(3, size=(48, 56)), FakeSource(3, seed=1, size=(48, 56))
    for i in range(3):
        for part in source:
            part.size = (56 - 8 * (i % 2), 56)  # FakeSource adds 8 rows to every second image
    _, task, squash = protocol_of(input_size=56)
    for windows in ("pad", "slide"):
        shorter = protocol_of(input_size=56, resize="shorter", windows=windows)[2]
        one, other = (prepare_query(FakeSource(1, size=(56, 56)), 0, task, p) for p in (squash, shorter))
        np.testing.assert_array_equal(one.image, other.image)
        assert (one.cells.grid, one.canvas) == (other.cells.grid, other.canvas) == ((7, 7), (56, 56))


@pytest.mark.parametrize("shape", [(48, 48), (48, 104), (200, 48), (120, 120)])
def test_windows_cover_every_patch_and_lie_on_the_patches(shape):
    seen = np.zeros(shape, int)
    for top, left, height, width in boxes(*shape, 48, 8):
        assert (height, width) == (48, 48)
        assert top % 8 == left % 8 == 0
        seen[top : top + 48, left : left + 48] += 1
    assert seen.shape == shape
    assert seen.min() >= 1


class Position(MeanColour):
    """Features that depend on where a patch lies in the input, as those of a transformer do."""

    def __call__(self, images):
        features = super().__call__(images)
        rows, columns = np.indices(features.shape[1:3])
        return features + np.stack([rows, columns], -1).repeat(4, -1)[..., :7].astype(np.float32)


def test_features_of_overlapping_windows_are_averaged():
    image = np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8)
    encoder, places = Position(), boxes(48, 80, 48, 8)
    assert len(places) == 2
    found = encode_images(encoder, [image], 4, 48)[0]
    total, count = np.zeros((6, 10, 7)), np.zeros((6, 10, 1))
    for _, left, _, _ in places:
        total[:, left // 8 : left // 8 + 6] += encoder(image[None, :, left : left + 48])[0]
        count[:, left // 8 : left // 8 + 6] += 1
    np.testing.assert_allclose(found, total / count, rtol=1e-6)


def test_images_of_several_shapes_are_encoded_as_alone():
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in ((48, 64), (64, 48), (48, 64), (48, 80))]
    encoder = MeanColour()
    for image, found in zip(images, encode_images(encoder, images, 4, None), strict=True):
        np.testing.assert_array_equal(found, MeanColour()(image[None])[0])
    assert encoder.batches == [2, 1, 1]


@pytest.mark.parametrize("task", ["segmentation", "depth"])
def test_an_encoder_that_looks_at_single_patches_scores_the_same_under_windows(task):
    """Nothing else differs between the two: neither labels, nor predictions, nor metrics."""
    pad, slide = (run(task, **SHORTER, windows=windows)["metrics"] for windows in ("pad", "slide"))
    key = {"segmentation": "miou", "depth": "rmse"}[task]
    assert slide[key] == pytest.approx(pad[key], rel=1e-5)
    assert pad[key] != run(task, input_size=48)["metrics"][key]


def test_the_choice_is_recorded_and_shown(tmp_path):
    settings = make_config(**SHORTER, windows="slide", **{"report.enabled": True})
    result = evaluate(MeanColour(), settings, str(tmp_path), (FakeSource(6), FakeSource(4, seed=1)))
    assert {"resize": "shorter", "windows": "slide", "grid": [6, 6]}.items() <= result["protocol"].items()
    assert result["queries"] == {"images": 4, "patches": 2 * 6 * (8 + 7)}
    samples = load_samples(str(tmp_path / "samples.npz"))
    assert {query["features"].shape[:2] for query in samples["queries"]} == {(6, 8), (6, 7)}


def test_metrics_at_input_size_are_those_of_the_padded_input():
    result = run(**SHORTER, **{"retrieval.metric_resolution": "input"})
    assert 60 < result["metrics"]["miou"] <= 100
    prompt = reference.nearest(FakeSource(1)[0]["label"], 48, 64)
    source, task, protocol = protocol_of(**SHORTER, **{"retrieval.metric_resolution": "input"})
    np.testing.assert_array_equal(prepare_query(source, 0, task, protocol).label, prompt)


def test_open_hummingbird_only_squashes():
    with pytest.raises(UserError, match=r"config key resize: open-hummingbird squashes"):
        config.resolve("evaluate", overrides={"resize": "shorter", "protocol": "open-hummingbird"})
