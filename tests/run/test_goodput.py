"""Goodput, on a run whose times are made up and worked out by hand."""

import json

import pytest
from etils import epath

from hummingbird.run.goodput import Goodput


@pytest.fixture
def path(tmp_path):
    return epath.Path(tmp_path) / "goodput.json"


def test_a_run_that_is_killed_loses_the_steps_after_its_checkpoint_and_the_time_until_it_goes_on(path):
    first = Goodput(path, start=0, began=1000.0)
    first.write()
    first.add(60.0)  # after 20 s of compiling: steps 1 to 10
    first.save(10)  # takes 5 s
    first.add(15.0)  # steps 11 to 13; killed at 1100
    assert first.share(1100.0) == pytest.approx(75 / 100)
    second = Goodput(path, start=10, began=1300.0)
    assert second.share(1300.0) == pytest.approx(60 / 300)
    second.add(90.0)
    second.save(25)
    assert second.share(1400.0) == pytest.approx((60 + 90) / 400)


def test_going_back_to_an_older_checkpoint_loses_what_came_after_it(path):
    run = Goodput(path, start=0, began=0.0)
    for step in (10, 20, 30):
        run.add(50.0)
        run.save(step)
    again = Goodput(path, start=20, began=500.0)
    assert again.share(500.0) == pytest.approx(100 / 500)
    again.save(25)
    assert set(json.loads(path.read_text())["seconds_on_steps"]) == {"10", "20", "25"}


def test_a_kill_between_checkpoint_and_record_counts_from_the_record_before(path):
    run = Goodput(path, start=0, began=0.0)
    run.add(50.0)
    run.save(10)
    run.add(50.0)  # step 20 is saved, its record is not
    assert Goodput(path, start=20, began=200.0).share(200.0) == pytest.approx(50 / 200)


def test_a_damaged_record_ends_no_run(path, caplog):
    path.write_text("[1, 2")
    run = Goodput(path, start=20, began=100.0)
    assert (run.began, run.seconds) == (100.0, 0.0)
    assert str(path) in caplog.text
