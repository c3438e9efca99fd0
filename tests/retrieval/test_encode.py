"""Batches of images: the last one is padded, what is padded counts for nothing, and no image is dropped."""

import numpy as np
import pytest

from hummingbird.data.window import PADDING
from hummingbird.retrieval import measure
from hummingbird.retrieval.encode import encode
from hummingbird.retrieval.examples import PREPARATIONS, Example, prepare_prompt
from hummingbird.retrieval.progress import Clock
from hummingbird.retrieval.protocol import build_protocol
from hummingbird.tasks import build_task
from hummingbird.tasks.patches import patch_cells
from tests.retrieval.fakes import FakeSource, MeanColour
from tests.retrieval.test_evaluate import make_config


class SpoiltByPadding(MeanColour):
    """Gives NaN for black images, as which padding comes: whoever lets one through fails."""

    def __call__(self, images: np.ndarray) -> np.ndarray:
        features = super().__call__(images)
        features[(images == 0).all((1, 2, 3))] = np.nan
        return features


class OnlyLastHasTruth(FakeSource):
    """All pixels of all images but the last are void."""

    def __getitem__(self, index: int) -> dict:
        item = super().__getitem__(index)
        if index < len(self) - 1:
            item["label"][:] = self.ignore
        return item


@pytest.mark.parametrize("count", [1, 4, 6])
def test_every_image_is_encoded_once_in_batches_of_one_size(count):
    images = np.random.default_rng(0).integers(1, 255, (count, 16, 24, 3), np.uint8)
    examples = (
        Example(i, 0, f"image{i}", image, np.zeros((16, 24)), patch_cells(16, 24, 8), (16, 24))
        for i, image in enumerate(images)
    )
    encoder = SpoiltByPadding()
    found = list(encode(encoder, examples, 4, Clock(), "query"))
    assert encoder.batches == [4] * -(-count // 4)
    assert [example.name for batch, *_ in found for example in batch] == [f"image{i}" for i in range(count)]
    features = MeanColour()(images).reshape(count, 6, -1)
    expected = features / np.linalg.norm(features, axis=-1, keepdims=True)
    np.testing.assert_allclose(np.concatenate([unit for _, unit, _ in found]), expected, atol=1e-6)
    assert not np.concatenate([zero for *_, zero in found]).any()


def test_padding_enters_neither_bank_nor_metrics():
    sources = FakeSource(6, seed=0), FakeSource(5, seed=1)
    padded = measure(SpoiltByPadding(), make_config(batch_size=4), *sources)[0]
    whole = measure(MeanColour(), make_config(batch_size=1), *sources)[0]
    assert padded["metrics"] == whole["metrics"]
    assert padded["memory"]["length"] == whole["memory"]["length"] == 6 * 64


def test_the_last_batch_is_scored_however_few_its_images():
    prompt = FakeSource(6, seed=0)
    result = measure(MeanColour(), make_config(batch_size=4), prompt, OnlyLastHasTruth(5, seed=1))[0]
    assert result["metrics"]["pixel_accuracy"] > 75  # with the batch dropped there would be nothing to compare with


class OtherVoid(FakeSource):
    """Void pixels have an id of their own."""

    ignore = 7

    def __getitem__(self, index):
        item = super().__getitem__(index)
        return {**item, "label": np.where(item["label"] == 255, self.ignore, item["label"])}


@pytest.mark.parametrize("preparation", [name for name in PREPARATIONS if name != "capi"])  # which augments nothing
def test_padding_of_augmented_prompts_is_void_as_the_source_has_it(preparation):
    config = make_config(input_size=128, protocol=preparation, **{"retrieval.augmentation_epochs": 1})
    source = OtherVoid(3)
    task = build_task(source, config)
    protocol = build_protocol(config, task, 8)
    for index in range(3):
        example = prepare_prompt(source, index, 0, task, protocol)
        assert set(np.unique(example.label)) <= {0, 1, 2, 3, 7}
        local = task.local_labels(example.label, example.cells)
        padding = (example.image.reshape(16, 8, 16, 8, 3) == PADDING).all((1, 3, 4)).ravel()
        assert local.values.shape == (256, 4)
        assert not local.labelled[padding].any()
