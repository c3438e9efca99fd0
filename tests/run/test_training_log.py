"""Where a run's time goes, on a clock that is moved by hand; and what is written about it."""

import json
import types

import numpy as np
import pytest
from etils import epath
from PIL import Image

from hummingbird.run import training_log
from hummingbird.run.training_log import TrainingLog, clock_text

METRICS = {"loss": np.float32(2.0), "top1": np.float32(0.5), "finite": np.bool_(True)}


class Clock:
    """Seconds pass only when told."""

    def __init__(self):
        self.now = 5000.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(training_log, "time", types.SimpleNamespace(perf_counter=clock, time=clock))
    return clock


def result(ready):
    """Of the step before: there, or still being computed."""
    return types.SimpleNamespace(is_ready=lambda: ready)


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def take(log, clock, step, seconds, logged=False, **measured):
    clock.sleep(seconds)
    log.step(step, METRICS, lambda step: 0.1, logged, measured)


def test_time_is_told_apart_into_steps_waiting_and_all_else(clock, tmp_path):
    began = clock.now
    clock.sleep(20.0)  # filling the bank
    with TrainingLog(epath.Path(tmp_path), 0, 5, batch_size=12, began=began, seconds_at_peak=1.0) as log:
        with log.waiting(None):
            clock.sleep(1.0)  # before anything was trained
        take(log, clock, 1, 9.0)  # compiles
        with log.waiting(result(ready=True)):
            clock.sleep(0.5)  # the devices are idle
        take(log, clock, 2, 1.5)
        with log.waiting(result(ready=False)):
            clock.sleep(0.4)  # while step 2 is computed: nothing is lost
        take(log, clock, 3, 1.6)
        with log.aside():
            clock.sleep(3.0)
        take(log, clock, 4, 2.0, logged=True)
        with log.saving(4):
            clock.sleep(4.0)
        take(log, clock, 5, 2.0, logged=True)
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


def test_steps_that_a_kill_threw_away_are_no_goodput(clock, tmp_path):
    began = clock.now
    with TrainingLog(epath.Path(tmp_path), 0, 9, 12, began) as log:
        take(log, clock, 1, 10.0)
        take(log, clock, 2, 5.0)
        with log.saving(2):
            pass
        take(log, clock, 3, 5.0, logged=True)  # killed here
    clock.sleep(30.0)
    with TrainingLog(epath.Path(tmp_path), 2, 9, 12, clock.now) as log:
        take(log, clock, 3, 10.0)
        take(log, clock, 4, 5.0, logged=True)
    (line,) = lines(tmp_path)  # that of step 3 went with the step
    assert line["step"] == 4
    assert line["goodput"] == pytest.approx((5 + 5) / (20 + 30 + 15))


def test_utilisation_is_left_out_where_the_peak_is_not_known(clock, tmp_path, capsys):
    with TrainingLog(epath.Path(tmp_path), 0, 2, 12) as log:
        take(log, clock, 1, 10.0, logged=True)
        take(log, clock, 2, 5.0, logged=True)
    first, second = lines(tmp_path)
    assert "seconds_per_step" not in first  # it compiled
    assert second["seconds_per_step"] == pytest.approx(5.0)
    assert "mfu" not in second
    assert "MFU" not in capsys.readouterr().err


def test_the_last_line_sums_the_run_up(clock, tmp_path, capsys):
    with TrainingLog(epath.Path(tmp_path), 0, 2, 12, clock.now) as log:
        take(log, clock, 1, 30.0)
        take(log, clock, 2, 90.0, logged=True)
    assert "goodput 75% of the 0:02:00 since the run began" in capsys.readouterr().err


def test_pictures_become_files_and_events_but_no_lines(clock, tmp_path):
    picture = np.zeros((6, 8, 3), np.uint8)
    with TrainingLog(epath.Path(tmp_path), 0, 2, 12) as log:
        take(log, clock, 1, 1.0, pictures=picture)
        take(log, clock, 2, 1.0, pictures=picture, eval_miou=3.0)
    assert Image.open(tmp_path / "pictures" / "00000001.png").size == (8, 6)
    (line,) = lines(tmp_path)
    assert line["step"] == 2
    assert line["eval_miou"] == 3.0
    assert "pictures" not in line
    (events,) = tmp_path.glob("events.*")
    assert events.read_bytes().count(b"pictures") == 2


def test_curves_are_drawn_at_the_end_and_seldom_before(clock, tmp_path):
    with TrainingLog(epath.Path(tmp_path), 0, 4, 12) as log:
        take(log, clock, 1, 1.0, logged=True)
        take(log, clock, 2, 1.0, logged=True)
        with log.saving(2):
            pass
        assert not (tmp_path / "curves.png").exists()
        take(log, clock, 3, 1000.0, logged=True)
        with log.saving(3):
            pass
        first = (tmp_path / "curves.png").read_bytes()
        take(log, clock, 4, 1.0, logged=True)
    assert (tmp_path / "curves.png").read_bytes() != first


@pytest.mark.parametrize(("seconds", "text"), [(23.44, "23.4 s"), (60, "0:01:00"), (3723.4, "1:02:03")])
def test_clock_text(seconds, text):
    assert clock_text(seconds) == text
