import json
import weakref

import numpy as np
import pytest

from hummingbird.errors import UserError
from hummingbird.retrieval import (
    capacity,
    evaluate,
    fractions,
    measure,
    part_encodings,
    query,
    search,
)
from hummingbird.retrieval.bank import keys
from hummingbird.retrieval.bank.files import describe_bank
from hummingbird.retrieval.evaluation import build_evaluation
from hummingbird.retrieval.selection import drawn_parts, nested, subset
from hummingbird.retrieval.shared_encoding import plan_shared
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
        assert row["std"] == pytest.approx(np.std(row["values"], ddof=1) if len(row["values"]) > 1 else 0)


@pytest.mark.long
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

    for module in (fractions, part_encodings):
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


@pytest.mark.long
def test_parts_repeat_nothing_and_their_warnings_are_kept(monkeypatch):
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


@pytest.mark.parametrize("room", [10_000, 900, 1])
def test_scores_do_not_depend_on_how_many_parts_share_an_encoding(monkeypatch, room):
    base = {"retrieval.memory_length": 300, "retrieval.augmentation_epochs": 2}
    config = make_config(**base, **{"data.fractions": (0.25, 0.5, 1.0), "data.subsets": 2})
    sources, encoder = (FakeSource(8), FakeSource(3, seed=1)), MeanColour()
    expected = measure(MeanColour(), config, *sources)[0]
    monkeypatch.setattr(part_encodings, "entries_in_memory", lambda *_: room)
    # "auto" would mean another type in a bank for all parts than in one for a single part.
    monkeypatch.setattr(keys, "AUTO_FLOAT32_BYTES", 4 * 300 * 7)
    found = measure(encoder, config, *sources)[0]
    assert found["fractions"] == expected["fractions"]
    assert found["metrics"] == expected["metrics"]
    # The preflight, the queries, and: all once; the parts of a draw together (4 + 2, the whole with one of them); or
    # each on its own (8 + 2 * (4 + 2)).
    prompt = {10_000: 8, 900: None, 1: 8 + 2 * (4 + 2)}[room]
    if prompt:
        assert sum(encoder.batches) == 4 + 2 * prompt + 4
    else:
        assert 4 + 2 * 8 + 4 < sum(encoder.batches) < 4 + 2 * 20 + 4


def test_groups_of_parts_fit_the_room():
    protocol = build_evaluation(
        MeanColour(), make_config(**{"retrieval.memory_length": 20_480_000 // 1000}), FakeSource(4)
    ).protocol
    parts = [protocol, *nested(drawn_parts(protocol, [1 / 2**n for n in range(8)], 5))]
    for room in (10**9, 60_000, 45_000, 0):
        groups = part_encodings.group_parts(1058, parts, room)
        assert [part for group in groups for part in group] == parts
        for group in groups:
            plan = plan_shared(1058, group)
            assert len(group) == 1 or plan.capacity + plan.longest <= room
    assert len(part_encodings.group_parts(1058, parts, 10**9)) == 1
    assert len(part_encodings.group_parts(1058, parts, 0)) == len(parts)


def test_a_prompt_whose_longest_part_does_not_fit_is_refused_before_it_is_encoded(monkeypatch):
    monkeypatch.setattr(capacity, "available_memory", lambda: 2**29 + 40_000)
    config = make_config(
        **{"data.fractions": (0.5,), "retrieval.memory_length": 20_000, "retrieval.key_dtype": "float32"}
    )
    encoder = MeanColour()
    with pytest.raises(UserError, match=r"retrieval.memory_length"):
        measure(encoder, config, FakeSource(64), FakeSource(3, seed=1))
    assert len(encoder.batches) == 1
