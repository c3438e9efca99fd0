"""How many annotated pixels a prompt needs: mIoU over 0.1, 1, 10 and 100 %, beside napari-convpaint's classifiers.

    scripts/bench strokes --checkpoint=runs/hummingbird [--camvid=camvid_mini] [--input_size=128] [--images=34]

`sides/strokes.py` draws the strokes, `sides/convpaint.py` has the classifiers; all sides get the same strokes on the
same features. Prints mIoU at the images' own size, the seconds from strokes to a model (`fit`), and those of an image
apart from its encoding (`predict`).
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
from sides import labelled
from sides.convpaint import PixelClassifier
from sides.strokes import strokes

import hummingbird as hb
from hummingbird.incontext.encoded import Encoded
from hummingbird.tasks.class_metrics import SegmentationMetrics

SHARES = (0.001, 0.01, 0.1, 1.0)
# The second: the paper's settings for few data (Table 6).
SEARCHES = {
    "prompt": {},
    "prompt, few-data settings": {"neighbours": 90, "temperature": 0.1},
    "prompt, refine=guided": {"refine": "guided"},
}
CLASSIFIERS = ("random forest", "gradient boosting")


def main() -> None:
    """Measures and prints one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    labelled.add_options(parser)
    parser.add_argument("--images", type=int, default=34, help="annotated images at most")
    parser.add_argument("--queries", type=int, default=17, help="images to predict at most")
    parser.add_argument("--classifiers", nargs="*", default=CLASSIFIERS)
    options = parser.parse_args()
    encoder, result = hb.load_encoder(options.checkpoint), {}
    for name, prompt_set, queries, size in labelled.data_sets(options):
        prompt = hb.Prompt(encoder, prompt_set.classes, input_size=size)
        shown = [prompt_set[i] for i in range(min(options.images, len(prompt_set)))]
        wanted = [queries[i] for i in range(min(options.queries, len(queries)))]
        images = prompt.encode([item["image"] for item in shown]), prompt.encode([item["image"] for item in wanted])
        result[name] = {
            f"{100 * share:g}%": score(prompt, *images, shown, wanted, share, options.classifiers) for share in SHARES
        }
    print(json.dumps({"checkpoint": options.checkpoint, "input_size": options.input_size, **result}))


def score(
    prompt: hb.Prompt,
    images: list[Encoded],
    queries: list[Encoded],
    shown: list,
    wanted: list,
    share: float,
    classifiers: list[str],
) -> dict[str, dict[str, float]]:
    """Returns mIoU and seconds of all sides with strokes on this share of the pixels."""
    rng, names = np.random.default_rng(0), list(prompt.kind.classes.values())
    labels = [strokes(item["label"], share, rng) for item in shown]
    found = {}

    def measure(name, fit, predict) -> None:
        metrics, start = SegmentationMetrics(names), time.perf_counter()
        fit()
        ready = time.perf_counter()
        predictions = [predict(encoded) for encoded in queries]
        end = time.perf_counter()
        for item, prediction in zip(wanted, predictions, strict=True):
            metrics.add(item["label"], prediction.astype(np.int32))
        found[name] = {
            "miou": round(float(metrics.result()["miou"]), 2),
            "fit": round(ready - start, 3),
            "predict": round((end - ready) / len(queries), 4),
        }

    def add() -> None:
        for i, (encoded, label) in enumerate(zip(images, labels, strict=True)):
            prompt.add(encoded, label, id=str(i))

    for name, search in SEARCHES.items():
        measure(name, add, lambda encoded, search=search: prompt.predict(encoded, **search).labels)
        for id in list(prompt):
            prompt.remove(id)
    for kind in classifiers:
        model = PixelClassifier(kind)
        measure(kind, lambda model=model: model.fit(list(zip(images, labels, strict=True))), model.predict)
    return found


if __name__ == "__main__":
    main()
