"""Refinements of a prompt's votes: mIoU and boundary IoU at the images' own size, and seconds an image.

    scripts/bench refine --checkpoint=runs/hummingbird [--camvid=camvid_mini] [--input_size=128] [--sides=guided]

The prompt is the whole training set with full masks, on the rendered `scenes` and, if --camvid names a folder in the
layout of `configs/evaluate/folder.py`, on that. `sides/refinements.py` has the refinements of votes; `ours` is what a
prompt does with refine=guided, `none` without. `sides/features.py` upsamples the features of an image to twice the grid
instead, before the search; its seconds include search and votes.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
from sides import labelled
from sides.features import FEATURES
from sides.refinements import SIDES

import hummingbird as hb
from hummingbird.data.interface import DenseSource
from hummingbird.incontext.encoded import Frame, unit
from hummingbird.incontext.nearest import search
from hummingbird.incontext.refine import refined_winners
from hummingbird.incontext.votes import vote
from hummingbird.tasks.boundary_iou import BoundaryIou
from hummingbird.tasks.class_metrics import SegmentationMetrics
from hummingbird.tasks.upsampling import interpolation

LEAST = 0.02  # votes of a class somewhere in an image, from which on it is a candidate


def main() -> None:
    """Scores all refinements on the same votes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    labelled.add_options(parser)
    parser.add_argument("--sides", default="", help="beginnings of the names of refinements, with commas; default: all")
    options = parser.parse_args()
    wanted = tuple(options.sides.split(","))
    sides = {name: side for name, side in SIDES.items() if name == "none" or name.startswith(wanted)}
    sides |= {"ours": None} if "ours".startswith(wanted) else {}
    finer = {name: side for name, side in FEATURES.items() if name.startswith(wanted)}
    encoder, result = hb.load_encoder(options.checkpoint), {}
    for name, prompt_set, queries, size in labelled.data_sets(options):
        prompt = hb.Prompt(encoder, prompt_set.classes, input_size=size)
        for i in range(len(prompt_set)):
            prompt.add(prompt_set[i]["image"], prompt_set[i]["label"])
        result[name] = score(prompt, queries, sides, finer)
    print(json.dumps({"checkpoint": options.checkpoint, "input_size": options.input_size, **result}))


def score(prompt: hb.Prompt, queries: DenseSource, sides: dict, finer: dict) -> dict[str, dict[str, float]]:
    """Returns mIoU, boundary IoU and seconds an image of each refinement of votes and of features."""
    names = [*sides, *finer]
    iou = {name: SegmentationMetrics(queries.classes) for name in names}
    boundary = {name: BoundaryIou(len(queries.classes)) for name in names}
    seconds = dict.fromkeys(names, 0.0)

    def add(name, item, start, labels) -> None:
        seconds[name] += time.perf_counter() - start
        iou[name].add(item["label"], labels)
        boundary[name].add(item["label"], labels)

    for i in range(len(queries)):
        item = queries[i]
        image, encoded = item["image"], prompt.encode(item["image"])
        frame, (rows, columns) = encoded.frame, encoded.frame.cells.shown
        features = encoded.features.reshape(*frame.cells.grid, -1)[:rows, :columns]
        grid = votes_of(prompt, features)
        candidates, planes = upsampled(grid, frame)
        for name, side in sides.items():
            start = time.perf_counter()
            if side is None:
                labels = refined_winners(grid, frame.canvas, image).classes
            else:
                labels = candidates[side(planes, image).argmax(0)].astype(np.int32)
            add(name, item, start, labels)
        for name, side in finer.items():
            start = time.perf_counter()
            chosen, planes = upsampled(votes_of(prompt, side(features, image)), frame)
            add(name, item, start, chosen[planes.argmax(0)].astype(np.int32))
    return {
        name: {
            "miou": round(float(iou[name].result()["miou"]), 2),
            "boundary_iou": round(boundary[name].result(), 2),
            "seconds": round(seconds[name] / len(queries), 4),
        }
        for name in names
    }


def votes_of(prompt: hb.Prompt, features: np.ndarray) -> np.ndarray:
    """Returns what the neighbours of a grid of features vote, [h, w, D] to [h, w, C]."""
    now, chosen = prompt._filled(), prompt.settings
    units = unit(features.reshape(-1, features.shape[-1]))
    found = vote(now, search(now, units, chosen.neighbours), chosen.neighbours, chosen.temperature)
    return np.ascontiguousarray(found.votes.reshape(*features.shape[:2], -1))


def upsampled(grid: np.ndarray, frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """Returns the classes with enough votes, and their votes at the pixels of the image, [P, H, W]."""
    down = interpolation(grid.shape[0], frame.canvas[0])[: frame.height]
    across = interpolation(grid.shape[1], frame.canvas[1])[: frame.width].T
    candidates = np.flatnonzero(grid.max((0, 1)) > LEAST)
    return candidates, np.stack([down @ grid[..., c] @ across for c in candidates])


if __name__ == "__main__":
    main()
