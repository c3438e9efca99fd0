"""Which checkpoints stay, what a failed save costs, and what a run says when it resumes with another end."""

import errno
import os
import resource
import time

import jax
import numpy as np
import pytest

from hummingbird import train
from hummingbird.errors import UserError
from hummingbird.run import checkpoint, saver
from hummingbird.run.saver import Saver
from hummingbird.train.program import learning_rate_of
from tests import tiny


class Arrays(dict):
    """A minimal train state."""

    @property
    def step(self):
        return self["step"]


def full_disk(path, content):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


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
    assert f"of step 3 is {rate[0]}, and would have been {rate[1]}" in caplog.text


@pytest.mark.long
def test_a_failed_save_names_its_step_and_keeps_earlier_ones(tmp_path, caplog):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def no_room(step, state, model, batch):  # for files as large as a checkpoint's
        if step == 3:
            while not (tmp_path / "run" / "checkpoints" / "00000002" / "manifest.json").exists():
                time.sleep(0.01)  # the save of step 2 is still in progress
            resource.setrlimit(resource.RLIMIT_FSIZE, (32 * 1024, limits[1]))

    try:
        with pytest.raises(UserError, match=r"00000004 \(step 4\) could not be saved: File too large; earlier"):
            tiny.pretrain(tmp_path / "run", no_room)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "Traceback" not in caplog.text
    assert checkpoint.load_newest(tmp_path / "run")[1]["step"] == 2


def test_a_failed_save_is_raised_once_by_the_next(tmp_path, monkeypatch):
    state = {"step": np.int32(1), "online": {"x": np.arange(3.0)}}
    saving = Saver(tmp_path, config={}, keep=1)
    monkeypatch.setattr(saver, "write_json", full_disk)
    saving.save(Arrays(jax.tree.map(jax.numpy.asarray, state)), {})
    with pytest.raises(UserError, match=r"\(step 1\) could not be saved: .*No space left"):
        saving.save(Arrays(jax.tree.map(jax.numpy.asarray, {**state, "step": np.int32(2)})), {})
    saving.check()  # raised only once
