"""Batches of images: the last one is padded, what is padded counts for nothing, and no image is dropped."""

import jax
import numpy as np
import pytest

from hummingbird.data.window import PADDING
from hummingbird.encoder import load_encoder
from hummingbird.models.frozen import FrozenEncoder
from hummingbird.retrieval import encode as encode_module
from hummingbird.retrieval import measure
from hummingbird.retrieval.encode import encode
from hummingbird.retrieval.examples import PREPARATIONS, Example, prepare_prompt
from hummingbird.retrieval.index.device import DeviceIndex
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


def test_on_accelerators_a_batch_begins_before_the_last_one_is_waited_for(monkeypatch):
    rgb, begun, units = load_encoder("rgb:8"), [], FrozenEncoder.units
    images = np.random.default_rng(0).integers(1, 255, (5, 16, 24, 3), np.uint8)

    def run(dtype="float32"):
        examples = (
            Example(i, 0, f"image{i}", image, np.zeros((16, 24)), patch_cells(16, 24, 8), (16, 24))
            for i, image in enumerate(images)
        )
        for batch, features, zero in encode(rgb, examples, 2, Clock(), "query", dtype=dtype):
            yield len(batch), list(features), zero, len(begun)

    expected = list(run())
    monkeypatch.setattr(encode_module, "on_accelerator", lambda: True)
    monkeypatch.setattr(FrozenEncoder, "units", lambda *given: begun.append(1) or units(*given))
    found = list(run())
    assert [waited for *_, waited in found] == [2, 3, 3]
    for (count, features, zero, _), (ours, theirs, other, _) in zip(expected, found, strict=True):
        assert count == ours
        np.testing.assert_allclose(np.array(theirs), np.array(features), atol=1e-6)
        np.testing.assert_array_equal(other, zero)
    rounded = next(run("bfloat16"))[1][0]
    assert rounded.dtype == "bfloat16"
    np.testing.assert_array_equal(rounded, found[0][1][0].astype(rounded.dtype))


@pytest.mark.long
def test_on_accelerators_queries_are_searched_where_they_were_encoded(monkeypatch):
    start, asked = DeviceIndex.start, []
    monkeypatch.setattr(
        DeviceIndex, "start", lambda index, queries, k: asked.append(queries) or start(index, queries, k)
    )
    config = make_config(**{"retrieval.index": "device", "retrieval.key_dtype": "bfloat16", "report.queries": 1})
    run = lambda: measure(load_encoder("rgb:8"), config, FakeSource(4), FakeSource(5, seed=1), collect=True)
    host, shown = run()
    assert all(isinstance(queries, np.ndarray) for queries in asked)
    asked.clear()
    monkeypatch.setattr(encode_module, "on_accelerator", lambda: True)
    devices, ours = run()
    assert len(asked) == 2
    assert all(isinstance(queries, jax.Array) for queries in asked)
    assert devices["metrics"]["miou"] == pytest.approx(host["metrics"]["miou"], abs=0.1)
    assert devices["queries"] == host["queries"]
    np.testing.assert_array_equal(ours["queries"][0]["features"], shown["queries"][0]["features"])


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
