"""Compares runs with both parts of the method and with neither: each comparison of .assets, and all of them pooled.

    scripts/bench context_effect [--draw=FILE.svg]

A pair is two runs of a comparison with the same seed, which share the data order and the initial encoder. A difference
is the score with contextualisation and QKV pooling divided by that with neither, in percent more or less, so that data
sets can be pooled: of `depth`, the RMSE, of which less is better; of `miou`; and of `knn`, the top-1 of k-NN on whole
images. On photographs these are the kitchen's depth and CamVid's mIoU; VOC, with its 15 images, is left out, and k-NN
was not measured. `exploratory` are the comparisons after which the hypothesis was written down that depth gains;
`further` repeats the first of them with seeds that none of them has, to test it; `all` are both. `percent` lists the
differences, `better` counts those in favour of both parts. Intervals are 95% of the mean, by Student's t, over

- `pairs`: every pair as a unit, as if all were independent, which pairs of one seed are not;
- `seeds`: the mean of each seed, alike whether it is of five pairs (seeds 0 to 4) or is one (the others);
- `comparisons`: the mean of each comparison.
"""

from __future__ import annotations

import argparse
import csv
import json
import pathlib
import statistics
from collections.abc import Iterable
from typing import Any, NamedTuple

import matplotlib

from hummingbird.run.files import write_text
from hummingbird.sweep.pairs import Difference
from hummingbird.sweep.plots import forest, set_style

ASSETS = pathlib.Path(__file__).resolve().parents[2] / ".assets"
SCENES = {"depth": "scenes_depth.rmse", "miou": "scenes.miou", "knn": "scenes_knn.accuracy"}
NAMES = {"depth": "the RMSE of depth", "miou": "mIoU", "knn": "top-1"}
REAL = {"depth": "kitchen.rmse", "miou": "camvid.miou"}


class Comparison(NamedTuple):
    """Where the runs of a comparison are: a file in .assets, their names with both parts and with neither, columns."""

    file: str
    both: str
    neither: str
    columns: dict[str, str]


COMPARISONS = {
    "800 steps, the paper's loss": Comparison("ablation.csv", "Hummingbird", "mean-pooling", SCENES),
    "800 steps, SimCLR's loss": Comparison("ablation.csv", "SimCLR,-both", "SimCLR", SCENES),
    "4,800 steps of 24, SimCLR's loss": Comparison("ablation_simclr.csv", "Hummingbird", "mean-pooling", SCENES),
    "64 tokens, SimCLR's loss": Comparison("ablation_tokens.csv", "Hummingbird", "mean-pooling", SCENES),
    "photographs, the paper's loss": Comparison("photographs.csv", "trained", "neither-part", REAL),
}
FURTHER = Comparison("ablation_further.csv", "Hummingbird", "mean-pooling", SCENES)


class Change(Difference):
    """A difference that is named by its comparison."""

    @property
    def label(self) -> str:
        """The name of the comparison."""
        return self.first


def pairs(comparison: Comparison, metric: str) -> dict[int, float]:
    """Returns {seed: percent} of the pairs of which both runs are done."""
    scores: dict[str, dict[int, float]] = {comparison.both: {}, comparison.neither: {}}
    with open(ASSETS / comparison.file, newline="") as file:
        for row in csv.DictReader(file):
            name = row["run"].rpartition(",seed=")[0]
            if name in scores and row["state"] == "done":
                scores[name][int(row["seed"])] = float(row[comparison.columns[metric]])
    both, neither = scores.values()
    return {seed: 100 * (both[seed] / neither[seed] - 1) for seed in sorted(both.keys() & neither.keys())}


def change(name: str, values: Iterable[float], metric: str) -> Change:
    """Returns the mean of differences with its interval."""
    return Change(name, "", f"{NAMES[metric]}, %", list(values), maximise=metric != "depth")


def rounded(value: float) -> float:
    """Returns tenths, without a negative zero."""
    return round(value, 1) + 0.0


def described(one: Change) -> dict[str, Any]:
    """Returns a difference as JSON."""
    half = one.half_width
    return {
        "mean": rounded(one.mean),
        "interval": None if half is None else [rounded(one.mean - half), rounded(one.mean + half)],
        "better": f"{one.better} of {len(one.values)}",
        "percent": [rounded(value) for value in one.values],
    }


def pooled(found: dict[str, dict[int, float]], metric: str, which: str) -> dict[str, Change]:
    """Returns the mean over {comparison: {seed: percent}} with each unit that `__doc__` lists."""
    rows = list(found.values())
    seeds = sorted({seed for row in rows for seed in row})
    units = {
        "pairs": [value for row in rows for value in row.values()],
        "seeds": [statistics.fmean(row[seed] for row in rows if seed in row) for seed in seeds],
        "comparisons": [statistics.fmean(row.values()) for row in rows],
    }
    return {unit: change(f"{which}, by {unit[:-1]}", values, metric) for unit, values in units.items()}


def main() -> None:
    """Prints one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draw", type=pathlib.Path, metavar="FILE.svg", help="also draw the differences in depth")
    options = parser.parse_args()
    result: dict[str, Any] = {"benchmark": "context_effect"}
    for metric in SCENES:
        scored = {name: comparison for name, comparison in COMPARISONS.items() if metric in comparison.columns}
        found = {name: pairs(comparison, metric) for name, comparison in scored.items()}
        further = pairs(FURTHER, metric)
        each = {name: change(name, values.values(), metric) for name, values in found.items()}
        last = change("new seeds", further.values(), metric)
        units = pooled(found, metric, "these")
        both = pooled(found | {"new seeds": further}, metric, "all")
        result[metric] = {
            "exploratory": {name: described(one) for name, one in (each | units).items()},
            "further": described(last),
            "all": {name: described(one) for name, one in both.items()},
        }
        if options.draw and metric == "depth":
            with matplotlib.rc_context():
                set_style()
                write_text(options.draw, forest([*each.values(), *units.values(), last, *both.values()]))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
