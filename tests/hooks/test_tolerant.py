"""A failing hook is logged and does not end the run."""

import jax
import pytest

from hummingbird import hooks
from hummingbird.hooks.tolerant import Tolerant
from tests import tiny


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
    assert "pictures failed at step 7, training continues: no room" in caplog.text
    assert "pictures failed while closing, training continues: disk full" in caplog.text


def test_results_and_interrupts_pass(state, model, batch):
    hook = Tolerant(lambda *_: {"eval_miou": 3.0}, "evaluation")
    assert hook(1, state, model, batch) == {"eval_miou": 3.0}

    def interrupt(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Tolerant(interrupt, "evaluation")(1, state, model, batch)


def test_several_processes_fail_together(state, model, batch, monkeypatch):
    """Otherwise the others would wait for this one in a collective of the hook."""
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ValueError, match="no room"):
        Tolerant(Failing(), "evaluation")(7, state, model, batch)


def test_every_configured_hook_is_tolerant(tmp_path):
    enabled = {"online_eval.every": 2, "pictures.every": 2, "profile.start": 3}
    built = hooks.build_hooks(tiny.tiny_config(**enabled), str(tmp_path))
    assert [type(hook) for hook in built] == [Tolerant] * 3
    assert not hooks.build_hooks(tiny.tiny_config(), str(tmp_path))
