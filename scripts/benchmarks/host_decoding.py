"""What the host does for each image of an evaluation: decoding, resizing, local labels; PASCAL VOC extrapolated.

    scripts/bench host_decoding [--images=FOLDER] [--count=64] [--input_size=512] [--cores=16]

JPEGs of VOC's size (500 x 375 pixels) and masks of 21 classes lie in a folder and pass through the code of an
evaluation. Parts are CPU milliseconds of an image on one thread. The whole runs on all threads that an evaluation uses.
The encoder is not run: this is the time that an accelerator would wait for if it took none. The extrapolation is to the
paper's PASCAL VOC: 10,582 prompt images in two augmented passes, 1,449 queries; --cores says for which machine.

`scripts/bench host_decoding` with JPEGs of ImageNet, on two cores that other programs used as well: 23 ms a prompt
image (3.6 of them decoding), 12 ms a query; 513 CPU seconds for VOC, 32 s on 16 cores if nothing else uses them.

The default of --images is ../shared/data/imagenet_mini; if that is missing, scenes are rendered.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import tempfile
import time
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from PIL import Image

from hummingbird import config
from hummingbird.data.image_files import SUFFIXES, decode_image
from hummingbird.data.label_files import decode_ids
from hummingbird.data.scenes import render
from hummingbird.data.sources import build_dense_source
from hummingbird.retrieval.examples import prepare_prompt, prepare_query
from hummingbird.retrieval.protocol import build_protocol
from hummingbird.retrieval.threads import cpu_count, in_order
from hummingbird.tasks import build_task

ROOT = pathlib.Path(__file__).resolve().parents[2]
SIZE, CLASSES, PATCH = (500, 375), 21, 16
PROMPT, PASSES, QUERIES = 10_582, 2, 1_449


def pictures(folder: pathlib.Path, count: int) -> list[Image.Image]:
    """Returns photographs of a folder in VOC's size, or rendered scenes."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)[:count]
    found = [Image.open(path).convert("RGB") for path in files] or [
        Image.fromarray(render(0, number, 384)["image"]) for number in range(min(count, 16))
    ]
    return [found[number % len(found)].resize(SIZE) for number in range(count)]


def write(root: pathlib.Path, images: Sequence[Image.Image]) -> None:
    """Writes a data set: JPEGs, masks of large regions, lists, and the names of the classes."""
    rng = np.random.default_rng(0)
    (root / "images").mkdir()
    (root / "labels").mkdir()
    for number, image in enumerate(images):
        image.save(root / "images" / f"{number}.jpg", quality=90)
        regions = Image.fromarray(rng.integers(0, CLASSES, (4, 5), np.uint8))
        regions.resize(SIZE, Image.Resampling.NEAREST).save(root / "labels" / f"{number}.png")
    names = "".join(f"{number}\n" for number in range(len(images)))
    (root / "train.txt").write_text(names)
    (root / "val.txt").write_text(names)
    (root / "classes.json").write_text(json.dumps([f"class {number}" for number in range(CLASSES)]))


def cpu_ms(work: Callable[[int], object], count: int) -> float:
    """Returns the CPU milliseconds of a call, the least of three rounds over all numbers."""
    rounds = []
    for _ in range(3):
        start = time.process_time()
        for number in range(count):
            work(number)
        rounds.append(time.process_time() - start)
    return round(1000 * min(rounds) / count, 2)


def measure(root: pathlib.Path, count: int, input_size: int, cores: int) -> dict[str, object]:
    """Measures one image and all parts of it; see the module."""
    given = {"input_size": input_size, "data.name": "folder", "data.root": str(root)}
    settings = config.resolve("evaluate", overrides={**given, "data.folder.classes": "classes.json"})
    prompt, query = build_dense_source(settings, "prompt"), build_dense_source(settings, "query")
    task = build_task(prompt, settings)
    protocol = build_protocol(settings, task, PATCH, "own")

    def prepare(number: int) -> object:
        example = prepare_prompt(prompt, number % count, number // count, task, protocol)
        return task.local_labels(example.label, example.cells)

    jpegs = [(root / "images" / f"{number}.jpg").read_bytes() for number in range(count)]
    masks = [(root / "labels" / f"{number}.png").read_bytes() for number in range(count)]
    with_labels = cpu_ms(prepare, count)
    parts = {
        "decode_jpeg": cpu_ms(lambda number: decode_image(jpegs[number], "x"), count),
        "decode_mask": cpu_ms(lambda number: decode_ids(masks[number], "x"), count),
        "prompt": with_labels,
        "query": cpu_ms(lambda number: prepare_query(query, number, task, protocol), count),
    }
    start = time.perf_counter()
    for _ in in_order(prepare, range(2 * count)):
        pass
    wall = (time.perf_counter() - start) / (2 * count)
    cpu = (PROMPT * PASSES * parts["prompt"] + QUERIES * parts["query"]) / 1000
    return {
        "cpu_ms_an_image": parts,
        "threads": min(16, cpu_count()),
        "prompt_images_per_second": round(1 / wall, 1),
        "voc_encodings": PROMPT * PASSES + QUERIES,
        "voc_cpu_seconds": round(cpu, 1),
        "voc_seconds_here": round((PROMPT * PASSES + QUERIES) * wall, 1),
        f"voc_seconds_on_{cores}_cores": round(cpu / cores, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=pathlib.Path, default=ROOT.parent / "shared/data/imagenet_mini")
    for name, default in (("count", 64), ("input_size", 512), ("cores", 16)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory(prefix="hummingbird-bench-") as scratch:
        write(pathlib.Path(scratch), pictures(options.images, options.count))
        found = measure(pathlib.Path(scratch), options.count, options.input_size, options.cores)
    print(json.dumps({"benchmark": "host_decoding", "count": options.count, **found}))


if __name__ == "__main__":
    main()
