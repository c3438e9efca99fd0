"""Neighbours kept from one state of a prompt to the next equal those of a search over all keys."""

import dataclasses

import numpy as np
import pytest

from hummingbird.incontext.encoded import Encoded, View
from hummingbird.incontext.nearest import advance, search
from hummingbird.incontext.snapshot import Numbering, Segment, Snapshot
from hummingbird.tasks import SegmentationTask

TASK, K = SegmentationTask(["a", "b"]), 4


def segment(rng, rows):
    features = rng.normal(size=(40, 6)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    encoded = Encoded(np.zeros((8, 5, 3), np.uint8), features, View(1, 8, "squash"), "")
    return Segment("", encoded, np.zeros((8, 5), np.uint8), np.asarray(rows), {})


@pytest.mark.parametrize("seed", range(4))
def test_advancing_equals_searching_all_keys(seed):
    rng, numbering = np.random.default_rng(seed), Numbering()
    segments = [numbering.take(segment(rng, np.sort(rng.choice(40, 15, replace=False)))) for _ in range(4)]
    queries = segment(rng, []).encoded.features
    now = Snapshot(tuple(segments), TASK, numbering)
    found, advanced = search(now, queries, 2 * K), 0
    for step in range(12):
        if step % 4 == 3:  # an image comes, another one goes
            segments = [*segments[1:], numbering.take(segment(rng, np.arange(12)))]
        else:  # strokes change
            place = int(rng.integers(len(segments)))
            rows = np.sort(rng.permutation(np.setxor1d(segments[place].rows, rng.choice(40, 3, replace=False))))
            segments[place] = dataclasses.replace(segments[place], rows=rows)
        now = Snapshot(tuple(segments), TASK, numbering)
        found = advance(found, now, queries, K) or search(now, queries, 2 * K)
        advanced += found.rows is now.rows
        truth = queries @ now.features(now.numbers).T
        best = np.argsort(-truth, axis=1)[:, :K]
        np.testing.assert_array_equal(found.numbers[:, :K], now.numbers[best])
        np.testing.assert_allclose(found.similarity[:, :K], np.take_along_axis(truth, best, 1), rtol=1e-6)
    assert advanced


def test_another_numbering_is_searched_again():
    rng, first, second = np.random.default_rng(0), Numbering(), Numbering()
    one = segment(rng, [0, 1])
    found = search(Snapshot((first.take(one),), TASK, first), one.encoded.features, 2)
    assert advance(found, Snapshot((second.take(one),), TASK, second), one.encoded.features, 2) is None
