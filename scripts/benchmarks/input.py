"""The input pipeline: augmented view pairs against torchvision, labelled prompt images against PyTorch's one-hot.

    scripts/bench input [--images=FOLDER] [--size=224] [--rounds=3] [--accelerator=2000]

1. View pairs (Table 8), from full-size JPEGs in memory to two augmented views. Ours decodes once and crops twice on the
   host; flip, colour, blur and solarisation are compiled and here run on the CPU. torchvision uses RandomResizedCrop,
   flip, ColorJitter, greyscale, GaussianBlur and solarise on Pillow images. Figures are CPU seconds of one process in
   interleaved rounds, so they hold for one core whatever else runs. On an accelerator only the host part counts: it
   gives the share of time that an accelerator of --accelerator images a second would wait for this machine's cores.
2. Reading (with --entries): the seconds that it takes to list that many tiny images and to start with the list, from
   folders, tar archives and ArrayRecord, locally and from a bucket on loopback that takes 20 ms a request; what a list
   of 14.2 million takes in seconds, on disk and in memory; images per second from that bucket with and without latency,
   and locally with one core and with two.
3. Labels, for images and masks of VOC's size. Ours decodes, augments (Table 7) and labels patches of 16 x 16 pixels
   with 150 classes. PyTorch's side is only torch.nn.functional.one_hot and a mean over each patch, on a mask that is
   already decoded and augmented.

Needs torch and torchvision, which scripts/setup installs if there is a CPU build of torch. The default of --images is
../shared/data/imagenet_mini; if that is missing, scenes of 500 x 375 pixels are rendered.

`scripts/bench input --rounds=5` on two cores with 125 JPEGs of ImageNet: 206 view pairs per second and core (host
alone), 70 (with our device part on the same core) and 48 (torchvision): 4.2x and 1.44x. An accelerator of 2,000 images
a second would wait 79% of the time for these two cores; ten cores keep it busy. Labels take 12.0 ms per image against
255 ms for the one-hot alone: 21x.

`--entries=16000` on the same machine: folders are listed in 0.08 s, archives in 1.5 s, converted to ArrayRecord in 1.6
s; archives in the bucket are listed in 1.5 s and 30 requests, and a run starts on that list in 0.5 s and 17 requests,
locally in 2 ms. `--entries=1280000`: folders 10.7 s, archives 125 s, conversion 146 s; archives in the bucket 89 s and
143 requests; a run starts on that list with 18 requests, locally in 0.08 s. A list of 14.2 million images is packed in
21 s and mapped in 7 ms; it takes 405 MB of disk and 110 MB of memory with every hundredth image read. Two cores read
1.87 times as many images as one. With 20 ms of latency the bucket gives 187 images a second instead of 210 (89%; 142
instead of 153, 93%, on another day), at the same processor seconds; the bucket's server and the pipeline share the two
cores.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time

import cv2
import jax
import numpy as np
from PIL import Image
from sides import reading
from sides.load_torchvision import import_torchvision

from hummingbird import config as settings
from hummingbird.data import augment, crops
from hummingbird.data.image_files import SUFFIXES, decode_image
from hummingbird.data.label_files import decode_ids
from hummingbird.data.prompt_augment import augment_prompt
from hummingbird.data.scenes import render
from hummingbird.tasks.segmentation import SegmentationTask, patch_labels

ROOT = pathlib.Path(__file__).resolve().parents[2]
BATCH = 32
CLASSES, PATCH, PROMPT_SIZE = 150, 16, 512


def jpegs(folder: pathlib.Path) -> list[bytes]:
    """Returns encoded photographs, or rendered scenes stretched to the usual size of a photograph."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)[:128]
    if files:
        return [path.read_bytes() for path in files]
    encoded = []
    for i in range(32):
        buffer = io.BytesIO()
        Image.fromarray(render(0, i, 384)["image"]).resize((500, 375)).save(buffer, "JPEG", quality=90)
        encoded.append(buffer.getvalue())
    return encoded


def cpu_seconds(work) -> float:
    """Returns the CPU seconds that all threads of this process spend in `work()`."""
    start = time.process_time()
    work()
    return time.process_time() - start


def torchvision_views(size: int):
    """Returns a function bytes -> two uint8 tensors: T1 and T2 of Table 8 with torchvision."""
    t = import_torchvision()

    def view(blur: float, solarise: float):
        return t.Compose(
            [
                t.RandomResizedCrop(size, scale=(0.08, 1.0), interpolation=t.InterpolationMode.BICUBIC),
                t.RandomHorizontalFlip(),
                t.RandomApply([t.ColorJitter(0.4, 0.4, 0.2, 0.1)], 0.8),
                t.RandomGrayscale(0.2),
                t.RandomApply([t.GaussianBlur(23, (0.1, 2.0))], blur),
                t.RandomSolarize(128, solarise),
                t.PILToTensor(),
            ]
        )

    first, second = view(1.0, 0.0), view(0.1, 0.2)

    def both(data: bytes):
        image = Image.open(io.BytesIO(data)).convert("RGB")
        return first(image), second(image)

    return both


def measure_views(data: list[bytes], size: int, rounds: int) -> dict[str, float]:
    """Returns the median CPU milliseconds per pair of views: host, device, torchvision."""
    theirs = torchvision_views(size)
    options = augment.build_photometric(settings.resolve("pretrain", overrides={"input_size": size}))
    on_device = jax.jit(augment.photometric, static_argnums=2)
    batch = np.zeros((BATCH, 2, size, size, 3), np.uint8)
    jax.block_until_ready(on_device(jax.random.key(0), batch, options))
    table = settings.resolve("pretrain").augment
    area, aspect = tuple(table.crop_area), tuple(table.crop_aspect)
    spent: dict[str, list[float]] = {"host": [], "device": [], "torchvision": []}
    for turn in range(rounds):

        def host(turn=turn):
            for i in range(BATCH):
                rng = np.random.default_rng([turn, i])
                batch[i] = crops.crop_views(rng, data[(turn * BATCH + i) % len(data)], size, area, aspect)

        def device(turn=turn):
            jax.block_until_ready(on_device(jax.random.key(turn), batch, options))

        def other(turn=turn):
            for i in range(BATCH):
                theirs(data[(turn * BATCH + i) % len(data)])

        for name, work in (("host", host), ("device", device), ("torchvision", other)):
            spent[name].append(cpu_seconds(work) / BATCH * 1000)
    return {name: statistics.median(times) for name, times in spent.items()}


def measure_labels(rounds: int) -> dict[str, float]:
    """Returns the median CPU milliseconds per prompt image: all our steps, and PyTorch's one-hot alone."""
    import torch

    scene = render(0, 0, 500)
    image, mask = scene["image"][:375], (scene["mask"][:375] * 9 % CLASSES).astype(np.uint8)
    encoded = cv2.imencode(".jpg", image)[1].tobytes(), cv2.imencode(".png", mask)[1].tobytes()

    task = SegmentationTask([str(i) for i in range(CLASSES)])

    def ours(turn: int):
        picture = decode_image(encoded[0], "image")
        label = decode_ids(encoded[1], "mask").astype(np.int32)
        _, window = augment_prompt(np.random.default_rng(turn), picture, PROMPT_SIZE)
        return task.local_labels(label, window.cells(PATCH))

    def theirs(label: torch.Tensor):
        one_hot = torch.nn.functional.one_hot(label, CLASSES + 1).float()
        side = PROMPT_SIZE // PATCH
        return one_hot.reshape(side, PATCH, side, PATCH, CLASSES + 1).mean((1, 3))

    squashed = cv2.resize(mask, (PROMPT_SIZE, PROMPT_SIZE), interpolation=cv2.INTER_NEAREST).astype(np.int64)
    label = torch.from_numpy(squashed)
    if not np.allclose(
        theirs(label)[..., :CLASSES].reshape(-1, CLASSES), patch_labels(squashed, PATCH, CLASSES).reshape(-1, CLASSES)
    ):
        sys.exit("the two labellings disagree")
    spent: dict[str, list[float]] = {"ours": [], "one_hot": []}
    for turn in range(3 * rounds):
        spent["ours"].append(cpu_seconds(lambda turn=turn: ours(turn)) * 1000)
        spent["one_hot"].append(cpu_seconds(lambda: theirs(label)) * 1000)
    return {name: statistics.median(times) for name, times in spent.items()}


def measure_reading(data: list[bytes], arguments: argparse.Namespace) -> dict[str, object]:
    """Returns what starting and reading take; see `sides/reading.py`."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        tiny = io.BytesIO()
        Image.new("RGB", (8, 8)).save(tiny, "JPEG")
        photographs = folder / "photographs"
        photographs.mkdir()
        for i, content in enumerate(data):
            (photographs / f"{i:05d}.jpg").write_bytes(content)
        return {
            "entries": arguments.entries,
            "list_of_14.2_million": reading.measure_mapping(folder, 14_200_000),
            "seconds": reading.measure_lists(folder / "lists", arguments.entries, tiny.getvalue()),
            "images_per_second_by_latency": reading.measure_latency(folder / "tar", data, 32, arguments.rounds),
            "images_per_second_by_cores": reading.measure_cores(str(photographs), 8, arguments.rounds),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=pathlib.Path, default=ROOT.parent / "shared" / "data" / "imagenet_mini")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--entries", type=int, default=0, help="images to list; 0: leave out reading")
    parser.add_argument("--accelerator", type=float, default=2000.0, help="images per second it consumes")
    arguments = parser.parse_args()
    import_torchvision()
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    data = jpegs(arguments.images)
    views, labels = measure_views(data, arguments.size, arguments.rounds), measure_labels(arguments.rounds)
    cores = os.cpu_count() or 1
    whole = views["host"] + views["device"]
    supplied = 1000 / views["host"] * cores
    result = {
        "benchmark": "input",
        "images": len(data),
        "size": arguments.size,
        "pairs_per_core_second": {
            "host": 1000 / views["host"],
            "host_and_device_on_cpu": 1000 / whole,
            "torchvision": 1000 / views["torchvision"],
        },
        "host_ratio": views["torchvision"] / views["host"],
        "whole_ratio": views["torchvision"] / whole,
        "accelerator_images_per_second": arguments.accelerator,
        "cores": cores,
        "accelerator_waits_share": max(0.0, 1 - supplied / arguments.accelerator),
        "cores_to_keep_it_busy": arguments.accelerator * views["host"] / 1000,
        "label_ms": {"decode_augment_label": labels["ours"], "torch_one_hot_alone": labels["one_hot"]},
        "label_ratio": labels["one_hot"] / labels["ours"],
    }
    if arguments.entries:
        result["reading"] = measure_reading(data, arguments)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
