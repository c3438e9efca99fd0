"""What grows with a bank, what Table 6 fixes, and what a user may say instead."""

import numpy as np
import pytest

from hummingbird import config
from hummingbird.config.evaluate import Scann
from hummingbird.errors import UserError
from hummingbird.retrieval import build_index
from hummingbird.retrieval.bank.keys import normalise
from hummingbird.retrieval.index.settings import decide, growing


def sizes(settings, length=1_000_000, neighbours=30):
    decided = decide(settings, length, neighbours)
    return decided.leaves, decided.leaves_to_search, decided.reorder


def test_table_6_is_there_by_name_at_every_length():
    for length in (1_000, 10_240_000):
        assert sizes(Scann(preset="table6"), length) == (512, 32, 120)
        assert sizes(Scann(preset="table6_few"), length, 90) == (512, 256, 1800)


def test_a_number_that_is_given_replaces_that_of_the_preset_alone():
    leaves, searched, _ = sizes(Scann())
    assert sizes(Scann(reorder=60)) == (leaves, searched, 60)
    assert sizes(Scann(preset="table6", leaves=64)) == (64, 32, 120)


def test_candidates_and_leaves_grow_with_bank_and_neighbours():
    found = [growing(length, 30) for length in (1, 100, 50_000, 655_360, 2_621_440, 10_240_000)]
    assert [size.leaves for size in found] == [1, 8, 512, 1024, 2048, 4096]
    assert [size.reorder for size in found] == [300, 300, 300, 300, 740, 1800]
    assert all(size.leaves_to_search <= size.leaves for size in found)
    assert growing(1_000_000, 90).reorder == pytest.approx(3 * growing(1_000_000, 30).reorder, abs=20)


def test_auto_is_a_word_of_the_settings():
    for value in ("auto", None):
        given = config.resolve("evaluate", overrides={"retrieval.scann.reorder": value})
        assert given.retrieval.scann.reorder is None
    typed = config.resolve("evaluate", overrides=[("retrieval.scann.reorder", "auto")])
    assert typed.retrieval.scann.reorder is None
    with pytest.raises(UserError, match=r"retrieval.scann.reorder=some: expected an integer >= 1 or auto"):
        config.resolve("evaluate", overrides=[("retrieval.scann.reorder", "some")])


@pytest.mark.long
def test_95_percent_of_the_neighbours_are_found_where_table_6_finds_fewer():
    """Keys around 400 centres, with a variance that decays along the axes, as in `scripts/bench retrieval_scale`."""
    pytest.importorskip("scann", reason="ScaNN exists for Linux only")
    rng, scale = np.random.default_rng(0), (1 + np.arange(96)) ** -0.5
    centres = rng.normal(size=(400, 96))
    draw = lambda n: (centres[rng.integers(0, 400, n)] + 0.7 * rng.normal(size=(n, 96))) * scale
    keys, queries = (normalise(draw(n).astype(np.float32))[0] for n in (20_000, 100))
    truth, _ = build_index(keys, "exact").search(queries, 90)
    recall = {}
    for preset in ("auto", "table6"):
        found, _ = build_index(keys, "scann", neighbours=90, preset=preset).search(queries, 90)
        recall[preset] = np.mean([len(np.intersect1d(a, b)) / 90 for a, b in zip(found, truth, strict=True)])
    assert recall["auto"] >= 0.95 > recall["table6"], recall
