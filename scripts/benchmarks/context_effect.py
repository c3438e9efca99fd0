"""Both parts of the method against neither, in all comparisons whose runs are kept in .assets: each one, and pooled.

    scripts/bench context_effect [--draw=FILE.svg]

A pair is two runs of a comparison with the same seed, which share the data order and the initial encoder. A difference
is the score with contextualisation and QKV pooling divided by that with neither, in percent more or less, so that data
sets can be pooled. Intervals are 95% of the mean, by Student's t, over

- `pairs`: every pair as a unit, as if all were independent;
- `seeds`: the mean of each seed, since comparisons share seeds and so, partly, data;
- `comparisons`: the mean of each comparison.

`depth` is the RMSE, of which less is better, `miou` the mIoU, and `knn` the top-1 of k-NN on whole images, where it was
measured. `exploratory` are the comparisons after which the hypothesis was written down that depth gains; `further` has
seeds that none of them has, and was run to test it.
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

from hummingbird.sweep.pairs import Difference
from hummingbird.sweep.plots import forest, set_style

ASSETS = pathlib.Path(__file__).resolve().parents[2] / ".assets"
SCENES = {"depth": "scenes_depth.rmse", "miou": "scenes.miou", "knn": "scenes_knn.accuracy"}
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
    return Change(name, "", f"{metric}, %", list(values), maximise=metric != "depth")


def described(one: Change) -> dict[str, Any]:
    """Returns a difference as JSON."""
    half = one.half_width or 0.0
    return {
        "mean": round(one.mean, 1),
        "interval": [round(one.mean - half, 1), round(one.mean + half, 1)],
        "better": f"{one.better} of {len(one.values)}",
        "percent": [round(value, 1) for value in one.values],
    }


def pooled(found: dict[str, dict[int, float]], metric: str) -> dict[str, Change]:
    """Returns the mean over {comparison: {seed: percent}} with each unit that `__doc__` lists."""
    seeds = sorted({seed for pairs in found.values() for seed in pairs})
    means = [statistics.fmean(pairs[seed] for pairs in found.values() if seed in pairs) for seed in seeds]
    return {
        "pairs": change("all, by pair", [value for pairs in found.values() for value in pairs.values()], metric),
        "seeds": change("all, by seed", means, metric),
        "comparisons": change(
            "all, by comparison", [statistics.fmean(pairs.values()) for pairs in found.values()], metric
        ),
    }


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
        units = pooled(found, metric)
        result[metric] = {
            "exploratory": {name: described(one) for name, one in (each | units).items()},
            "further": described(last),
            "all": {name: described(one) for name, one in pooled(found | {"new seeds": further}, metric).items()},
        }
        if options.draw and metric == "depth":
            with matplotlib.rc_context():
                set_style()
                options.draw.write_text(forest([*each.values(), units["pairs"], units["seeds"], last]))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
