"""One encoding serves many evaluations: whatever is cut from it scores as if it had been encoded alone."""

import dataclasses
import tempfile

import numpy as np
import pytest

from hummingbird.errors import UserError
from hummingbird.retrieval import measure
from hummingbird.retrieval.bank import keys
from hummingbird.retrieval.bank.build import build_bank
from hummingbird.retrieval.evaluate import SECONDS
from hummingbird.retrieval.evaluation import build_evaluation
from hummingbird.retrieval.query_store import QueryStore
from hummingbird.retrieval.shared_encoding import share_encoding
from tests.retrieval.fakes import FakeSource, MeanColour
from tests.retrieval.test_evaluate import make_config
from tests.retrieval.test_evaluate_files import largest_file

SETTINGS = [
    {"retrieval.memory_length": 700, "retrieval.augmentation_epochs": 2},
    {"retrieval.memory_length": 200, "retrieval.augmentation_epochs": 2},
    {"retrieval.memory_length": 200, "retrieval.augmentation_epochs": 1, "retrieval.neighbours": 3},
    {"retrieval.memory_length": 700, "retrieval.augmentation_epochs": 1, "retrieval.metric_resolution": "input"},
    {"retrieval.memory_length": 400, "retrieval.augmentation_epochs": 2, "data.max_queries": 2, "data.fraction": 0.5},
]


def change(evaluation, **changes):
    """The evaluation with other choices in its protocol."""
    return dataclasses.replace(evaluation, protocol=dataclasses.replace(evaluation.protocol, **changes))


@pytest.mark.parametrize("sampling", ["salient", "uniform", "all"])
@pytest.mark.parametrize("task", ["segmentation", "depth"])
def test_lengths_passes_and_parts_cut_from_one_bank_score_as_if_encoded_alone(task, sampling, tmp_path):
    configs = [make_config(**settings, **{"retrieval.sampling": sampling}) for settings in SETTINGS]
    prompt, query, encoder = FakeSource(6, task, 0), FakeSource(3, task, 1), MeanColour()
    evaluations = [build_evaluation(encoder, config, prompt, query) for config in configs]
    encoded = share_encoding(evaluations[0], [e.protocol for e in evaluations], str(tmp_path / "bank"))
    for config in configs:
        shared = measure(encoder, config, prompt, query, encoded=encoded)[0]
        alone = measure(MeanColour(), config, prompt, query)[0]
        assert shared["metrics"] == alone["metrics"]
        assert shared["memory"]["length"] == alone["memory"]["length"]
        # What others did already took no time here, and that is said.
        assert set(SECONDS) <= set(shared["seconds"])
        assert shared["seconds"]["encode_prompt"] == 0.0 < alone["seconds"]["encode_prompt"]
    assert sum(encoder.batches) == 4 + 12 + 4  # the preflight, six images twice, three queries in a batch of four


@pytest.mark.parametrize("named", ["float32", "bfloat16"])
def test_with_a_named_key_type_a_cut_bank_is_the_own_one_to_the_bit(named, monkeypatch):
    # Here "auto" would make the large bank bfloat16 and the small one float32.
    monkeypatch.setattr(keys, "AUTO_FLOAT32_BYTES", 300 * 4 * 7)
    config, prompt, encoder = make_config(**SETTINGS[0], **{"retrieval.key_dtype": named}), FakeSource(4), MeanColour()
    large = build_evaluation(encoder, config, prompt)
    small = change(large, memory_length=200)
    encoded = share_encoding(large, [large.protocol, small.protocol])
    for evaluation in (large, small):
        cut, own = encoded.bank(evaluation), build_bank(evaluation)
        assert cut.keys.dtype == own.keys.dtype == named
        for name, column in own.columns().items():
            np.testing.assert_array_equal(cut.columns()[name], column)


def test_the_shared_bank_is_found_again(tmp_path):
    config, prompt, query = make_config(**SETTINGS[0]), FakeSource(4, seed=0), FakeSource(2, seed=1)
    banks, encoders = [], [MeanColour(), MeanColour()]
    for encoder in encoders:
        evaluation = build_evaluation(encoder, config, prompt, query)
        smaller = change(evaluation, memory_length=100)
        encoded = share_encoding(evaluation, [evaluation.protocol, smaller.protocol], str(tmp_path / "bank"))
        banks.append(encoded.bank(smaller))
    assert [sum(encoder.batches) for encoder in encoders] == [4 + 8, 4]
    np.testing.assert_array_equal(banks[0].keys, banks[1].keys)
    assert len(banks[0]) <= 100


@pytest.mark.parametrize(
    "changes",
    [
        {"fraction": 0.5, "seed": 3},  # other images than the half it was encoded for
        {"memory_length": 400},
        {"augmentation_epochs": 2},
        {"augmentation_epochs": 0},
    ],
)
def test_a_bank_that_nothing_was_encoded_for_is_refused_rather_than_cut_short(changes):
    config, prompt = make_config(**SETTINGS[2], **{"data.fraction": 0.5}), FakeSource(8)
    evaluation = build_evaluation(MeanColour(), config, prompt)
    encoded = share_encoding(evaluation, [evaluation.protocol])
    assert len(encoded.bank(evaluation))
    with pytest.raises(ValueError, match="not among those given"):
        encoded.bank(change(evaluation, **changes))


@pytest.mark.parametrize("kept", [True, False])
def test_a_full_disk_for_the_queries_names_its_folder(kept, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    config, query = make_config(**SETTINGS[1]), FakeSource(3, seed=1)
    folder = tmp_path / "bank" if kept else tmp_path
    evaluation = build_evaluation(MeanColour(), config, FakeSource(2), query)
    encoded = share_encoding(evaluation, [evaluation.protocol], str(folder) if kept else "")
    with largest_file(1000), pytest.raises(UserError, match=rf"^{folder}: the encoded queries .*too large.* TMPDIR"):
        list(encoded.query_batches(evaluation))


@pytest.mark.parametrize(
    ("label", "kept"),
    [
        (np.array([[0.25, 9.5]]), np.float32),  # metres of a source that gives float64
        (np.array([[-1, 3]], np.int64), np.int32),
        (np.array([[-1, 200]], np.int64), np.int32),
        (np.array([[0, 255]], np.uint8), np.int32),
        (np.array([[7, 65_535]], np.int32), np.int32),
    ],
)
def test_truths_come_back_from_the_file_as_they_were(label, kept):
    class Source(FakeSource):
        def __getitem__(self, index):
            return {"image": np.ones((*label.shape, 3), np.uint8), "label": label, "name": "one"}

    source = Source(1, "depth" if kept == np.float32 else "segmentation")
    evaluation = build_evaluation(MeanColour(), make_config(), source)
    ((examples, _),) = QueryStore().batches(evaluation)
    np.testing.assert_array_equal(examples[0].label, label)
    assert examples[0].label.dtype == kept


def test_ids_that_no_class_has_are_refused_with_a_shared_encoding_too():
    class Source(FakeSource):
        def __getitem__(self, index):
            item = super().__getitem__(index)
            item["label"][0, 0] = -1
            return item

    config, sources = make_config(**{"data.fractions": (0.5,)}), (FakeSource(2), Source(1, seed=1))
    with pytest.raises(UserError, match=r"class ids \[-1\]"):
        measure(MeanColour(), config, *sources)
