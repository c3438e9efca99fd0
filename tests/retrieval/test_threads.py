import os

from hummingbird.retrieval.threads import cpu_count


def test_a_process_uses_the_cpus_that_it_was_given(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3}, raising=False)
    assert cpu_count() == 1
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cpu_count() == 1
