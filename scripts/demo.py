"""`scripts/demo`: the whole job on the embedded data set, in minutes, with a report to look at.

Pretrains a small Hummingbird, then scores it, the same encoder with random weights and raw RGB patches on segmentation
and depth. Evaluation sees another world (seed) than pretraining. Finished parts are kept when it is called again.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import time
from typing import Any

from hummingbird import cli

TASKS = {"segmentation": "miou", "depth": "rmse"}
PRETRAIN = "configs/pretrain/demo.py"
EVALUATE = "configs/evaluate/demo.py"


def main() -> None:
    """Runs the demo; exits with the status of the first part that fails."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description="The whole job on the embedded data set.")
    parser.add_argument("--workdir", default="runs/demo", help="folder for checkpoints, results and the report")
    parser.add_argument("--setup-seconds", type=float, default=0.0, help="time the set-up took, for summary.json")
    parser.add_argument("--seed", type=int, default=0, help="seed of pretraining and of the worlds")
    arguments = parser.parse_args()
    raise SystemExit(run(pathlib.Path(arguments.workdir), arguments.setup_seconds, arguments.seed))


def run(workdir: pathlib.Path, setup_seconds: float, seed: int) -> int:
    """The demo in `workdir`; returns the exit status."""
    pretrained = workdir / "pretrain"
    clock = Stopwatch(workdir / "seconds.json")
    clock.seconds.setdefault("setup", setup_seconds)  # of the first call: later ones find everything installed
    worlds = {"pretrain": 2 * seed, "evaluate": 2 * seed + 1}
    print("1/3  pretraining a small Hummingbird on rendered scenes", flush=True)
    with clock("pretrain"):
        status = cli.run(
            [
                "pretrain",
                f"--config={PRETRAIN}",
                f"--workdir={pretrained}",
                f"--config.seed={seed}",
                f"--config.data.scenes.seed={worlds['pretrain']}",
            ]
        )
    if status:
        return status
    encoders = {"pretrained": str(pretrained), "random": f"random:{pretrained}", "rgb": f"rgb:{PATCH}"}
    print("2/3  retrieving segmentation and depth with it, with random weights and with raw pixels", flush=True)
    for task in TASKS:
        for name, checkpoint in encoders.items():
            folder = workdir / task / name
            if is_newer(folder / "metrics.json", pretrained / "metrics.jsonl"):
                continue
            with clock("evaluate"):
                status = cli.run(
                    [
                        "evaluate",
                        f"--config={EVALUATE}:{task}",
                        f"--checkpoint={checkpoint}",
                        f"--workdir={folder}",
                        f"--config.data.scenes.seed={worlds['evaluate']}",
                        "--config.encoder.network=target",
                    ]
                )
            if status:
                return status
    print("3/3  writing the report", flush=True)
    with clock("evaluate"):
        results = {task: {name: read(workdir / task / name) for name in encoders} for task in TASKS}
        write_report(workdir, results)
    summary: dict[str, Any] = {
        task: {name: result["metrics"][TASKS[task]] for name, result in by_name.items()}
        for task, by_name in results.items()
    }
    summary["seconds"] = clock.seconds
    (workdir / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    show(workdir, summary)
    return 0


def is_newer(result: pathlib.Path, than: pathlib.Path) -> bool:
    """Whether a result is there and was made after another file."""
    return result.exists() and result.stat().st_mtime > than.stat().st_mtime


PATCH = 8  # of the demo's encoder, so that raw pixels are compared patch by patch


def read(folder: pathlib.Path) -> dict[str, Any]:
    """metrics.json of an evaluation."""
    return json.loads((folder / "metrics.json").read_text())


def write_report(workdir: pathlib.Path, results: dict[str, dict[str, Any]]) -> None:
    """One page that shows every encoder on both tasks side by side."""
    from hummingbird.retrieval import report
    from hummingbird.retrieval.samples import load_samples

    titles = {"pretrained": "Hummingbird", "random": "random weights", "rgb": "raw RGB patches"}
    runs = [
        {"name": titles[name], "metrics": metrics, "samples": load_samples(str(workdir / task / name / "samples.npz"))}
        for task, by_name in results.items()
        for name, metrics in by_name.items()
    ]
    report.write_comparison(str(workdir / "report.html"), runs, title="Hummingbird demo")


def show(workdir: pathlib.Path, summary: dict[str, Any]) -> None:
    """Prints both numbers of every encoder, and where the report lies."""
    print("\n                      segmentation, mIoU (higher is better)   depth, RMSE in metres (lower is better)")
    for name in summary["segmentation"]:
        print(f"  {name:20s}{summary['segmentation'][name]:10.1f}{summary['depth'][name]:40.2f}")
    seconds = ", ".join(f"{part} {value:.0f} s" for part, value in summary["seconds"].items())
    print(f"\n{seconds}\nA toy world: these numbers mean nothing elsewhere.\nReport: {workdir / 'report.html'}")


class Stopwatch:
    """Seconds per part, added up over interrupted runs."""

    def __init__(self, path: pathlib.Path):
        self.path = path
        self.seconds: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}

    def __call__(self, part: str) -> Stopwatch:
        self.part = part
        return self

    def __enter__(self) -> None:
        self.since = time.perf_counter()

    def __exit__(self, *_: Any) -> None:
        total = self.seconds.get(self.part, 0.0) + time.perf_counter() - self.since
        self.seconds[self.part] = round(total, 1)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.seconds))


if __name__ == "__main__":
    main()
