"""curves.png shows what the run has, and nothing else."""

import json

import numpy as np
from etils import epath
from PIL import Image

from hummingbird.run import curves


def write(folder, lines):
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return epath.Path(folder)


def test_a_curve_has_the_values_of_its_metric(tmp_path):
    lines = [{"step": 10 * i, "loss": 1.0, "top1": 0.01 * i} for i in range(1, 4)]
    lines[1]["eval_miou"] = 12.0
    top1, score = next(p for p in curves.PANELS if "top1" in p.names), curves.score_panels(lines)[0]
    steps, values = curves.curves(top1, lines)["top1"]
    np.testing.assert_allclose(steps, [10, 20, 30])
    np.testing.assert_allclose(values, [1, 2, 3])  # percent
    steps, values = curves.curves(score, lines)["eval_miou"]
    assert (list(steps), list(values)) == ([20], [12])


def test_the_total_loss_is_left_out_if_it_has_one_term():
    loss = curves.PANELS[0]
    one, two = (
        {"step": 1, "loss": 2.0, "loss_ssl": 2.0},
        {"step": 1, "loss": 3.0, "loss_ssl": 2.0, "loss_retrieval": 1.0},
    )
    assert set(curves.curves(loss, [one])) == {"loss_ssl"}
    assert set(curves.curves(loss, [two])) == {"loss", "loss_ssl", "loss_retrieval"}


def test_long_curves_are_thinned_and_absent_metrics_have_no_plot(tmp_path):
    rng = np.random.default_rng(0)
    lines = [
        {"step": i, "loss": float(rng.random()), "gradient_norm": float(10.0 ** rng.normal())} for i in range(5000)
    ]
    assert len(curves.curves(curves.PANELS[0], lines)["loss"][0]) <= curves.POINTS
    assert curves.write(write(tmp_path, lines))
    assert Image.open(tmp_path / "curves.png").size == (840, 250)  # two plots


def test_a_run_with_fewer_than_two_records_has_no_picture(tmp_path):
    assert not curves.write(epath.Path(tmp_path))
    assert not curves.write(write(tmp_path, [{"step": 1, "loss": 1.0}]))
    assert not (tmp_path / "curves.png").exists()
