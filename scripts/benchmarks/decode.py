"""From neighbours to scores: label transfer, upsampling, argmax and metrics of query images, per image and per cell.

    scripts/bench decode [--height=2000] [--width=3000] [--classes=150] [--neighbours=30] [--images=4] [--stray=0.1]

The side `planes` takes one image after the other, and upsamples every class that may win somewhere in it; ours takes
the classes that may win in each cell, and several images at once. Neighbours are those of an image of regions, a share
--stray of them of any class. Prints the seconds of an image, best of three runs, and by part on one thread.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import numpy as np
from sides import planes

from hummingbird.retrieval.decode import attention_weights
from hummingbird.retrieval.threads import cpu_count, in_order
from hummingbird.tasks.class_counts import ClassCounts
from hummingbird.tasks.class_metrics import SegmentationMetrics
from hummingbird.tasks.upsampling import upsampled_argmax

GRID, BANK = 32, 100_000
Argmax = Callable[[np.ndarray, int, int], np.ndarray]


class Images:
    """Neighbours and truths of query images that are drawn once."""

    def __init__(self, options: argparse.Namespace):
        rng = np.random.default_rng(0)
        count, k, classes = options.images, options.neighbours, options.classes
        self.classes, self.size = classes, (options.height, options.width)
        regions = rng.integers(0, classes, (count, 6, 6)).repeat(-(-GRID // 6), 1).repeat(-(-GRID // 6), 2)
        wanted = regions[:, :GRID, :GRID].reshape(count, -1, 1).repeat(k, 2)
        stray = rng.random(wanted.shape) < options.stray
        wanted[stray] = rng.integers(0, classes, int(stray.sum()))
        # Entry j is of class j mod C, so that any entry of a class is found by arithmetic.
        self.ids = (wanted + classes * rng.integers(0, BANK // classes, wanted.shape)).astype(np.int32)
        self.similarity = -np.sort(-rng.uniform(0.5, 0.9, wanted.shape).astype(np.float32), axis=-1)
        ones = np.ones(BANK, np.uint16)
        self.labels = ClassCounts(classes, ones, (np.arange(BANK) % classes).astype(np.uint16), 256 * ones)
        self.truth = rng.integers(0, classes, self.size).astype(np.int32)

    def votes(self, image: int) -> np.ndarray:
        """Label transfer (Eq. 1)."""
        weights = attention_weights(self.similarity[image], 0.02)
        return self.labels.vote(self.ids[image], weights).reshape(GRID, GRID, -1)

    def decode(self, image: int, argmax: Argmax) -> SegmentationMetrics:
        """All that happens to an image after the search."""
        metrics = SegmentationMetrics([str(number) for number in range(self.classes)])
        metrics.add(self.truth, argmax(self.votes(image), *self.size))
        return metrics


def best(run: Callable[[], object]) -> float:
    """Returns the seconds of the fastest of three runs, after one that warms up."""
    run()
    times = []
    for _ in range(3):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return round(min(times), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("height", 2000), ("width", 3000), ("classes", 150), ("neighbours", 30), ("images", 4)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--stray", type=float, default=0.1)
    options = parser.parse_args()
    images, numbers, threads = Images(options), range(options.images), cpu_count()
    votes = images.votes(0)
    sides = {"planes": planes.upsampled_argmax, "ours": upsampled_argmax}
    found = {name: argmax(votes, *images.size) for name, argmax in sides.items()}
    metrics = SegmentationMetrics([str(number) for number in range(options.classes)])
    whole = {
        "planes": best(lambda: [images.decode(number, planes.upsampled_argmax) for number in numbers]),
        "ours": best(lambda: list(in_order(lambda number: images.decode(number, upsampled_argmax), numbers, threads))),
    }
    result = {
        "benchmark": "decode",
        "options": vars(options),
        "threads": threads,
        "seconds_per_image": {name: round(seconds / options.images, 4) for name, seconds in whole.items()},
        "upsampled_argmax": {name: best(lambda a=argmax: a(votes, *images.size)) for name, argmax in sides.items()},
        "label_transfer": best(lambda: images.votes(0)),
        "metrics": best(lambda: metrics.add(images.truth, found["ours"])),
        "times_faster": round(whole["planes"] / whole["ours"], 2),
        "same_pixels": float(np.mean(found["planes"] == found["ours"])),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
