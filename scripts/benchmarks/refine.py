"""Refinements of a prompt's votes: mIoU and boundary IoU at the images' own size, and seconds an image.

    scripts/bench refine --checkpoint=runs/demo/pretrain [--camvid=camvid_mini] [--input_size=128] [--sides=guided]

The prompt is the whole training set with full masks, on the rendered `scenes` and, if --camvid names a folder in the
layout of `configs/evaluate/folder.py`, on that. `sides/refinements.py` has the refinements; `ours` is what a prompt
does with refine=guided, `none` without.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
from sides.refinements import SIDES

import hummingbird as hb
from hummingbird import config as configs
from hummingbird.data.interface import DenseSource
from hummingbird.data.sources import build_dense_source
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
    parser.add_argument("--checkpoint", default="runs/demo/pretrain")
    parser.add_argument("--camvid", default="", help="a folder of images and masks")
    parser.add_argument("--input_size", type=int, default=128, help="for --camvid; scenes are encoded at 96")
    parser.add_argument("--sides", default="", help="beginnings of the names of refinements, with commas; default: all")
    options = parser.parse_args()
    wanted = tuple(options.sides.split(","))
    sides = {name: side for name, side in SIDES.items() if name == "none" or name.startswith(wanted)}
    sides |= {"ours": None} if "ours".startswith(wanted) else {}
    encoder, result = hb.load_encoder(options.checkpoint), {}
    data = {"scenes": ("evaluate/scenes", {}, 96)}
    if options.camvid:
        data["camvid"] = ("evaluate/folder", {"data.root": options.camvid}, options.input_size)
    for name, (file, overrides, size) in data.items():
        config = configs.resolve("evaluate", file, overrides)
        prompt_set, queries = (build_dense_source(config, split) for split in ("prompt", "query"))
        prompt = hb.Prompt(encoder, prompt_set.classes, input_size=size)
        for i in range(len(prompt_set)):
            prompt.add(prompt_set[i]["image"], prompt_set[i]["label"])
        result[name] = score(prompt, queries, sides)
    print(json.dumps({"checkpoint": options.checkpoint, "input_size": options.input_size, **result}))


def score(prompt: hb.Prompt, queries: DenseSource, sides: dict) -> dict[str, dict[str, float]]:
    """Returns mIoU, boundary IoU and seconds an image of each refinement."""
    count = len(queries.classes)
    iou = {name: SegmentationMetrics(queries.classes) for name in sides}
    boundary = {name: BoundaryIou(count) for name in sides}
    seconds = dict.fromkeys(sides, 0.0)
    for i in range(len(queries)):
        item = queries[i]
        encoded, now, chosen = prompt.encode(item["image"]), prompt._filled(), prompt.settings
        found = vote(now, search(now, encoded.features, chosen.neighbours), chosen.neighbours, chosen.temperature)
        frame = encoded.frame
        (rows, columns), canvas = frame.shown, frame.canvas
        grid = np.ascontiguousarray(found.votes.reshape(*frame.grid, -1)[:rows, :columns])
        down = interpolation(rows, canvas[0])[: frame.height]
        across = interpolation(columns, canvas[1])[: frame.width].T
        candidates = np.flatnonzero(grid.max((0, 1)) > LEAST)
        planes = np.stack([down @ grid[..., c] @ across for c in candidates])
        for name, side in sides.items():
            start = time.perf_counter()
            if side is None:
                labels = refined_winners(grid, canvas, item["image"]).classes
            else:
                labels = candidates[side(planes, item["image"]).argmax(0)].astype(np.int32)
            seconds[name] += time.perf_counter() - start
            iou[name].add(item["label"], labels)
            boundary[name].add(item["label"], labels)
    return {
        name: {
            "miou": round(float(iou[name].result()["miou"]), 2),
            "boundary_iou": round(boundary[name].result(), 2),
            "seconds": round(seconds[name] / len(queries), 4),
        }
        for name in sides
    }


if __name__ == "__main__":
    main()
