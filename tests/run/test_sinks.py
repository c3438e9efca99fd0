"""Each sink writes what it receives, where it should."""

import json

import numpy as np
from etils import epath
from PIL import Image

from hummingbird.run import sinks


class Clock:
    """Moved by hand."""

    now = 0.0

    def __call__(self):
        return self.now


def test_json_lines_are_one_record_per_line(tmp_path):
    sink = sinks.JsonLines(epath.Path(tmp_path), 0)
    sink.scalars(1, {"loss": 2.0})
    sink.scalars(2, {"loss": 1.0})
    sink.close(failed=False)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]


def test_tensorboard_gets_scalars_and_pictures(tmp_path):
    sink = sinks.TensorBoard(epath.Path(tmp_path), 0)
    sink.scalars(1, {"loss": 2.0})
    sink.picture(1, "sheet", np.zeros((6, 8, 3), np.uint8))
    sink.close(failed=False)
    (events,) = tmp_path.glob("events.*")
    assert b"loss" in events.read_bytes()
    assert b"sheet" in events.read_bytes()


def test_pictures_are_named_by_step(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    sinks.PictureFiles(epath.Path(tmp_path)).picture(7, "sheet", picture)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "sheet" / "00000007.png")), picture)


def test_without_a_terminal_progress_is_a_line_with_the_time_left(capsys):
    clock = Clock()
    sink = sinks.ProgressLine(10, 20, clock)
    for step in (11, 12, 13):
        clock.now += 50.0 if step == 11 else 3.0  # the first step compiles
        sink.step(step)
    sink.scalars(13, {"loss": 2.0, "eval_rmse": 0.5, "eval_delta1": 0.9})
    sink.close(failed=False)
    assert capsys.readouterr().err == "step 13/20  loss 2.000  eval_rmse 0.50  left 21 s\n"


def test_curves_are_drawn_at_the_end_and_seldom_before(tmp_path):
    clock = Clock()
    workdir = epath.Path(tmp_path)
    lines, sink = sinks.JsonLines(workdir, 0), sinks.Curves(workdir, clock)

    def record(step):
        for each in (lines, sink):
            each.scalars(step, {"loss": 1.0 / step})

    record(1)
    record(2)
    sink.saved(2)
    assert not (tmp_path / "curves.png").exists()
    clock.now += 1000.0
    record(3)
    sink.saved(3)
    first = (tmp_path / "curves.png").read_bytes()
    record(4)
    sink.close(failed=True)
    assert (tmp_path / "curves.png").read_bytes() == first
    sink.close(failed=False)
    assert (tmp_path / "curves.png").read_bytes() != first


def test_curves_that_cannot_be_written_do_not_end_the_run(tmp_path, caplog):
    workdir = epath.Path(tmp_path)
    lines, sink = sinks.JsonLines(workdir, 0), sinks.Curves(workdir, Clock())
    (tmp_path / "curves.png").mkdir()
    for step in (1, 2):
        for each in (lines, sink):
            each.scalars(step, {"loss": 1.0})
    sink.close(failed=False)
    assert "curves.png cannot be written" in caplog.text
