"""What a report shows of an evaluation of whole images: a few queries with their nearest images."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from hummingbird.config.evaluate import Report
from hummingbird.data.image_files import decode_image
from hummingbird.data.interface import ImageItem
from hummingbird.data.labelled import Labelled, Splits
from hummingbird.retrieval.recognition.classifiers import Problem
from hummingbird.retrieval.recognition.knn import nearest
from hummingbird.retrieval.recognition.scores import confusion
from hummingbird.retrieval.sample_files import ImageNeighbour, ImageQuery, ImageSamples
from hummingbird.tasks.drawing import Picture, fit

SIDE = 160  # of the pictures, pixels
MOST_CLASSES = 1000  # of a confusion matrix that is kept


def small(item: ImageItem, name: str) -> Picture:
    """Returns a small picture of an image."""
    image = item["image"]
    return np.ascontiguousarray(
        fit(decode_image(image, name) if isinstance(image, bytes) else image, SIDE, smooth=True)
    )


def choose_queries(truth: Int[np.ndarray, " N"], count: int, seed: int) -> list[int]:
    """Draws query images of different classes first; the same ones for all encoders."""
    order = np.random.default_rng(np.random.SeedSequence([seed, len(truth)])).permutation(len(truth))
    seen = np.sort(np.unique(truth[order], return_index=True)[1])
    return np.concatenate([order[seen], np.delete(order, seen)])[:count].tolist()


def neighbour(images: Labelled, index: int, truth: int, similarity: float) -> ImageNeighbour:
    """Returns a training image as a neighbour of a query of class `truth`."""
    item, name = images[index], images.name(index)
    return {
        "name": name,
        "image": small(item, name),
        "label": images.classes[item["label"]],
        "right": item["label"] == truth,
        "similarity": similarity,
    }


def collect(
    encoder: str, splits: Splits, problem: Problem, predicted: Int[np.ndarray, " N"], report: Report, seed: int
) -> ImageSamples:
    """Gathers what a report shows.

    Args:
      encoder: its name.
      splits: the images.
      problem: their features.
      predicted: class of each test image.
      report: how many queries and neighbours.
      seed: decides the queries.
    """
    train, test, classes = problem.train, problem.test, splits.train.classes
    chosen = choose_queries(test.labels, report.queries, seed)
    k = min(report.neighbours, len(train.labels))
    ids, cosines = nearest(train.units, test.units[chosen], k, "cosine")
    queries: list[ImageQuery] = []
    for row, near, similarities in zip(chosen, ids, cosines, strict=True):
        truth, guess = int(test.labels[row]), int(predicted[row])
        neighbours = [
            neighbour(splits.train, int(i), truth, float(similarity))
            for i, similarity in zip(near, similarities, strict=True)
        ]
        queries.append(
            {
                "name": splits.test.name(row),
                "image": small(splits.test[row], splits.test.name(row)),
                "truth": classes[truth],
                "prediction": classes[guess],
                "right": truth == guess,
                "neighbours": neighbours,
            }
        )
    counts = confusion(test.labels, predicted, len(classes)) if len(classes) <= MOST_CLASSES else None
    return {"encoder": encoder, "classes": list(classes), "confusion": counts, "queries": queries}
