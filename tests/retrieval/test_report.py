"""The report: its content, that it is self-contained, and that its pictures are right."""

import errno
import os
import re

import numpy as np
import pytest

from hummingbird.errors import UserError
from hummingbird.retrieval.report import Run, charts, write_comparison, write_report
from hummingbird.retrieval.report.features import principal_colours
from hummingbird.retrieval.report.predictions import predictions
from hummingbird.retrieval.report.runs import group_runs
from hummingbird.retrieval.report.scores import score_table
from hummingbird.tasks.segmentation import SegmentationTask

NASTY = "<script>alert('x')</script>"


def made_metrics(task="segmentation", encoder="vit_ti8", **changes):
    scores = {
        "segmentation": {
            "miou": 43.21,
            "pixel_accuracy": 71.9,
            "mean_class_accuracy": 55.5,
            "per_class_iou": {"wall": 87.65, NASTY: 21.0, "never seen": None},
        },
        "depth": {"rmse": 0.4567, "abs_rel": 0.1234, "delta1": 0.8765},
    }[task]
    return {
        "task": task,
        "dataset": "scenes",
        "encoder": {"name": encoder, "fingerprint": "0f0f", "patch_size": 8, "dim": 16},
        "metrics": scores,
        "protocol": {"name": "paper", "neighbours": 30, "temperature": 0.02, "index": {"kind": "exact"}},
        "memory": {"length": 123456, "bytes": 3 * 2**20},
        "seconds": {"encode_prompt": 1.25, "total": 2.5},
        "peak_memory_bytes": 2**30,
        "warnings": [],
        "versions": {"jax": "0.10.2"},
        **changes,
    }


def made_samples(task="segmentation", attention=True, queries=2, seed=0):
    rng = np.random.default_rng(seed)
    kept = []
    for i in range(queries):
        height, width = 40, 56 + 8 * i
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        if task == "segmentation":
            truth = rng.integers(0, 3, (height, width)).astype(np.int32)
            prediction = rng.integers(0, 3, (height, width)).astype(np.int32)
            truth[:4] = 255
            error = (prediction != truth) & (truth != 255)
        else:
            truth = rng.uniform(1, 5, (height, width)).astype(np.float32)
            prediction = truth + 0.25
            truth[:4] = 0
            error = np.where(truth > 0, np.abs(prediction - truth), np.nan).astype(np.float32)
        crop = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
        label = 1 if task == "segmentation" else 2.5
        entry = {"weight": 0.625, "similarity": 0.9375, "image": 3, "name": "prompt3", "epoch": 0, "position": (1, 2)}
        entry |= {"crop": crop, "label": label, "fraction": 0.75}
        patch = {"position": (2, 3), "box": (16, 24, 8, 8), "crop": crop, "inner": (8, 8, 8, 8), "entries": [entry]}
        kept.append(
            {
                "index": i,
                "name": f"query{i}",
                "image": image,
                "truth": truth,
                "prediction": prediction,
                "error": error,
                "score": 12.5,
                "features": rng.normal(size=(4, 6, 16)).astype(np.float16),
                "attention": np.full((4, 6), 1 / 24, np.float32) if attention else None,
                "neighbours": [patch],
            }
        )
    classes = ["wall", NASTY, "never seen"] if task == "segmentation" else []
    return {"task": task, "classes": classes, "ignore": 255, "patch": 8, "grid": (4, 6), "queries": kept}


def page_of(tmp_path, write, *arguments, **named):
    write(tmp_path / "report.html", *arguments, **named)
    return (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("task", ["segmentation", "depth"])
def test_page_fetches_nothing(tmp_path, task):
    page = page_of(tmp_path, write_report, made_metrics(task), made_samples(task))
    addresses = re.findall(r"(?:src|href)\s*=\s*[\"']([^\"']*)", page) + re.findall(r"url\(([^)]*)", page)
    assert len(addresses) > 5
    assert all(address.startswith("data:image/") for address in addresses)
    assert "<link" not in page
    assert "@import" not in page
    assert "<script" not in page


def test_scores_settings_and_names_are_shown(tmp_path):
    page = page_of(tmp_path, write_report, made_metrics(), made_samples())
    for text in ("43.2", "71.9", "55.5", "87.7", "vit_ti8", "scenes", "123\u202f456", "3.0 MiB", "1.25 s", "0.10.2"):
        assert text in page, text
    for text in ("w 0.62", "s 0.94", "query0", "index.kind", "1.0 GiB", "mIoU 12.5"):
        assert text in page, text


def test_all_settings_are_folded(tmp_path):
    page = page_of(tmp_path, write_report, made_metrics(config={"encoder.layers": [1, 2], "retrieval.bank": ""}))
    folded = page.partition("<details>")[2].partition("</details>")[0]
    assert "encoder.layers" in folded
    assert "1, 2" in folded


def test_depth_numbers_and_scales_are_shown(tmp_path):
    page = page_of(tmp_path, write_report, made_metrics("depth"), made_samples("depth"))
    for text in (
        "0.457",
        "0.123",
        "0.876",
        "depth in metres",
        "absolute error in metres",
        "2.50 m",
        "mean error 0.250 m",
    ):
        assert text in page, text
    assert "Intersection over union" not in page


def test_names_cannot_inject_markup(tmp_path):
    metrics = made_metrics(dataset=NASTY, warnings=[NASTY])
    metrics["protocol"] = {NASTY: NASTY}
    page = page_of(tmp_path, write_report, metrics, made_samples())
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 4  # data set, warning, protocol, class name in bars and legend


def test_absent_class_is_a_dash_and_sorted_last(tmp_path):
    page = page_of(tmp_path, write_report, made_metrics(), None)
    bars = re.search(r'<svg class="bars".*?</svg>', page, re.DOTALL)[0]
    names = re.findall(r'class="name".*?<title>(.*?)</title>', bars)
    values = re.findall(r'class="value".*?>(.*?)</text>', bars)
    assert names[0] == "wall"
    assert names[-1] == "never seen"
    assert values == ["87.7", "21.0", "–"]


def test_page_without_samples_has_numbers_only(tmp_path):
    page = page_of(tmp_path, write_report, made_metrics(), None)
    assert "43.2" in page
    assert "Predictions" not in page
    assert "Patch features" not in page


def test_page_without_attention_has_none(tmp_path):
    page = page_of(tmp_path, write_report, made_metrics(), made_samples(attention=False))
    assert "Patch features" in page
    assert "pooling attention" not in page


def test_comparison_shows_both_tasks_and_marks_the_best(tmp_path):
    runs = []
    for name, miou, rmse in (("pretrained", 50.0, 0.4), ("random", 20.0, 0.7), ("rgb", 30.0, 0.9)):
        for task, change in (("segmentation", {"miou": miou}), ("depth", {"rmse": rmse})):
            metrics = made_metrics(task)
            metrics["metrics"] |= change
            runs.append(Run(name, metrics, made_samples(task)))
    page = page_of(tmp_path, write_comparison, runs, title="Demo", notes=["a note"])
    assert re.search(r"next best 30\.0, rgb", page)
    assert re.search(r"next best 0\.700, random", page)
    best = re.findall(r'<td class="value best">(.*?)</td>', page)
    assert best == ["50.0", "0.400"]  # equal scores are nobody's best
    assert page.count('class="chapter"') == 2
    assert "a note" in page


def test_comparison_aligns_queries_by_name_those_of_all_runs_first():
    first, second = made_samples(), made_samples(seed=1)
    second["queries"] = second["queries"][1:]
    runs = [Run("a", made_metrics(), first), Run("b", made_metrics(), second)]
    (section,) = predictions(group_runs(runs)[0])
    rows = section.rows
    assert rows[0][0].caption == "query1"
    assert rows[0][2] is not None
    assert rows[2][0].caption == "query0"
    assert rows[2][2] is None


def test_comparison_refuses_equal_names(tmp_path):
    run = Run("a", made_metrics())
    with pytest.raises(UserError, match="two evaluations are called 'a'"):
        write_comparison(tmp_path / "x.html", [run, run])
    with pytest.raises(UserError, match="at least one"):
        write_comparison(tmp_path / "x.html", [])
    assert not (tmp_path / "x.html").exists()


def test_unknown_scores_are_listed_too():
    metrics = made_metrics()
    metrics["metrics"]["boundary_iou"] = 0.125
    table = score_table(group_runs([Run("a", metrics)]))
    assert table.blocks[0][1][-1] == "boundary iou"
    assert table.rows[0][1][-1].text == "0.125"


def test_errors_of_a_hand_case_are_painted_and_counted():
    truth = np.array([[0, 1, 255], [2, 2, 1]], np.int32)
    prediction = np.array([[0, 2, 1], [2, 0, 1]], np.int32)
    error = SegmentationTask(["a", "b", "c"]).error(truth, prediction)
    samples = made_samples(queries=1)
    image = np.zeros((2, 3, 3), np.uint8)
    samples["queries"][0] |= {"truth": truth, "prediction": prediction, "error": error, "image": image}
    group = group_runs([Run("a", made_metrics(), samples)])[0]
    painted = group.painter().paint_error(error, truth, image).astype(int)
    red = painted[..., 0] - painted[..., 1] > 100
    np.testing.assert_array_equal(red, [[0, 1, 0], [0, 1, 0]])
    assert painted[0, 2].tolist() in ([128] * 3, [168] * 3)  # void
    (section,) = predictions(group)
    assert section.rows[0][3].caption == "40.0 % of valid pixels wrong"  # 2 of 5


def test_principal_colours_do_not_depend_on_sign_or_call():
    rng = np.random.default_rng(0)
    features = [rng.normal(size=(3, 4, 8)) * np.arange(1, 9), rng.normal(size=(2, 2, 8)) * np.arange(1, 9)]
    first, share = principal_colours(features)
    second, _ = principal_colours([f.copy() for f in features])
    assert [p.shape for p in first] == [(3, 4, 3), (2, 2, 3)]
    assert 0 < share < 1
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    # Independent: the leading axis by numpy's SVD, up to its sign, orders the patches as the red channel does.
    rows = np.concatenate([f.reshape(-1, 8) for f in features])
    rows = rows - rows.mean(0)
    axis = np.linalg.svd(rows, full_matrices=False)[2][0]
    axis = axis * np.sign(axis[np.abs(axis).argmax()])
    red = np.concatenate([p.reshape(-1, 3)[:, 0] for p in first]).astype(float)
    assert np.corrcoef(red, rows @ axis)[0, 1] > 0.98


def test_principal_colours_survive_few_dimensions():
    for dim in (1, 2):
        (picture,), share = principal_colours([np.random.default_rng(0).normal(size=(3, 3, dim))])
        assert picture.shape == (3, 3, 3)
        assert share == pytest.approx(1)
    (flat,), share = principal_colours([np.ones((2, 2, 5))])
    assert share == 0
    assert (flat == flat[0, 0]).all()


def test_many_classes_fill_columns():
    order = [f"c{i}" for i in range(150)]
    columns = charts.class_bars([dict.fromkeys(order, 50.0)], order)
    assert len(columns) == 6
    assert sum(column.count('class="name"') for column in columns) == 150


def test_parts_of_the_prompt_are_shown_where_they_were_scored(tmp_path):
    row = {"fraction": 0.25, "images": 8, "metric": "miou", "mean": 29.17, "std": 2.04, "values": [27.1, 31.2]}
    rows = [row, {**row, "fraction": 1.0, "images": 34, "mean": 36.21, "std": 0.0, "values": [36.21]}]
    write_report(tmp_path / "parts.html", made_metrics(fractions=rows))
    text = (tmp_path / "parts.html").read_text()
    assert "Few annotated images" in text
    assert re.search(r"<td>1/4</td>\s*<td class=\"value\">8</td>\s*<td class=\"value\">29.2</td>", text)
    assert "data:image/svg+xml" in text
    write_report(tmp_path / "whole.html", made_metrics())
    assert "Few annotated images" not in (tmp_path / "whole.html").read_text()


def test_a_users_folder_is_shown_by_its_name(tmp_path):
    metrics = made_metrics(dataset="folder", data={"root": "camvid_mini", "prompt": "0", "query": "1"})
    write_report(tmp_path / "one.html", metrics)
    assert "<h1>Semantic segmentation on camvid_mini</h1>" in (tmp_path / "one.html").read_text()
    other = {**metrics, "data": {"root": "kitti", "prompt": "2", "query": "3"}}
    runs = [Run("a", m) for m in (metrics, other)]
    assert [group.dataset for group in group_runs(runs)] == ["camvid_mini", "kitti"]


def test_a_report_that_cannot_be_written_leaves_the_old_one_and_no_part(tmp_path, monkeypatch):
    write_report(tmp_path / "report.html", made_metrics())
    before = (tmp_path / "report.html").read_text()

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_report(tmp_path / "report.html", made_metrics(encoder="another"))
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text() == before
