"""The whole job on rendered scenes, in minutes: pretrain, evaluate, compare. `scripts/demo` sets up and runs it.

Pretrains a small encoder (`configs/pretrain/demo.py:simclr`), then scores it, the same encoder with random weights, and
raw RGB patches, on segmentation and depth. Evaluation happens in another world (seed) than pretraining. Run it again to
resume: finished parts are kept.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from hummingbird import cli
from hummingbird.retrieval import report
from hummingbird.run.files import write_json

PRETRAIN = "configs/pretrain/demo.py:simclr"
EVALUATE = "configs/evaluate/demo.py"
PATCH = 8  # the patch size of the demo's encoder, so that raw pixels are compared patch by patch
HEADLINES = {"segmentation": "miou", "depth": "rmse"}
TITLES = {"pretrained": "pretrained here", "random": "random weights", "rgb": "raw RGB patches"}


def main() -> None:
    """Runs the demo; exits with the status of the first part that fails."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description="Pretrain, evaluate and compare, in minutes.")
    parser.add_argument("--workdir", type=Path, default=Path("runs/demo"), help="output folder; rerun to resume")
    parser.add_argument("--seed", type=int, default=0, help="seed of pretraining and of the worlds")
    parser.add_argument("--setup-seconds", type=float, default=0.0, help="set-up time to include in summary.json")
    options = parser.parse_args()
    workdir: Path = options.workdir
    seconds = workdir / "seconds.json"
    if not seconds.exists():  # later calls find everything installed
        write_json(seconds, {"setup": options.setup_seconds})

    print("1/3  pretraining a small encoder on rendered scenes", flush=True)
    with timed(seconds, "pretrain"):
        pretrain(workdir / "pretrain", options.seed)
    print("2/3  scoring it, random weights and raw pixels on segmentation and depth", flush=True)
    with timed(seconds, "evaluate"):
        for task in HEADLINES:
            for encoder in TITLES:
                evaluate(workdir, task, encoder, options.seed)
    print("3/3  writing the report", flush=True)
    with timed(seconds, "evaluate"):
        results = compare(workdir)
    summary = {**results, "seconds": json.loads(seconds.read_text())}
    write_json(workdir / "summary.json", summary)
    print_summary(summary)
    print(f"Report: {workdir / 'report.html'}")


def pretrain(folder: Path, seed: int) -> None:
    """Pretrains in world 2 * seed, or resumes."""
    run(
        "pretrain",
        f"--config={PRETRAIN}",
        f"--workdir={folder}",
        f"--config.seed={seed}",
        f"--config.data.scenes.seed={2 * seed}",
    )


def evaluate(workdir: Path, task: str, encoder: str, seed: int) -> None:
    """Scores an encoder in world 2 * seed + 1, unless its result is newer than the pretraining."""
    pretrained, folder = workdir / "pretrain", workdir / task / encoder
    result, trained = folder / "metrics.json", pretrained / "metrics.jsonl"
    if result.exists() and result.stat().st_mtime > trained.stat().st_mtime:
        return
    checkpoints = {"pretrained": f"{pretrained}", "random": f"random:{pretrained}", "rgb": f"rgb:{PATCH}"}
    run(
        "evaluate",
        f"--config={EVALUATE}:{task}",
        f"--checkpoint={checkpoints[encoder]}",
        f"--workdir={folder}",
        f"--config.data.scenes.seed={2 * seed + 1}",
    )


def run(*arguments: str) -> None:
    """Runs a command line of `hummingbird` in this process; exits with its status if it fails."""
    if status := cli.run(list(arguments)):
        sys.exit(status)


def compare(workdir: Path) -> dict[str, dict[str, float]]:
    """Writes report.html, with all encoders side by side; returns the headline score of each by task."""
    runs, scores = [], {}
    for task, headline in HEADLINES.items():
        scores[task] = {}
        for encoder, title in TITLES.items():
            folder = workdir / task / encoder
            runs.append(report.read_run(folder, title))
            scores[task][encoder] = runs[-1].result["metrics"][headline]
    report.write_comparison(str(workdir / "report.html"), runs, title="Hummingbird demo")
    return scores


def print_summary(summary: dict[str, dict[str, float]]) -> None:
    """Prints both scores of every encoder and the seconds that the parts took."""
    print("\n                      segmentation, mIoU (higher is better)   depth, RMSE in metres (lower is better)")
    for encoder, title in TITLES.items():
        print(f"  {title:20s}{summary['segmentation'][encoder]:10.1f}{summary['depth'][encoder]:40.2f}")
    print("\n" + ", ".join(f"{part} {seconds:.0f} s" for part, seconds in summary["seconds"].items()))
    print("Rendered scenes are a toy world: these scores mean nothing on other data.")


@contextlib.contextmanager
def timed(path: Path, part: str) -> Iterator[None]:
    """Adds the seconds of the block to those of `part` in the file, also when the block is interrupted."""
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds: dict[str, float] = json.loads(path.read_text())
        seconds[part] = round(seconds.get(part, 0.0) + time.perf_counter() - start, 1)
        write_json(path, seconds)


if __name__ == "__main__":
    main()
