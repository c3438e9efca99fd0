"""Which checkpoints stay, and what a run says when it resumes with another end."""

import jax

from hummingbird import train
from hummingbird.program import learning_rate_of
from hummingbird.run import checkpoint
from hummingbird.run.saver import Saver
from tests import tiny


class Arrays(dict):
    """A minimal train state."""

    @property
    def step(self):
        return self["step"]


def test_checkpoints_of_chosen_steps_stay(tmp_path):
    state = lambda step: Arrays({"step": jax.numpy.int32(step), "online": {"x": jax.numpy.arange(3.0)}})
    with Saver(tmp_path, config={}, keep=1, keep_every=4) as saving:
        for step in (0, 2, 4, 6, 8, 10):
            saving.save(state(step), {})
    assert [int(path.name) for path in checkpoint.steps(tmp_path)] == [10, 8, 4]


def test_a_resumed_run_with_another_end_warns_with_both_learning_rates(caplog):
    program, config = tiny.program(), tiny.tiny_config()
    saved = {"total_steps": config.total_steps, "epochs": config.epochs}
    train.warn_of_schedule(config, program, saved, 2, 64)
    assert not caplog.records
    train.warn_of_schedule(config, program, {"total_steps": 40}, 2, 64)
    rate = [f"{float(x(2)):.3g}" for x in (program.schedule, learning_rate_of(tiny.tiny_config(total_steps=40), 64)[1])]
    assert rate[0] != rate[1]
    assert "meant to end at step 40 and now ends at step 4, so its schedules change" in caplog.text
    assert f"of step 3 is {rate[0]}, and was to be {rate[1]}" in caplog.text
