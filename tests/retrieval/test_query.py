"""Query images on their way from the source to their score."""

import jax
import numpy as np
import pytest

from hummingbird.errors import UserError
from hummingbird.retrieval import measure, query, query_store, search
from hummingbird.retrieval.bank.build import build_bank
from hummingbird.retrieval.evaluation import build_evaluation
from hummingbird.retrieval.index import quantise
from hummingbird.retrieval.index.device import DeviceIndex
from tests.retrieval.fakes import FakeSource, MeanColour
from tests.retrieval.test_evaluate import make_config


def test_waiting_images_hold_small_labels_and_only_the_pictures_that_are_shown():
    evaluation = build_evaluation(MeanColour(), make_config(), FakeSource(2), FakeSource(6, seed=1))
    examples = [example for batch in query.encode_queries(evaluation, range(6), {2}) for example in batch.examples]
    assert [example.index for example in examples if example.original is not None] == [2]
    for example in examples:
        assert example.label.dtype == np.uint8
        np.testing.assert_array_equal(example.label, evaluation.query[example.index]["label"])


def test_scores_of_small_labels_do_not_overflow():
    """16 classes times 16 is beyond uint8."""

    class Many(FakeSource):
        def __init__(self, length, seed=0):
            super().__init__(length, seed=seed)
            self.classes = [str(number) for number in range(20)]

        def __getitem__(self, index):
            item = super().__getitem__(index)
            item["label"] = np.where(item["label"] == 255, 255, item["label"] + 16).astype(np.int32)
            return item

    result = measure(MeanColour(), make_config(), Many(6), Many(5, seed=1))[0]
    plain = measure(MeanColour(), make_config(), FakeSource(6), FakeSource(5, seed=1))[0]
    assert result["metrics"]["miou"] == plain["metrics"]["miou"]


def test_a_device_that_rounds_is_not_compared_with_the_host(monkeypatch):
    monkeypatch.setattr(query, "measure_recall", lambda *_: pytest.fail("searched on the host"))
    changes = {"retrieval.index": "device", "retrieval.key_dtype": "bfloat16"}
    result = measure(MeanColour(), make_config(**changes), FakeSource(4), FakeSource(2, seed=1))[0]
    assert result["index"]["exact"] is False
    assert result["index"]["recall_at_k"] is None


def test_keys_that_lie_apart_are_searched_together_even_where_memory_has_become_short(monkeypatch):
    evaluation = build_evaluation(MeanColour(), make_config(), FakeSource(4), FakeSource(2, seed=1))
    bank = build_bank(evaluation)
    bank.shares = (len(bank),)
    monkeypatch.setattr(search, "devices_search", lambda *_: False)
    index = search.index_bank(evaluation, bank)
    assert isinstance(index, DeviceIndex)
    assert index.together


def test_an_approximate_device_is_compared_with_the_exact_one():
    changes = {"retrieval.index": "device", "retrieval.device_recall": 0.9, "retrieval.memory_length": 1000}
    result = measure(MeanColour(), make_config(**changes), FakeSource(4), FakeSource(2, seed=1))[0]
    index = result["index"]
    assert (index["kind"], index["exact"], index["device_recall"]) == ("device", False, 0.9)
    assert 0.5 < index["recall_at_k"] <= 1


def test_a_folder_too_small_for_the_encoded_queries_is_refused_after_the_first_batch(monkeypatch):
    monkeypatch.setattr(query_store.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 4000}))
    encoder = MeanColour()
    evaluation = build_evaluation(encoder, make_config(), FakeSource(2), FakeSource(20, seed=1))
    with pytest.raises(UserError, match=r"the encoded queries need .* GB are free; set TMPDIR"):
        list(query_store.QueryStore().batches(evaluation))
    assert len(encoder.batches) == 1


def test_without_a_cpu_backend_indexes_are_trained_on_what_there_is(monkeypatch):
    """JAX_PLATFORMS=cuda leaves JAX no CPU."""
    devices = jax.local_devices()

    def local_devices(backend=None):
        if backend == "cpu":
            raise RuntimeError("Unknown backend cpu")
        return devices

    monkeypatch.setattr(jax, "local_devices", local_devices)
    array = quantise.on_cpu(np.ones(3, np.float32))
    assert array.devices() == {devices[0]}
