"""Whatever would fail late fails before the prompt is encoded, and costs one batch."""

import pathlib

import numpy as np
import pytest

from hummingbird.errors import UserError
from hummingbird.retrieval import capacity, measure, preflight
from hummingbird.retrieval.evaluation import build_evaluation
from hummingbird.retrieval.index import build as index
from hummingbird.retrieval.index import device, scann
from tests.retrieval.fakes import FakeSource, MeanColour
from tests.retrieval.test_evaluate import make_config


class Labels(FakeSource):
    """Labels that `change` alters, by image number."""

    def __init__(self, length, change, **given):
        super().__init__(length, **given)
        self.change = change

    def __getitem__(self, index):
        item = super().__getitem__(index)
        item["label"] = self.change(index, item["label"])
        return item


def corner(index, label):
    """Class 77 in a corner of one image in two."""
    label[-1, -1] = 77 if index % 2 else label[-1, -1]
    return label


def void(index, label):
    return np.full_like(label, 255)


@pytest.mark.parametrize(("prompt", "query", "named"), [(corner, None, "prompt"), (None, corner, "query")])
def test_class_ids_that_do_not_exist_are_found_before_the_first_batch(prompt, query, named):
    keep = lambda index, label: label
    sources = Labels(40, prompt or keep), Labels(40, query or keep, seed=1)
    encoder = MeanColour()
    with pytest.raises(UserError, match=rf"{named} image image\d+: .*class ids \[77\]"):
        measure(encoder, make_config(), *sources)
    assert not encoder.batches


@pytest.mark.parametrize("task", ["segmentation", "depth"])
def test_the_rehearsal_costs_one_batch_and_leaves_no_trace(task):
    encoder = MeanColour()
    evaluation = build_evaluation(
        encoder, make_config(**{"report.enabled": True}), FakeSource(6, task), FakeSource(5, task, 1)
    )
    preflight.preflight(evaluation)
    assert encoder.batches == [evaluation.batch_size]
    assert list(evaluation.clock.seconds) == ["preflight"]
    assert not evaluation.warnings


def test_a_set_in_which_the_sampled_labels_are_void_is_left_to_the_evaluation():
    evaluation = build_evaluation(MeanColour(), make_config(), Labels(6, void), Labels(5, void))
    assert preflight.preflight(evaluation) == 7  # channels of the features


def test_features_of_the_query_are_tried_too():
    class Uneven(MeanColour):
        """Fails on the second image of a batch, which is the query of the rehearsal."""

        def __call__(self, images):
            features = super().__call__(images)
            features[1, 0, 0] = np.nan
            return features

    encoder = Uneven()
    with pytest.raises(UserError, match=r"NaN or infinite"):
        measure(encoder, make_config(), FakeSource(6), FakeSource(5, seed=1))
    assert len(encoder.batches) == 1


def test_what_devices_cannot_hold_is_refused_or_searched_on_the_host(monkeypatch):
    monkeypatch.setattr(device, "free_device_memory", lambda: 1000)
    encoder = MeanColour()
    with pytest.raises(UserError, match=r"^retrieval.index=device: .* GB free\); set retrieval.key_dtype[^\n]*$"):
        measure(encoder, make_config(**{"retrieval.index": "device"}), FakeSource(6), FakeSource(5, seed=1))
    assert len(encoder.batches) == 1
    monkeypatch.setattr(index.jax, "default_backend", lambda: "gpu")
    with pytest.warns(UserWarning, match=r"searching on the host instead"):
        result = measure(encoder, make_config(), FakeSource(6), FakeSource(5, seed=1))[0]
    assert result["memory"]["index"] == "exact"
    assert any("searching on the host" in text for text in result["warnings"])


def test_the_room_for_a_kept_bank_counts_all_parts_and_the_copy_of_one(monkeypatch, tmp_path):
    parts = {"data.fractions": (0.5,), "data.subsets": 3, "retrieval.memory_length": 100}
    config = make_config(**parts, **{"retrieval.bank": str(tmp_path)})
    asked, check = [], preflight.check_room
    monkeypatch.setattr(preflight, "check_room", lambda *given, **more: asked.append((given[0], more["longest"])))
    measure(MeanColour(), config, FakeSource(8), FakeSource(3, seed=1))
    ((entries, longest),) = asked
    assert entries > longest
    assert longest == 100
    monkeypatch.setattr(capacity, "available_memory", lambda: 2**29 + 1_000)
    with pytest.raises(UserError, match=r"retrieval.memory_length"):  # a copy is in memory wherever the bank is
        check(entries, 7, config.retrieval, tmp_path, longest=longest)


@pytest.mark.parametrize(("kind", "asked"), [("scann", True), ("auto", False), ("exact", False)])
def test_scann_is_imported_before_the_prompt_is_encoded_if_it_will_be_needed(monkeypatch, kind, asked):
    called = []
    monkeypatch.setattr(scann, "find_scann", lambda: called.append(1))
    evaluation = build_evaluation(MeanColour(), make_config(**{"retrieval.index": kind}), FakeSource(2))
    preflight.check_imports(evaluation, 2000)
    assert bool(called) == asked


def test_an_unfinished_bank_needs_room_only_for_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(capacity.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10}))
    pathlib.Path(tmp_path, "keys.bin").write_bytes(bytes(95))
    capacity.check_space(tmp_path, 100)
    with pytest.raises(UserError, match=r"the bank needs"):
        capacity.check_space(tmp_path, 106)
