"""Records of a run: when they are written, what they hold, and what happens at checkpoints and at the end."""

import json
import types

import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from hummingbird.run import sinks
from hummingbird.run.goodput import Goodput
from hummingbird.run.timer import StepTimer
from hummingbird.run.training_log import TrainingLog

METRICS = {"loss": jnp.float32(2.0), "top1": jnp.float32(0.5), "finite": jnp.bool_(True)}


class Clock:
    """Moved by hand."""

    def __init__(self):
        self.now = 5000.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


def result(ready):
    """What the previous step computes."""
    return types.SimpleNamespace(is_ready=lambda: ready)


def open_log(folder, clock, start=0, total=9, start_time=None, seconds_at_peak=None, log_every=100):
    folder = epath.Path(folder)
    goodput = Goodput(folder / "goodput.json", start, clock.now if start_time is None else start_time)
    outputs = [
        sinks.ProgressLine(start, total, clock),
        sinks.JsonLines(folder, start),
        sinks.TensorBoard(folder, start),
        sinks.PictureFiles(folder),
        sinks.Curves(folder, clock),
    ]
    schedule = lambda step: 0.1
    return TrainingLog(
        StepTimer(clock), goodput, outputs, total, log_every, 12, schedule, seconds_at_peak=seconds_at_peak, now=clock
    )


def take(log, clock, step, seconds, **measured):
    clock.sleep(seconds)
    log.step(step, METRICS, measured)


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_records_split_time_into_steps_data_wait_and_other(clock, tmp_path):
    start_time = clock.now
    clock.sleep(20.0)  # filling the bank
    with open_log(tmp_path, clock, 0, 5, start_time, seconds_at_peak=1.0, log_every=4) as log:
        with log.timer.waiting(None):
            clock.sleep(1.0)  # before the first step
        take(log, clock, 1, 9.0)  # compiles
        with log.timer.waiting(result(ready=True)):
            clock.sleep(0.5)  # the devices are idle
        take(log, clock, 2, 1.5)
        with log.timer.waiting(result(ready=False)):
            clock.sleep(0.4)  # while step 2 is computed: nothing is lost
        take(log, clock, 3, 1.6)
        with log.timer.other():
            clock.sleep(3.0)
        take(log, clock, 4, 2.0)
        with log.saving(4):
            clock.sleep(4.0)
        take(log, clock, 5, 2.0)
    first, second = lines(tmp_path)
    assert first["seconds_per_step"] == pytest.approx((0.5 + 1.5 + 0.4 + 1.6 + 2.0) / 3)
    assert first["seconds_data_wait"] == pytest.approx(0.5 / 3)
    assert first["data_wait"] == pytest.approx(0.5 / 6.0)
    assert first["images_per_second"] == pytest.approx(12 / 2.0)
    assert first["mfu"] == pytest.approx(1.0 / 2.0)
    assert first["seconds_elsewhere"] == pytest.approx(1.0 + 9.0 + 3.0)
    assert first["goodput"] == pytest.approx(5.5 / (20 + 10 + 6 + 3))
    assert second["seconds_elsewhere"] == pytest.approx(4.0)
    assert second["goodput"] == pytest.approx(7.5 / (20 + 10 + 6 + 3 + 4 + 2))


def test_steps_lost_to_a_kill_are_no_goodput(clock, tmp_path):
    with open_log(tmp_path, clock, log_every=3) as log:
        take(log, clock, 1, 10.0)
        take(log, clock, 2, 5.0)
        with log.saving(2):
            pass
        take(log, clock, 3, 5.0)  # killed here
    clock.sleep(30.0)
    with open_log(tmp_path, clock, start=2, log_every=4) as log:
        take(log, clock, 3, 10.0)
        take(log, clock, 4, 5.0)
    (line,) = lines(tmp_path)  # the record of step 3 was dropped with the step
    assert line["step"] == 4
    assert line["goodput"] == pytest.approx((5 + 5) / (20 + 30 + 15))


def test_no_rates_from_the_compiling_step_and_no_mfu_without_a_peak(clock, tmp_path, capsys):
    with open_log(tmp_path, clock, total=2, log_every=1) as log:
        take(log, clock, 1, 10.0)
        take(log, clock, 2, 5.0)
    first, second = lines(tmp_path)
    assert "seconds_per_step" not in first
    assert second["seconds_per_step"] == pytest.approx(5.0)
    assert "mfu" not in second
    assert "MFU" not in capsys.readouterr().err


def test_the_last_line_summarises_the_run(clock, tmp_path, capsys):
    with open_log(tmp_path, clock, total=2) as log:
        take(log, clock, 1, 30.0)
        take(log, clock, 2, 90.0)
    assert "goodput 75% of the 0:02:00 since the run started" in capsys.readouterr().err


def test_a_score_is_logged_between_log_steps(clock, tmp_path):
    with open_log(tmp_path, clock) as log:
        take(log, clock, 1, 1.0)
        take(log, clock, 2, 1.0, eval_miou=3.0)
    (line,) = lines(tmp_path)
    assert (line["step"], line["eval_miou"]) == (2, 3.0)


def test_pictures_become_files_and_events_but_no_lines(clock, tmp_path):
    picture = np.zeros((6, 8, 3), np.uint8)
    with open_log(tmp_path, clock) as log:
        take(log, clock, 1, 1.0, pictures=picture)
        take(log, clock, 2, 1.0, pictures=picture, eval_miou=3.0)
    assert (tmp_path / "pictures" / "00000001.png").exists()
    (line,) = lines(tmp_path)
    assert "pictures" not in line
    (events,) = tmp_path.glob("events.*")
    assert events.read_bytes().count(b"pictures") == 2


def test_processes_without_sinks_write_nothing(clock, tmp_path):
    folder = epath.Path(tmp_path)
    timer, goodput = StepTimer(clock), Goodput(folder / "goodput.json", 0, clock.now)
    with TrainingLog(timer, goodput, (), 9, 1, 12, lambda step: 0.1, now=clock) as log:
        take(log, clock, 1, 1.0)
        with log.saving(1):
            clock.sleep(1.0)
        take(log, clock, 2, 1.0)
    assert not list(tmp_path.iterdir())
    assert log.timer.total.other == 2.0


@pytest.mark.parametrize(("wait", "warned"), [(0.3, 0), (0.5, 1)])
def test_waiting_for_data_a_fifth_of_the_time_warns_once_and_names_the_keys(clock, tmp_path, caplog, wait, warned):
    with open_log(tmp_path, clock, total=40, log_every=5) as log:
        log.sinks = []
        for step in range(1, 41):
            with log.timer.waiting(result(ready=True)):
                clock.sleep(wait)
            take(log, clock, step, 1.5)
    found = [record.message for record in caplog.records if "waited for data" in record.message]
    assert len(found) == warned
    assert all("data.threads" in line and "data.workers" in line for line in found)
