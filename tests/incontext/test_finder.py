"""Very many keys: an index that is built beside the searches, and brought up to date when it is used."""

import threading

import numpy as np

from hummingbird.incontext import finder
from hummingbird.retrieval.index.exact import ExactIndex
from tests.incontext.test_prompt import VOID, filled, scene


def test_an_index_built_beside_the_searches_answers_as_an_exact_search(monkeypatch):
    go, calls = threading.Event(), []

    class Counting(ExactIndex):
        def search(self, queries, k):
            calls.append(len(self.keys))
            return super().search(queries, k)

    def build(keys):
        assert go.wait(10)
        return Counting(keys)

    monkeypatch.setattr(finder, "build_large", build)
    monkeypatch.setattr(finder, "LARGE", 100)
    monkeypatch.setattr(finder.scann, "find_scann", lambda: type("Found", (), {"installed": True})())
    prompt, other, query = filled(5, neighbours=6), filled(5, neighbours=6), scene(9)[0]
    monkeypatch.setattr(other._finder, "search", finder.search)  # exact

    def compare():
        found, expected = prompt.predict(query), other.predict(query)
        np.testing.assert_array_equal(found.labels, expected.labels)
        np.testing.assert_allclose(found.confidence.share, expected.confidence.share, atol=1e-5)

    compare()
    assert not calls  # still being built
    go.set()
    prompt._finder.wait()
    compare()
    assert calls == [320]
    strokes = np.where(np.arange(61) < 9, scene(1)[1], VOID)
    for changed in (prompt, other):
        changed.relabel("scene 1", strokes)
    compare()
    for changed in (prompt, other):
        changed.add(*scene(7), id="new")
    compare()
    assert len(calls) == 3
    prompt._finder.wait()
    compare()
    assert calls[-1] != 320  # so much has changed that it was built again
