import json
import weakref

import numpy as np
import pytest

from hummingbird.errors import UserError
from hummingbird.retrieval import evaluate, fractions, measure, query, search, shared_encoding
from hummingbird.retrieval.bank.files import describe_bank
from hummingbird.retrieval.selection import subset
from tests.retrieval.fakes import FakeSource, MeanColour
from tests.retrieval.test_evaluate import make_config


@pytest.mark.parametrize(
    ("length", "fraction", "size"),
    [(10_582, 1 / 128, 83), (10_582, 1 / 64, 165), (20_210, 1 / 128, 158), (20_210, 1 / 64, 316)],
)
def test_parts_of_the_prompt_have_the_papers_sizes_and_depend_on_the_seed_alone(length, fraction, size):
    # Sec. 4.2: n = 83 and 165 of PASCAL VOC, 158 and 316 of ADE20K.
    chosen = subset(length, fraction, None, seed=0)
    assert len(set(chosen)) == size
    assert list(chosen) == sorted(chosen)
    assert 0 <= chosen[0] < chosen[-1] < length
    assert chosen == subset(length, fraction, None, seed=0) != subset(length, fraction, None, seed=1)
    assert set(chosen) < set(subset(length, 2 * fraction, None, seed=0))


@pytest.mark.parametrize("task", ["segmentation", "depth"])
def test_each_part_scores_as_if_evaluated_alone(task):
    # 300 entries: the parts keep different numbers of patches of each image.
    base = {"retrieval.memory_length": 300, "retrieval.augmentation_epochs": 2}
    config = make_config(**base, **{"data.fractions": (0.25, 0.5, 1.0), "data.subsets": 2})
    sources = FakeSource(8, task, 0), FakeSource(3, task, 1)
    encoder = MeanColour()
    rows = measure(encoder, config, *sources)[0]["fractions"]
    assert len(encoder.batches) == 1 + 16 / 4 + 1  # the preflight, eight images twice and three queries, once each
    assert [row["images"] for row in rows] == [2, 4, 8]
    assert [len(row["values"]) for row in rows] == [2, 2, 1]
    metric = {"segmentation": "miou", "depth": "rmse"}[task]
    for row in rows:
        alone = measure(MeanColour(), make_config(**base, **{"data.fraction": row["fraction"]}), *sources)[0]
        assert row["values"][0] == alone["metrics"][metric]
        assert row["mean"] == pytest.approx(np.mean(row["values"]))
        assert row["std"] == pytest.approx(np.std(row["values"]))


@pytest.mark.parametrize("index", ["exact", "scann"])
def test_a_kept_bank_serves_the_whole_and_its_parts(tmp_path, index):
    if index == "scann":
        pytest.importorskip("scann", reason="ScaNN exists for Linux only")
    changes = {
        "retrieval.memory_length": 300,
        "retrieval.augmentation_epochs": 2,
        "retrieval.index": index,
        "retrieval.scann.leaves": 4,
        "retrieval.scann.leaves_to_search": 4,
        "data.fractions": (0.25, 0.5),
        "data.subsets": 2,
    }
    sources, encoders = (FakeSource(8), FakeSource(3, seed=1)), [MeanColour() for _ in range(3)]
    kept = make_config(**changes, **{"retrieval.bank": str(tmp_path / "bank")})
    results = [measure(e, c, *sources)[0] for e, c in zip(encoders, (make_config(**changes), kept, kept), strict=True)]
    # The preflight, eight images twice, three queries in a batch.
    assert [sum(e.batches) for e in encoders] == [4 + 16 + 4, 4 + 16 + 4, 4 + 4]
    for result in results:
        assert result["fractions"] == results[0]["fractions"]
        assert result["metrics"] == results[0]["metrics"]
    (folder,) = (tmp_path / "bank").iterdir()
    assert describe_bank(str(folder))["length"] > results[1]["memory"]["length"]
    # The index of the whole is kept too, those of the parts are not.
    assert len(list(folder.glob("*/index-*"))) == (index == "scann")


@pytest.mark.parametrize("place", ["gs://bucket/bank", "file"])
def test_parts_with_a_bank_that_can_be_kept_nowhere_are_refused(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    encoder, config = MeanColour(), make_config(**{"retrieval.bank": place, "data.fractions": (0.5,)})
    with pytest.raises(UserError, match=rf"retrieval.bank={place}"):
        measure(encoder, config, FakeSource(4), FakeSource(2, seed=1))
    assert not encoder.batches
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_one_bank_and_index_at_a_time_are_in_memory(monkeypatch):
    made = []

    def index_bank(evaluation, bank, *folder):
        assert [ref() for ref in made] == [None] * len(made)
        index = search.index_bank(evaluation, bank, *folder)
        made.extend([weakref.ref(bank), weakref.ref(index)])
        return index

    for module in (fractions, shared_encoding):
        monkeypatch.setattr(module, "index_bank", index_bank)
    changes = {"retrieval.memory_length": 300, "data.fractions": (0.25, 0.5), "data.subsets": 2}
    measure(MeanColour(), make_config(**changes), FakeSource(8), FakeSource(3, seed=1), collect=True)
    assert len(made) == 2 * (1 + 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"retrieval.neighbours": 130},
            r"retrieval.neighbours: 130 .* 128 entries that 1/4 .* 0.25 out of data",
        ),
        ({"retrieval.index": "scann", "retrieval.scann.leaves": 200}, r"scann.leaves: 200 .* 128 entries that 1/4"),
    ],
)
def test_a_part_too_small_to_be_searched_is_refused_before_anything_is_encoded(changes, message):
    encoder, config = MeanColour(), make_config(**changes, **{"data.fractions": (0.25, 0.5)})
    with pytest.raises(UserError, match=message):
        measure(encoder, config, FakeSource(8), FakeSource(3, seed=1))  # two images of 64 patches
    assert not encoder.batches


def test_a_part_that_void_pixels_make_too_small_is_named():
    config = make_config(**{"retrieval.neighbours": 64, "data.fractions": (0.25,), "data.subsets": 1})
    sources = FakeSource(4), FakeSource(3, seed=1)
    empty = subset(4, 0.25, None, 0)[0]
    get = FakeSource.__getitem__

    class Void(FakeSource):
        def __getitem__(self, index):
            item = get(self, index)
            item["label"][: 24 if index == empty else 0] = 255
            return item

    with pytest.raises(UserError, match=r"data.fractions, 1/4 of the prompt: .*neighbours"):
        measure(MeanColour(), config, Void(4), sources[1])


def test_parts_repeat_nothing_and_their_warnings_are_told(monkeypatch):
    pytest.importorskip("scann", reason="ScaNN exists for Linux only")
    built, recalls, recall = [], [], query.measure_recall

    def index_bank(evaluation, bank):
        built.append(evaluation.protocol.fraction)
        evaluation.warnings.append("rough")
        return search.index_bank(evaluation, bank)

    monkeypatch.setattr(fractions, "index_bank", index_bank)
    monkeypatch.setattr(query, "measure_recall", lambda *given: recalls.append(1) or recall(*given))
    changes = {"retrieval.index": "scann", "retrieval.scann.leaves": 4, "retrieval.scann.leaves_to_search": 4}
    config = make_config(**changes, **{"data.fractions": (0.5, 1.0), "data.subsets": 2})
    result = measure(MeanColour(), config, FakeSource(4), FakeSource(2, seed=1))[0]
    assert built == [0.5, 0.5]  # the whole prompt is the evaluation itself
    assert result["fractions"][1]["values"] == [result["metrics"]["miou"]]
    assert len(recalls) == 1
    assert result["warnings"] == ["1/2 of the prompt: rough"]


def test_total_seconds_hold_the_parts_too():
    config = make_config(**{"data.fractions": (0.25, 0.5), "data.subsets": 2})
    seconds = measure(MeanColour(), config, FakeSource(8), FakeSource(3, seed=1))[0]["seconds"]
    assert 0 < seconds["fractions"] < seconds["total"]


def test_evaluate_writes_table_and_plot(tmp_path):
    config = make_config(**{"data.fractions": (0.5, 1.0), "data.subsets": 2})
    result = evaluate(MeanColour(), config, str(tmp_path), (FakeSource(4), FakeSource(2, seed=1)))
    assert result["fractions"][1]["mean"] == result["metrics"]["miou"]
    table = (tmp_path / "fractions.md").read_text().splitlines()
    assert table[2].startswith("| 1/2 | 2 |")
    assert json.loads((tmp_path / "fractions.json").read_text()) == result["fractions"]
    assert (tmp_path / "fractions.png").stat().st_size > 5000
