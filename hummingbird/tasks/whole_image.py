"""Kinds of labels of whole images, as far as results and reports need to know: names and scores."""

from __future__ import annotations

from hummingbird.tasks.task import Kind, Score


class ClassificationTask(Kind):
    """A class for an image."""

    kind = "classification"
    title = "Image classification"
    scores = (Score("accuracy", "accuracy", "", 2, larger_is_better=True),)


class ImageRetrievalTask(Kind):
    """Images of the same landmark among all others."""

    kind = "image_retrieval"
    title = "Image retrieval"
    scores = (
        Score("map_medium", "mAP, medium", "", 2, larger_is_better=True),
        Score("map_hard", "mAP, hard", "", 2, larger_is_better=True),
        Score("map_easy", "mAP, easy", "", 2, larger_is_better=True),
    )
