"""Summaries, tables and plots of made results."""

import csv
import dataclasses
import io
import re

import pytest
from rich.console import Console
from scipy import stats

from hummingbird.errors import UserError
from hummingbird.sweep import Sweep
from hummingbird.sweep.collect import Results, Row, read_last_line, summarise
from hummingbird.sweep.pairs import differences
from hummingbird.sweep.plots import difference_plots, plots
from hummingbird.sweep.schedule import Run, Schedule
from hummingbird.sweep.tables import duration, number, table_cells, terminal_table, to_csv


def made(settings, scores, labels=None, states=None, maximise=True, published=None):
    rows = []
    for i, (setting, score) in enumerate(zip(settings, scores, strict=True)):
        run = Run(f"run{i}", labels[i] if labels else "", setting, {"evaluate": f"run{i}/evaluate"})
        rows.append(Row(run, states[i] if states else "done", {} if score is None else {"miou": score}, 2.0))
    identity = {"job": "evaluate", "config": "", "overrides": [], "evaluate": {}, "checkpoint": None}
    runs = [row.run for row in rows]
    schedule = Schedule(identity, {"run": "", "settings": {}}, runs, {}, [], "miou", maximise, ["seed"])
    schedule = dataclasses.replace(schedule, published=published or {})
    return Results(schedule, rows, summarise(rows, ["seed"], "miou", maximise), "miou", maximise, ["miou"])


def test_repeats_are_averaged_and_the_best_comes_first():
    settings = [{"k": k, "seed": s} for k in ("1", "2") for s in ("0", "1")]
    results = made(settings, [10.0, 14.0, 20.0, 20.0])
    assert results.axes == ["k"]
    assert [s.settings for s in results.summaries] == [{"k": "2"}, {"k": "1"}]
    assert results.summaries[1].mean("miou") == 12
    assert results.summaries[1].deviation("miou") == pytest.approx(8**0.5)
    heads, body, _ = table_cells(results)
    assert heads == ["k", "miou", "runs", "time", "state"]
    assert body[1] == ["1", "12.00 ± 2.83", "2", "4.0 s", "2 done"]
    assert results.best.run.name == "run2"


def test_lower_is_better_for_an_error():
    results = made([{"k": "1"}, {"k": "2"}], [0.5, 0.4], maximise=False)
    assert results.best.run.name == "run1"


def test_unfinished_runs_are_listed_last_and_never_best():
    results = made([{"k": "1"}, {"k": "2"}], [99.0, 1.0], states=["running", "done"])
    assert results.best.run.name == "run1"
    assert [s.settings["k"] for s in results.summaries] == ["2", "1"]
    assert to_csv(results).splitlines()[0] == "run,state,k,miou,seconds"


@pytest.mark.parametrize(
    ("settings", "caption", "marks"),
    [
        ([{"k": "1"}, {"k": "100"}], "miou against k", ["100"]),
        ([{"p": "qk"}, {"p": "qkv"}], "miou by p", ["qkv"]),
        ([{"k": "1", "t": "2"}, {"k": "1", "t": "3"}, {"k": "2", "t": "2"}], "miou by k and t", ["20.00"]),
        ([{"a": "1", "b": "2", "c": "3"}, {"a": "2", "b": "3", "c": "1"}], "Every line is a setting", ["20.00"]),
    ],
)
def test_the_plot_fits_the_number_of_swept_keys(settings, caption, marks):
    ((svg, text),) = plots(made(settings, [20.0, 10.0, 15.0][: len(settings)]))
    assert text.startswith(caption)
    for mark in marks:
        assert f">{mark}<" in svg
    assert "currentColor" in svg
    assert not re.search(r'(href|src)="http', svg)


def test_named_rows_are_shown_by_name():
    ((svg, text),) = plots(made([{"p": "a"}, {}], [1.0, 2.0], labels=["MoCLR <x>", "Hummingbird"]))
    assert text.startswith("miou of each run")
    assert "MoCLR &lt;x&gt;" in svg


def test_published_scores_stand_beside_those_measured():
    published = {"DINO": {"miou": 55.9}, "Hummingbird": {"miou": 70.0}}
    results = made([{"p": "a"}, {"p": "b"}], [54.321, 40.0], labels=["DINO", "mine"], published=published)
    heads, body, states = table_cells(results)
    assert heads == ["run", "miou", "miou published", "time", "state", "p"]
    assert body == [
        ["DINO", "54.32", "55.9", "2.0 s", "done", "a"],
        ["mine", "40.00", "–", "2.0 s", "done", "b"],
        ["Hummingbird", "–", "70.0", "–", "published", "–"],
    ]
    assert states == ["done", "done", "published"]
    lines = list(csv.DictReader(to_csv(results).splitlines()))
    assert [(line["run"], line["miou"], line["miou published"]) for line in lines] == [
        ("run0", "54.321", "55.9"),
        ("run1", "40.0", ""),
        ("Hummingbird", "", "70.0"),
    ]
    ((_, caption),) = plots(results)
    assert caption.endswith("Diamonds: published scores.")
    assert "published" not in plots(made([{"p": "a"}], [1.0], labels=["DINO"]))[0][1]


def test_a_narrow_terminal_leaves_out_the_swept_keys_of_named_runs_only():
    settings = [{f"key{i}": str(i + j) for i in range(30)} for j in range(2)]
    named = made(settings, [54.321, 40.0], labels=["DINO", "mine"])

    def heads(results, width):
        return [column.header for column in terminal_table(results, width).columns]

    assert heads(named, 80) == ["run", "miou ↑", "time", "state"]
    assert len(heads(named, 1000)) == 34
    for width in range(40, 400, 3):
        console = Console(width=width, file=io.StringIO())
        console.print(terminal_table(named, width))
        assert "…" not in console.file.getvalue()  # nothing is cut
    assert len(heads(made(settings, [54.321, 40.0]), 80)) == 33  # without names the keys tell the runs apart


def test_nothing_is_plotted_before_there_is_a_result():
    assert plots(made([{"k": "1"}], [None], states=["waiting"])) == []


def test_an_incomplete_last_line_is_ignored(tmp_path):
    (tmp_path / "m.jsonl").write_text('{"step": 1, "loss": 2.5}\n{"step": 2, "lo')
    assert read_last_line(tmp_path / "m.jsonl") == {"step": 1, "loss": 2.5}
    assert read_last_line(tmp_path / "none.jsonl") == {}


def test_numbers_and_durations_are_formatted():
    assert [number("miou", 12.345), number("rmse", 0.71849, 0.01), number("miou", None)] == [
        "12.35",
        "0.718 ± 0.010",
        "–",
    ]
    assert [duration(0), duration(3.21), duration(125), duration(3723)] == ["–", "3.2 s", "2:05", "1:02:03"]


def test_differences_are_paired_by_seed_with_students_interval():
    seeds = {"a": [1, 0, 2, 3], "b": [0, 1, 2]}  # in another order, and one without a partner
    scores = {"a": [31.0, 30.0, 35.0, 99.0], "b": [29.0, 29.5, 32.0]}
    settings = [{"k": name, "seed": str(seed)} for name in seeds for seed in seeds[name]]
    results = made(settings, scores["a"] + scores["b"], labels=["a"] * 4 + ["b"] * 3)
    schedule = dataclasses.replace(results.schedule, compare=[("a", "b")])
    (one,) = differences(dataclasses.replace(results, schedule=schedule))
    assert one.values == [1.0, 1.5, 3.0]
    expected = stats.ttest_1samp(one.values, 0).confidence_interval(0.95)
    assert (one.mean - one.half_width, one.mean + one.half_width) == pytest.approx((expected.low, expected.high))
    assert one.cells() == ["a − b", "miou", "+1.83", "−0.75 to +4.42", "3 of 3"]
    ((svg, caption),) = difference_plots(dataclasses.replace(results, schedule=schedule))
    assert ">a − b<" in svg
    assert caption.startswith("Differences in miou, paired by seed.")


def test_a_single_pair_has_no_interval_and_lower_errors_are_better():
    settings = [{"k": name, "seed": "0"} for name in "ab"]
    results = made(settings, [0.5, 0.4], labels=["a", "b"], maximise=False)
    schedule = dataclasses.replace(results.schedule, compare=[("b", "a"), ("b", "c")])
    (one,) = differences(dataclasses.replace(results, schedule=schedule))
    assert one.cells() == ["b − a", "miou", "−0.10", "–", "1 of 1"]


def test_a_comparison_of_runs_that_do_not_exist_is_refused():
    with pytest.raises(UserError, match="compare names 'c', which no run is called; the names: a, b"):
        Sweep("pretrain", [{"name": "a"}, {"name": "b"}], compare=[("a", "b"), ("c", "a")])
