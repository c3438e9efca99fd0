"""Figures and tables of the paper: which measured numbers they show, beside published ones."""

import json

import numpy as np
import pytest
from scipy import stats

from hummingbird.errors import UserError
from hummingbird.sweep import Curve, Figure, PaperTable, Pick, Sweep
from hummingbird.sweep.collect import Results, Row, measured, summarise
from hummingbird.sweep.curves import paper_figures
from hummingbird.sweep.expand import build_schedule
from hummingbird.sweep.folder import SweepFolder
from hummingbird.sweep.picking import correlation, correlations, curve_points, table_body
from hummingbird.sweep.report import page
from hummingbird.sweep.schedule import Run, Schedule

TIMES = Curve("linear.adaptation_seconds", "linear.miou", "linear.held_out_miou", "epochs")
FIGURE = Figure("Figure 4", "time", "mIoU", {"Linear": TIMES}, {"DINO": [(0.15, 50.0), (12.0, 55.9)]}, True, True)
TABLE = PaperTable(
    "Table 3",
    ["held out", "best", "within 1 s"],
    {
        "DINO": [None, 54.9, "text"],
        "ours": [
            Pick("linear.miou", {"epochs": 1.0}, choose="linear.held_out_miou"),
            Pick("linear.miou", {"epochs": 1.0}),
            Pick("linear.miou", most={"linear.adaptation_seconds": 1.0}),
        ],
    },
)


def results_of(rows, figures=(), tables=()):
    """Results of rows (settings, {metric: value}); "name" among the settings is the label."""
    made = []
    for i, (settings, metrics) in enumerate(rows):
        own = {key: str(value) for key, value in settings.items() if key != "name"}
        run = Run(f"run{i}", settings.get("name", ""), own, {})
        made.append(Row(run, "done", {f"linear.{name}": value for name, value in metrics.items()}, 2.0))
    identity = {"job": "evaluate", "config": "", "overrides": [], "evaluate": {}, "checkpoint": None}
    schedule = Schedule(identity, {"run": "", "settings": {}}, [row.run for row in made], {}, [], "", None, ["seed"])
    schedule.figures.extend(figures)
    schedule.tables.extend(tables)
    summaries = summarise(made, ["seed"], "linear.miou", True)
    return Results(schedule, made, summaries, "linear.miou", True, ["linear.miou"])


def grid_of_two():
    """Two learning rates for each of two lengths; the one that is best on held-out images is not the best."""
    return [
        ({"epochs": 1.0, "lr": 0.1}, {"miou": 30.0, "held_out_miou": 41.0, "adaptation_seconds": 2.0}),
        ({"epochs": 1.0, "lr": 0.2}, {"miou": 35.0, "held_out_miou": 40.0, "adaptation_seconds": 2.5}),
        ({"epochs": 0.5, "lr": 0.1}, {"miou": 20.0, "held_out_miou": 21.0, "adaptation_seconds": 0.9}),
        ({"epochs": 0.5, "lr": 0.2}, {"miou": 18.0, "held_out_miou": 25.0, "adaptation_seconds": 1.1}),
    ]


@pytest.mark.parametrize("count", [4, 5, 14])
def test_pearsons_r_and_fishers_interval_are_those_of_scipy(count):
    rng = np.random.default_rng(count)
    x = rng.normal(size=count)
    y = 0.7 * x + rng.normal(size=count)
    found, expected = correlation(list(zip(x, y, strict=True))), stats.pearsonr(x, y)
    interval = expected.confidence_interval(0.95)
    assert (found.r, found.low, found.high) == pytest.approx((expected.statistic, interval.low, interval.high), 1e-9)


def test_a_correlation_of_few_or_equal_points_claims_nothing():
    assert str(correlation([(0.0, 1.0), (1.0, 0.0), (2.0, 0.5)])) == "r = −0.50, n = 3"
    assert correlation([(1.0, 2.0)]) is None
    assert correlation([(1.0, 2.0), (1.0, 3.0)]) is None
    assert correlation([(float(i), 2.0 * i) for i in range(5)])[:3] == (1.0, 1.0, 1.0)


def test_published_models_correlate_as_six_of_the_papers_fourteen():
    """By hand from Tables 1 and 11."""
    pairs = [(70.5, 80.0), (73.5, 81.6), (76.9, 84.1), (72.1, 81.2), (76.2, 82.1), (77.3, 85.3)]
    assert correlation(pairs).r == pytest.approx(stats.pearsonr(*zip(*pairs, strict=True)).statistic)


def test_a_curve_has_a_point_for_each_length_chosen_on_held_out_images():
    points = curve_points(results_of(grid_of_two()), TIMES)
    assert [point[:2] for point in points] == [(1.1, 18.0), (2.0, 30.0)]
    every = curve_points(results_of(grid_of_two()), Curve(TIMES.x, TIMES.y))
    assert [point.x for point in every] == [0.9, 1.1, 2.0, 2.5]


def test_repeats_become_one_point_with_its_spread():
    rows = [({"epochs": 1.0, "seed": s}, {"miou": 30.0 + s, "images": 8.0}) for s in range(3)]
    assert [point[:3] for point in curve_points(results_of(rows), Curve("linear.images", "linear.miou"))] == [
        (8.0, 31.0, 1.0)
    ]


def test_tables_say_what_was_chosen_on_held_out_images_and_what_is_best():
    body = table_body(results_of(grid_of_two()), TABLE)
    assert body == [("ours", ["30.00", "35.00", "20.00"], True), ("DINO", ["–", "54.9", "text"], False)]
    assert table_body(results_of(grid_of_two()[:2]), TABLE)[0][1] == ["30.00", "35.00", "–"]


def test_figures_show_measured_and_published_points_on_an_axis_of_times():
    ((svg, caption),) = paper_figures(results_of(grid_of_two(), [FIGURE]))
    assert all(f">{text}<" in svg for text in ("Linear", "DINO", "1 s"))
    assert caption == "Figure 4. Dashed: published."
    assert paper_figures(results_of([], [FIGURE])) == []


def test_a_scatter_plot_names_its_points_and_states_the_correlation():
    rows = [({"name": f"model {i}"}, {"miou": 1.0 * i, "held_out_miou": i + (-1.0) ** i}) for i in range(6)]
    figure = Figure("Figure 7", "NN", "tuned", {"ours": Curve("linear.miou", "linear.held_out_miou")}, correlate=True)
    results = results_of(rows, [figure])
    ((svg, caption),) = paper_figures(results)
    assert ">model 3<" in svg
    assert caption == f"Figure 7. Pearson's {correlations(results, figure)['ours']} (ours)."


def test_figures_and_tables_survive_the_schedules_file_and_stand_on_the_page(tmp_path):
    sweep = Sweep("evaluate", [{"epochs": 1.0}], finetune={"linear": "finetune/linear"}, checkpoint="rgb:8")
    figured = Sweep(**{**vars(sweep), "figures": [FIGURE], "tables": [TABLE]})
    schedule = build_schedule(figured, None, (), None, "W")
    assert Schedule.from_json(json.loads(json.dumps(schedule.to_json()))) == schedule
    html = page(results_of(grid_of_two(), schedule.figures, schedule.tables), SweepFolder(tmp_path))
    assert html.index("Figures of the paper") < html.index("Table 3") < html.index("All settings")
    assert "<td>DINO (published)</td>" in html


def test_a_row_of_another_length_than_the_heads_is_refused():
    with pytest.raises(UserError, match="row 'DINO' of the table 'Table 3' has 1 entries for 2 columns"):
        Sweep("evaluate", [{}], tables=[PaperTable("Table 3", ["a", "b"], {"DINO": [1.0]})])


def test_the_clock_counts_encoding_and_leaves_compiling_out():
    seconds = {"prepare_prompt": 1.0, "encode_prompt": 4.0, "fill_bank": 0.5, "preflight": 9.0, "search": 7.0}
    nn = measured({"metrics": {"miou": 1.0}, "seconds": seconds, "memory": {"prompt_images": 64}})
    assert nn == {"miou": 1.0, "images": 64, "adaptation_seconds": 5.5, "setup_seconds": 9.0}
    held_out = {"images": 2, "metrics": {"miou": 3.0}}
    linear = measured({"metrics": {}, "seconds": {"train": 20.0, "steps": 12.0}, "held_out": held_out})
    assert linear == {"adaptation_seconds": 12.0, "setup_seconds": 8.0, "held_out_miou": 3.0}
    cached = measured({"metrics": {}, "seconds": {"steps": 1.0}, "decoder": {"cache_features": 2}})
    assert "adaptation_seconds" not in cached
    resumed = measured({"metrics": {}, "seconds": {"train": 5.0, "steps": 12.0}})
    assert resumed == {"adaptation_seconds": 12.0}


def test_seconds_of_a_table_are_durations():
    table = PaperTable("Costs", ["one pass"], {"linear": [Pick("linear.adaptation_seconds", {"epochs": 1.0})]})
    assert table_body(results_of(grid_of_two()), table)[0][1] == ["2.0 s"]
