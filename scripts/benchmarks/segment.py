"""How fast a prompt answers: changed strokes, a new prompt image, a new image, and banks up to 100,000 keys.

    scripts/bench segment [--checkpoint=random:vit_s16] [--input_size=512] [--prompt=10] [--queries=20] [--runs=5]

Rendered scenes of --input_size pixels stand for photographs: how long anything takes does not depend on what they show,
only on how many patches are annotated, so both strokes (1 % of the pixels) and whole masks are measured. Prints the
seconds of each step, best of --runs, next to those of encoding an image, and the patches per second of search and label
transfer for each size of bank, keys random. With --large=10000 it measures one image of that side instead, in tiles of
--input_size: seconds, and the memory that the process takes at most, before and after.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable

import jax
import numpy as np
from sides.strokes import strokes

import hummingbird as hb
from hummingbird import config as configs
from hummingbird.data.interface import DenseSource
from hummingbird.data.sources import build_dense_source
from hummingbird.incontext.encoded import Encoded
from hummingbird.retrieval.bank.keys import normalise
from hummingbird.retrieval.threads import cpu_count

VOID, SHARE = 255, 0.01


def best(run: Callable[[], object], runs: int) -> float:
    """Returns the seconds of the fastest run."""
    found = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return min(found)


def main() -> None:
    """Measures and prints one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="random:vit_s16")
    parser.add_argument("--input_size", type=int, default=512)
    parser.add_argument("--prompt", type=int, default=10, help="annotated images")
    parser.add_argument("--queries", type=int, default=20, help="images with kept features")
    parser.add_argument("--banks", type=int, nargs="*", default=[10_000, 30_000, 100_000], help="keys")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--large", type=int, default=0, help="side of one large image, pixels")
    options = parser.parse_args()
    encoder = hb.load_encoder(options.checkpoint)
    size, count = options.input_size, options.prompt + options.queries + 1
    scenes = {"data.scenes.size": size, "data.scenes.prompt_images": count}
    source = build_dense_source(configs.resolve("evaluate", "evaluate/scenes", scenes), "prompt")
    items = [source[i] for i in range(count)]
    rng = np.random.default_rng(0)
    if options.large:
        print(json.dumps(rounded(large(encoder, source, options))))
        return
    result: dict[str, object] = {"checkpoint": options.checkpoint, "input_size": size, "images": options.prompt}
    result |= {"queries": options.queries, "backend": jax.default_backend(), "cpus": cpu_count()}
    prompt = hb.Prompt(encoder, source.classes, input_size=size, batch_size=1)
    images = [prompt.encode(item["image"]) for item in items]
    result["encode"] = best(lambda: prompt.encode(items[0]["image"]), options.runs)
    for name, share in {"strokes": SHARE, "masks": 1.0}.items():
        labels = [strokes(item["label"], share, rng) for item in items[: options.prompt]]
        other = [strokes(items[0]["label"], share, rng) for _ in range(options.runs + 1)]
        result[name] = steps(prompt, items, images, labels, other, options)
    result["banks"] = {
        str(length): bank(encoder, source.classes, images[-1], length, options) for length in options.banks
    }
    print(json.dumps(rounded(result)))


def steps(
    prompt: hb.Prompt,
    items: list,
    images: list[Encoded],
    labels: list[np.ndarray],
    other: list[np.ndarray],
    options: argparse.Namespace,
) -> dict[str, float]:
    """Returns the seconds of each step with these labels."""
    for id in list(prompt):
        prompt.remove(id)
    for i, label in enumerate(labels):
        prompt.add(images[i], label, id=str(i))
    queries, new = images[options.prompt : -1], items[-1]["image"]
    prompt.predict(queries)
    changes = iter(other)

    def changed() -> None:
        prompt.relabel("0", next(changes))
        prompt.predict(queries)

    def added() -> None:
        prompt.add(items[0]["image"], labels[0], id="new")
        prompt.remove("new")

    def grown() -> None:
        prompt.add(images[0], labels[0], id="new")
        prompt.predict(queries)
        prompt.remove("new")
        prompt.predict(queries)

    return {
        "keys": len(prompt._now),
        "changed_strokes_to_masks": best(changed, options.runs),
        "image_added_and_removed_to_masks": best(grown, options.runs),
        "add_with_encoding": best(added, options.runs),
        "add_encoded": best(lambda: (prompt.add(images[0], labels[0], id="new"), prompt.remove("new")), options.runs),
        "new_image_with_encoding": best(lambda: prompt.predict(new), options.runs),
        "new_image_apart_from_encoding": best(lambda: prompt.predict(fresh(images[-1])), options.runs),
    }


def bank(
    encoder: hb.encoder.Encoder, classes: list[str], query: Encoded, length: int, options: argparse.Namespace
) -> dict:
    """Returns the seconds of an image apart from encoding, with a bank of random keys."""
    rng, (patches, dim) = np.random.default_rng(0), query.features.shape
    prompt = hb.Prompt(encoder, classes, input_size=options.input_size, batch_size=1)
    label = rng.integers(0, len(classes), query.frame.cells.grid).repeat(16, 0).repeat(16, 1)
    label = label[: query.frame.height, : query.frame.width]
    for _ in range(-(-length // patches)):
        features = normalise(rng.normal(size=(patches, dim)).astype(np.float32))[0]
        prompt.add(Encoded(query.image, features, query.view, query.encoder), label)
    prompt.predict(fresh(query))
    seconds = best(lambda: prompt.predict(fresh(query)), options.runs)
    return {"keys": len(prompt._now), "seconds": seconds, "frames_per_second": 1 / seconds}


def large(encoder: hb.encoder.Encoder, source: DenseSource, options: argparse.Namespace) -> dict:
    """Returns the seconds and the memory of one large image, in tiles."""
    rng = np.random.default_rng(0)
    prompt = hb.Prompt(encoder, source.classes, input_size=options.input_size, resize="none")
    for i in range(options.prompt):
        prompt.add(source[i]["image"], strokes(source[i]["label"], SHARE, rng))
    times = -(-options.large // options.input_size)
    image = np.tile(source[options.prompt]["image"], (times, times, 1))[: options.large, : options.large].copy()
    prompt.predict(image[: options.input_size])
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    labels, confidence = prompt.predict(image)
    seconds = time.perf_counter() - start
    gigabytes = {"before": before / 1e6, "most": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}
    sizes = {"image": image.nbytes / 1e9, "result": sum(x.nbytes for x in (labels, *confidence)) / 1e9}
    return {
        "large": options.large,
        "backend": jax.default_backend(),
        "seconds": seconds,
        "gigabytes": gigabytes | sizes,
    }


def fresh(encoded: Encoded) -> Encoded:
    """Returns the same features as those of an image that the prompt has not met."""
    return Encoded(encoded.image, encoded.features, encoded.view, encoded.encoder)


def rounded(value: object) -> object:
    """Rounds floats to four digits."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
