"""Whether predictions of past frames help to segment a video: mIoU with and without temporal memory.

    scripts/bench temporal_memory [--checkpoint=rgb:8] [--root=FOLDER] [--input_size=128] [--prompts=1,2,5]

The frames of one recording (by default CamVid's, in ../shared/data/camvid_mini, four frames of the recording apart)
are labelled one after another from the first ones, as `hummingbird segment` labels a video: a confident prediction
joins the prompt for `video.memory` frames. Every frame but those of the prompt counts.
"""

from __future__ import annotations

import argparse
import json
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hummingbird import load_encoder
from hummingbird.data.image_files import decode_image
from hummingbird.data.label_files import decode_ids
from hummingbird.incontext.encoded import Encoded
from hummingbird.incontext.prompt import Prompt
from hummingbird.incontext.segment.memory import Memory
from hummingbird.tasks import SegmentationTask

ROOT = pathlib.Path(__file__).resolve().parents[2]
VOID = 255
# (video.memory, video.memory_every, video.memory_confidence)
SETTINGS = ((0, 1, 1.0), (5, 1, 0.5), (5, 1, 0.7), (5, 1, 0.9), (20, 1, 0.7), (20, 1, 0.9), (20, 5, 0.9), (50, 5, 0.9))


class Shot(NamedTuple):
    """A frame with its features and its true mask."""

    features: Encoded
    truth: np.ndarray


def main() -> None:
    """Prints one JSON line: mIoU by the number of annotated frames, and by memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="rgb:8")
    parser.add_argument("--root", default=str(ROOT.parent / "shared" / "data" / "camvid_mini"))
    parser.add_argument("--input_size", type=int, default=128)
    parser.add_argument("--prompts", default="1,2,5")
    arguments = parser.parse_args()
    root = pathlib.Path(arguments.root)
    paths = sorted((root / "images").iterdir())
    truths = [decode_ids((root / "labels" / f"{path.stem}.png").read_bytes(), path.stem) for path in paths]
    classes = {int(number): str(number) for number in np.unique(np.stack(truths)) if number != VOID}
    prompt = Prompt(load_encoder(arguments.checkpoint), classes, input_size=arguments.input_size)
    encoded = prompt.encode([decode_image(path.read_bytes(), path.name) for path in paths])
    shots = [Shot(*pair) for pair in zip(encoded, truths, strict=True)]
    found = {
        count: {"/".join(map(str, setting)): score(prompt, shots, int(count), *setting) for setting in SETTINGS}
        for count in arguments.prompts.split(",")
    }
    print(json.dumps({"checkpoint": arguments.checkpoint, "frames": len(shots), "miou": found}))


def score(prompt: Prompt, shots: Sequence[Shot], count: int, length: int, every: int, confidence: float) -> float:
    """Returns the mIoU of all frames after the first `count`, which are annotated."""
    metrics = SegmentationTask([str(number) for number in range(256)], VOID).metrics()
    names = [prompt.add(shot.features, shot.truth) for shot in shots[:count]]
    with Memory(prompt, length, every, confidence) as memory:
        for number, shot in enumerate(shots[count:]):
            found = prompt.predict(shot.features)
            memory.add(number, shot.features, found)
            metrics.add(shot.truth.astype(np.int32), found.labels.astype(np.int32))
    for name in names:
        prompt.remove(name)
    miou = metrics.result()["miou"]
    return round(miou, 2) if isinstance(miou, float) else float("nan")


if __name__ == "__main__":
    main()
