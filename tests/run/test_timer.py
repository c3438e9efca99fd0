"""Wall time of a loop is split into steps, data wait and other; rates follow from it."""

import types

import pytest

from hummingbird.run.timer import Spent, StepTimer, clock_text, rates


class Clock:
    """Moved by hand."""

    now = 0.0

    def __call__(self):
        return self.now


def test_every_second_is_counted_once():
    clock = Clock()
    timer = StepTimer(clock)
    for step, ready in enumerate((True, True, False)):
        with timer.waiting(types.SimpleNamespace(is_ready=lambda ready=ready: ready)):
            clock.now += 1.0
        clock.now += 10.0
        timer.finish_step()
        with timer.other():
            clock.now += 100.0
        assert timer.total.count == step
    # Step 1 compiles: other. Step 2 waited for data on idle devices; step 3 while they were busy: part of the step.
    assert timer.total == Spent(count=2, steps=10.0 + 11.0, data_wait=1.0, other=11.0 + 300.0)
    assert sum(timer.total[1:]) == clock.now


def test_a_lap_is_what_was_spent_since_the_last():
    clock = Clock()
    timer = StepTimer(clock)
    timer.finish_step()
    for seconds in (2.0, 3.0):
        clock.now += seconds
        timer.finish_step()
        assert timer.lap() == Spent(count=1, steps=seconds)
    assert timer.lap() == Spent()


def test_rates_leave_out_other():
    found = rates(Spent(count=4, steps=6.0, data_wait=2.0, other=50.0), batch_size=10, seconds_at_peak=0.5)
    assert found["seconds_elsewhere"] == 50.0
    assert found["seconds_per_step"] == found["seconds_compute"] + found["seconds_data_wait"] == 2.0
    assert found["data_wait"] == 0.25
    assert found["mfu"] == 0.25


@pytest.mark.parametrize(("seconds", "text"), [(23.44, "23.4 s"), (60, "0:01:00"), (3723.4, "1:02:03")])
def test_clock_text(seconds, text):
    assert clock_text(seconds) == text
