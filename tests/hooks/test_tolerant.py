"""A failing hook is logged and does not end the run."""

import jax
import pytest

from hummingbird import hooks
from hummingbird.hooks import tolerant
from hummingbird.hooks.tolerant import Tolerant
from tests import tiny
from tests.devices import pair


class Failing:
    """Fails every time."""

    def __call__(self, step, state, model, batch):
        raise ValueError("no room")

    def close(self):
        raise OSError("disk full")


def test_exceptions_are_logged_with_the_step(state, model, batch, caplog):
    hook = Tolerant(Failing(), "pictures")
    assert hook(7, state, model, batch) is None
    hook.close()
    assert "pictures failed at step 7 (failure 1), training continues: no room" in caplog.text
    assert "pictures failed while closing (failure 2), training continues: disk full" in caplog.text


def test_results_and_interrupts_pass(state, model, batch):
    hook = Tolerant(lambda *_: {"eval_miou": 3.0}, "evaluation")
    assert hook(1, state, model, batch) == {"eval_miou": 3.0}

    def interrupt(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Tolerant(interrupt, "evaluation")(1, state, model, batch)


class Others:
    """The board of two processes, of which the other one has left the hook at `step`."""

    def __init__(self, step):
        self.texts = {1: f"{step} "}

    def put(self, topic, text):
        self.texts[0] = text

    def read(self, topic):
        return self.texts


def tolerant_of_two(hook, other, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(tolerant, "PATIENCE", 0.0)
    made = Tolerant(hook, "evaluation", every=7)
    made._board = Others(other)
    return made


def test_a_process_that_fails_continues_once_the_others_have_left_the_hook(state, model, batch, monkeypatch):
    hook = tolerant_of_two(Failing(), 14, monkeypatch)
    assert hook(14, state, model, batch) is None
    assert hook._board.texts[0] == "14 no room"


def test_a_process_for_which_the_others_wait_ends_the_run(state, model, batch, monkeypatch):
    """Otherwise all would wait forever, in a collective of the hook and in one of the next step."""
    hook = tolerant_of_two(Failing(), 7, monkeypatch)
    with pytest.raises(ValueError, match="no room"):
        hook(14, state, model, batch)
    assert hook(15, state, model, batch) is None  # a step at which each process works alone


TWO_PROCESSES = """
import sys
import numpy as np
from jax.experimental import multihost_utils
from hummingbird.devices import distributed
from hummingbird.hooks.tolerant import Tolerant

distributed.initialize()
import jax

def hook(step, state, model, batch):
    multihost_utils.process_allgather(np.zeros(1))
    if jax.process_index() == 1 and step == 2:
        raise ValueError("no room")
    return {"score": step}

tolerant = Tolerant(hook, "evaluation", every=1)
found = [tolerant(step, None, None, None) for step in (1, 2, 3)]
assert found == [{"score": 1}, None if jax.process_index() else {"score": 2}, {"score": 3}], found
"""


@pytest.mark.slow
@pytest.mark.process
def test_a_hook_that_fails_in_one_of_two_processes_ends_neither(repository):
    zero, one = pair.run(repository, "-c", TWO_PROCESSES)
    assert (zero.status, one.status) == (0, 0), (zero, one)
    assert "evaluation failed at step 2 (failure 1), training continues: no room" in one.err


def test_every_configured_hook_is_tolerant(tmp_path):
    enabled = {"online_eval.every": 2, "pictures.every": 2, "profile.start": 3}
    built = hooks.build_hooks(tiny.tiny_config(**enabled), str(tmp_path))
    assert [type(hook) for hook in built] == [Tolerant] * 3
    assert not hooks.build_hooks(tiny.tiny_config(), str(tmp_path))
