"""Goodput of runs with made-up times, compared with values worked out by hand."""

import json

import pytest
from etils import epath

from hummingbird.run.goodput import Goodput


@pytest.fixture
def path(tmp_path):
    return epath.Path(tmp_path) / "goodput.json"


def test_steps_after_the_last_checkpoint_and_the_time_until_the_restart_are_lost(path):
    first = Goodput(path, start=0, start_time=1000.0)
    first.write()
    first.save(10, seconds=60.0)  # steps 1 to 10, after 20 s of compiling; the save takes 5 s
    assert first.share(60.0 + 15.0, now=1100.0) == pytest.approx(75 / 100)  # steps 11 to 13, then killed
    second = Goodput(path, start=10, start_time=1300.0)
    assert second.share(0.0, now=1300.0) == pytest.approx(60 / 300)
    second.save(25, seconds=90.0)
    assert second.share(90.0, now=1400.0) == pytest.approx((60 + 90) / 400)


def test_resuming_from_an_older_checkpoint_loses_what_came_after_it(path):
    run = Goodput(path, start=0, start_time=0.0)
    for step in (10, 20, 30):
        run.save(step, seconds=5.0 * step)
    again = Goodput(path, start=20, start_time=500.0)
    assert again.share(0.0, now=500.0) == pytest.approx(100 / 500)
    again.save(25, seconds=0.0)
    assert set(json.loads(path.read_text())["seconds_on_steps"]) == {"10", "20", "25"}


def test_a_kill_between_checkpoint_and_record_counts_from_the_record_before(path):
    run = Goodput(path, start=0, start_time=0.0)
    run.save(10, seconds=50.0)  # step 20 is saved, its record is not
    assert Goodput(path, start=20, start_time=200.0).share(0.0, now=200.0) == pytest.approx(50 / 200)


def test_a_damaged_record_does_not_end_the_run(path, caplog):
    path.write_text("[1, 2")
    run = Goodput(path, start=20, start_time=100.0)
    assert run.start_time == 100.0
    assert run.share(0.0, now=200.0) == 0.0
    assert str(path) in caplog.text
