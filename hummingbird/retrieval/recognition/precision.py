"""Mean average precision of revisited Oxford and Paris: which images count, and the area under precision and recall."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from hummingbird.data.ground_truth import Landmark

AT = (1, 5, 10)  # ranks of mP@k


class Relevance(NamedTuple):
    """What counts for a query: images that are to be found, and images that are left out of its ranking."""

    positives: Int[np.ndarray, " p"]
    ignored: Int[np.ndarray, " i"]


def easy(landmark: Landmark) -> Relevance:
    """Easy images are to be found, hard and junk ones are left out."""
    return Relevance(landmark.easy, np.concatenate([landmark.hard, landmark.junk]))


def medium(landmark: Landmark) -> Relevance:
    """Easy and hard images are to be found, junk ones are left out."""
    return Relevance(np.concatenate([landmark.easy, landmark.hard]), landmark.junk)


def hard(landmark: Landmark) -> Relevance:
    """Hard images are to be found, easy and junk ones are left out."""
    return Relevance(landmark.hard, np.concatenate([landmark.easy, landmark.junk]))


LEVELS = {"easy": easy, "medium": medium, "hard": hard}


def average_precision(ranking: Int[np.ndarray, " N"], relevance: Relevance) -> float:
    """Returns the area under precision over recall by trapezoids, 0-1, as the official script does; NaN if none counts.

    Positive number j (from 0) at rank r (from 0, ignored images not counted) adds the mean of the precisions before and
    at it, j / r (1 at r = 0) and (j + 1) / (r + 1).

    Example:
      >>> average_precision(np.array([4, 0, 2, 1, 3]), Relevance(np.array([0, 1]), np.array([4])))
      0.7916666666666666
    """
    ranks = positive_ranks(ranking, relevance)
    if not len(ranks):
        return float("nan")
    number = np.arange(len(ranks))
    before = np.where(ranks > 0, number / np.maximum(ranks, 1), 1.0)
    return float(np.mean((before + (number + 1) / (ranks + 1)) / 2))


def precisions(ranking: Int[np.ndarray, " N"], relevance: Relevance) -> list[float]:
    """Returns the precision at each of the ranks `AT`, or at the last positive if that comes earlier; 0-1."""
    ranks = positive_ranks(ranking, relevance)
    if not len(ranks):
        return [float("nan")] * len(AT)
    limits = [min(int(ranks[-1]) + 1, k) for k in AT]
    return [float(np.count_nonzero(ranks < limit)) / limit for limit in limits]


def positive_ranks(ranking: Int[np.ndarray, " N"], relevance: Relevance) -> Int[np.ndarray, " p"]:
    """Returns the ranks of the positives, from 0 and ascending, in the ranking without ignored images."""
    kept = ranking[~np.isin(ranking, relevance.ignored)]
    return np.flatnonzero(np.isin(kept, relevance.positives))


def mean_scores(rankings: Sequence[Int[np.ndarray, " N"]], landmarks: Sequence[Landmark]) -> dict[str, float]:
    """Returns mAP and mP@k of each level over the queries with positives, 0-100: "map_medium", "mp5_hard", ..."""
    scores: dict[str, float] = {}
    for level in ("medium", "hard", "easy"):
        asked = [LEVELS[level](landmark) for landmark in landmarks]
        pairs = [(ranking, one) for ranking, one in zip(rankings, asked, strict=True) if len(one.positives)]
        if not pairs:
            continue
        scores[f"map_{level}"] = 100 * float(np.mean([average_precision(*pair) for pair in pairs]))
        at = np.mean([precisions(*pair) for pair in pairs], axis=0)
        scores |= {f"mp{k}_{level}": 100 * float(value) for k, value in zip(AT, at, strict=True)}
    return scores
