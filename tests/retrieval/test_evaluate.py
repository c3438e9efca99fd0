import json

import ml_collections
import numpy as np
import pytest

from hummingbird import config as configs
from hummingbird.errors import UserError
from hummingbird.retrieval import evaluate, measure
from hummingbird.retrieval.sample_files import load_samples
from tests.retrieval.fakes import FakeSource, MeanColour, squashed_image


def make_config(**changes):
    small = {
        "input_size": 64,
        "batch_size": 4,
        "progress": False,
        "retrieval.neighbours": 10,
        "retrieval.memory_length": 2000,
        "retrieval.augmentation_epochs": 0,
        "report.enabled": False,
    }
    return configs.resolve("evaluate", None, {**small, **changes})


def run(task="segmentation", prompt=6, query=5, encoder=None, **changes):
    sources = FakeSource(prompt, task, seed=0), FakeSource(query, task, seed=1)
    return measure(encoder or MeanColour(), make_config(**changes), *sources)[0]


def test_patches_find_those_of_their_colour():
    result = run()
    assert result["task"] == "segmentation"
    assert 75 < result["metrics"]["miou"] <= 100
    assert run("depth")["metrics"]["rmse"] < 1.5


@pytest.mark.parametrize("task", ["segmentation", "depth"])
def test_batch_size_does_not_change_the_result(task):
    results = [run(task, batch_size=b, **{"retrieval.augmentation_epochs": 2})["metrics"] for b in (1, 4, 16)]
    assert results[0] == results[1] == results[2]


def test_last_batch_is_padded_so_that_one_shape_is_compiled():
    encoder = MeanColour()
    run(encoder=encoder)
    assert set(encoder.batches) == {4}


def test_same_seed_same_result_other_seed_other_bank():
    small = {"retrieval.memory_length": 60, "retrieval.augmentation_epochs": 1}
    first, again, other = run(**small), run(**small), run(seed=1, **small)
    assert first["metrics"] == again["metrics"] != other["metrics"]
    assert first["memory"]["length"] <= 60


@pytest.mark.parametrize("form", [dict, ml_collections.ConfigDict])
def test_a_config_may_be_a_dict_of_what_differs_from_the_defaults(form, tmp_path):
    small = {"input_size": 64, "progress": False, "report": {"enabled": False}, "retrieval": {"neighbours": 5}}
    sources = FakeSource(3), FakeSource(2, seed=1)
    found = measure(MeanColour(), form(small), *sources)[0]
    assert found["metrics"] == measure(MeanColour(), configs.resolve("evaluate", None, small), *sources)[0]["metrics"]
    assert found["protocol"]["neighbours"] == 5
    assert evaluate(MeanColour(), form(small), str(tmp_path), sources)["metrics"] == found["metrics"]
    with pytest.raises(UserError, match=r"unknown config key input_sise"):
        measure(MeanColour(), form({"input_sise": 64}), *sources)


def test_every_choice_and_cost_is_in_the_result():
    result = run()
    assert {"encode_prompt", "build_index", "encode_query", "search", "decode", "total"} <= set(result["seconds"])
    assert result["protocol"]["neighbours"] == 10
    assert result["protocol"]["name"] == "paper"
    assert {"dtype", "backend", "device_kind", "fingerprint"} <= set(result["encoder"])
    assert result["memory"]["length"] > 0
    assert result["memory"]["bytes"] > 0
    assert result["peak_memory_bytes"] > 0
    assert {"numpy", "jax", "python", "hummingbird-incontext"} <= set(result["versions"])
    assert result["index"] == {"kind": "exact", "exact": True, "recall_at_k": None}
    json.dumps(result, allow_nan=False)


def test_the_config_in_the_result_gives_the_same_evaluation():
    changes = {"retrieval.neighbours": 7, "retrieval.scann.reorder": 60, "data.fractions": (0.5, 1.0)}
    result = run(prompt=8, **changes)
    stored = json.loads(json.dumps(result["config"]))
    assert stored == result["config"]
    assert configs.resolve("evaluate", overrides=stored) == make_config(**changes)


def test_input_is_rounded_to_the_patch_size_and_said_so():
    assert run(input_size=67)["protocol"]["input_size"] == 64
    assert run(input_size=69)["protocol"]["input_size"] == 72


def test_depth_has_no_augmentation_unless_asked():
    assert run("depth", **{"retrieval.augmentation_epochs": None})["protocol"]["augmentation_epochs"] == 0
    assert run(**{"retrieval.augmentation_epochs": None})["protocol"]["augmentation_epochs"] == 2


def test_metric_can_be_taken_at_input_size():
    original, resized = run(), run(**{"retrieval.metric_resolution": "input"})
    assert original["metrics"]["miou"] != resized["metrics"]["miou"]
    assert resized["protocol"]["metric_resolution"] == "input"


def test_open_hummingbird_protocol_is_written_down():
    result = run(**{"protocol": "open-hummingbird", "retrieval.augmentation_epochs": None})
    expected = {
        "name": "open-hummingbird",
        "preparation": "open-hummingbird",
        "void": "class_0",
        "blue": "unknown",
        "absent_classes": "zero",
        "matching": "hungarian",
        "metric_resolution": "input",
        "augmentation_epochs": 1,
    }
    assert {key: result["protocol"][key] for key in expected} == expected
    assert result["memory"]["length"] == 6 * 64  # void is a class there, so no patch is empty
    with pytest.raises(UserError, match=r"protocol.*segmentation only"):
        run("depth", protocol="open-hummingbird")


def test_fractions_use_that_many_images():
    assert run(prompt=8, **{"data.fraction": 0.25})["memory"]["prompt_images"] == 2
    result = run(prompt=8, **{"data.max_images": 3})
    assert result["memory"]["prompt_images"] == 3
    assert result["queries"]["images"] == 3


def test_the_scale_of_augmented_prompts_is_a_recorded_choice():
    one, other = (
        run(**{"retrieval.augmentation_epochs": 2, "retrieval.augmentation_scale": base}) for base in ("image", "input")
    )
    assert one["protocol"]["augmentation_scale"] == "image"
    assert other["protocol"]["augmentation_scale"] == "input"
    assert one["metrics"] != other["metrics"]


def test_sampling_all_stops_when_the_bank_is_full():
    encoder = MeanColour()
    result = run(prompt=8, encoder=encoder, **{"retrieval.sampling": "all", "retrieval.memory_length": 128})
    assert result["memory"]["length"] <= 128
    assert len(encoder.batches) == 1 + 1 + 2  # the preflight, two prompt images of 64 patches, five queries


@pytest.mark.parametrize("task", ["segmentation", "depth"])
def test_evaluate_writes_metrics_samples_and_report(tmp_path, task):
    sources = FakeSource(6, task, 0), FakeSource(5, task, 1)
    config = make_config(**{"report.enabled": True, "report.queries": 2, "report.patches": 2, "report.neighbours": 3})
    result = evaluate(MeanColour(), config, str(tmp_path), sources)
    assert json.loads((tmp_path / "metrics.json").read_text()) == json.loads(json.dumps(result))
    assert (tmp_path / "report.html").stat().st_size > 1000
    assert sorted(p.name for p in tmp_path.iterdir()) == ["metrics.json", "report.html", "samples.npz"]
    samples = load_samples(str(tmp_path / "samples.npz"))
    assert samples["task"] == task
    assert len(samples["queries"]) == 2
    for query in samples["queries"]:
        item = sources[1][query["index"]]
        np.testing.assert_array_equal(query["truth"], item["label"])
        assert query["prediction"].shape == query["error"].shape == item["label"].shape
        assert query["features"].shape == (8, 8, 7)
        assert len(query["neighbours"]) == 2
        for patch in query["neighbours"]:
            entries = patch["entries"]
            assert len(entries) == 3
            assert all(e["crop"].shape == patch["crop"].shape for e in entries)
            assert entries[0]["weight"] >= entries[-1]["weight"] > 0
            # The crop of a neighbour is that patch of that prompt image.
            image = squashed_image(sources[0][entries[0]["image"]]["image"], 64)
            row, column = entries[0]["position"]
            top, left, side, _ = patch["inner"]
            inner = entries[0]["crop"][top : top + side, left : left + side]
            np.testing.assert_array_equal(inner, image[8 * row : 8 * row + 8, 8 * column : 8 * column + 8])


class Broken(MeanColour):
    def __init__(self, value, call):
        super().__init__()
        self.value, self.call = value, call

    def __call__(self, images):
        features = super().__call__(images)
        if len(self.batches) == self.call:
            features[1, 3, 4] = self.value
        return features


@pytest.mark.parametrize(("value", "what"), [(np.nan, "NaN"), (np.inf, "infinite"), (0.0, "zero")])
@pytest.mark.parametrize("call", [2, 4])
def test_bad_features_are_refused_with_the_image_names(value, what, call):
    with pytest.raises(UserError, match=f"1 patch features are .*{what}.*image1;"):
        run(encoder=Broken(value, call))


def test_features_of_the_wrong_shape_are_refused():
    encoder = MeanColour()
    encoder.patch_size = 16
    encoder.__class__ = type("Wrong", (MeanColour,), {"__call__": lambda self, x: np.ones((len(x), 3, 4, 7))})
    with pytest.raises(UserError, match=r"shape.*expected"):
        run(encoder=encoder)


def test_more_neighbours_than_entries_are_refused():
    with pytest.raises(UserError, match=r"retrieval.neighbours.*entries of the bank"):
        run(prompt=1, **{"retrieval.neighbours": 65})


def test_more_leaves_than_entries_are_refused_when_scann_is_asked_for():
    with pytest.raises(UserError, match=r"retrieval.scann.leaves"):
        run(**{"retrieval.index": "scann", "retrieval.scann.leaves": 5000})


def test_prompt_and_query_must_agree():
    with pytest.raises(UserError, match=r"depth"):
        measure(MeanColour(), make_config(), FakeSource(2), FakeSource(2, "depth"))
    other = FakeSource(2)
    other.classes = ["a", "b"]
    with pytest.raises(UserError, match=r"4 classes.* 2"):
        measure(MeanColour(), make_config(), FakeSource(2), other)


def test_unwritable_workdir_is_refused_before_anything_runs(tmp_path):
    (tmp_path / "file").write_text("")
    encoder = MeanColour()
    with pytest.raises(UserError, match=r"workdir"):
        evaluate(encoder, make_config(), str(tmp_path / "file"), (FakeSource(2), FakeSource(2)))
    assert not encoder.batches


def test_approximate_index_reports_its_recall_and_all_its_settings():
    pytest.importorskip("scann", reason="ScaNN exists for Linux only")
    changes = {"retrieval.index": "scann", "retrieval.scann.leaves": 10, "retrieval.scann.leaves_to_search": 5}
    result = run(prompt=20, **changes)
    memory, index = result["memory"], result["index"]
    assert memory["index"] == index["kind"] == "scann"
    assert 0.3 < memory["recall_at_k"] <= 1
    assert index["recall_at_k"] == memory["recall_at_k"]
    expected = {"leaves": 10, "leaves_to_search": 5, "dimensions_per_block": 4, "exact": False}
    assert {name: index[name] for name in expected} == expected
    assert run()["memory"]["recall_at_k"] is None


class WithEmptyImage(FakeSource):
    def __getitem__(self, index):
        item = super().__getitem__(index)
        if index == 1:
            item["label"][:] = 255 if self.task == "segmentation" else 0
        return item


@pytest.mark.parametrize("task", ["segmentation", "depth"])
def test_images_without_a_single_valid_pixel_do_no_harm(tmp_path, task):
    config = make_config(**{"report.enabled": True, "report.queries": 3, "report.patches": 1})
    sources = WithEmptyImage(3, task, 0), WithEmptyImage(3, task, 1)
    result = evaluate(MeanColour(), config, str(tmp_path), sources)
    assert result["memory"]["prompt_images"] == 2
    assert result["queries"]["images"] == 3
    samples = load_samples(str(tmp_path / "samples.npz"))
    assert [np.isnan(query["score"]) for query in samples["queries"]] == [False, True, False]
