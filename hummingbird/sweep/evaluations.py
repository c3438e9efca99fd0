"""What the shipped sweeps evaluate, by variant of the sweep file, and the scores in the paper's tables."""

from __future__ import annotations

from collections.abc import Mapping

EVALUATIONS: dict[str, dict[str, str]] = {
    # Tables 1, 5 and 12: two semantic segmentations and one depth estimation.
    "": {
        "voc": "evaluate/pascal_voc",
        "ade20k": "evaluate/ade20k",
        "nyuv2": "evaluate/nyuv2",
    },
    # The embedded toy world, for minutes on a laptop: dense labels by retrieval, image labels by k-NN.
    "demo": {
        "scenes": "evaluate/demo:segmentation",
        "scenes_depth": "evaluate/demo:depth",
        "scenes_knn": "evaluate/images:demo",
    },
}

# The columns of Tables 1, 5 and 12.
COLUMNS = ("voc.miou", "ade20k.miou", "nyuv2.rmse")


def paper_scores(rows: Mapping[str, tuple[float, float, float]]) -> dict[str, dict[str, float]]:
    """Returns a table of the paper in the form of `Sweep.published`.

    Args:
      rows: mIoU on PASCAL VOC and ADE20K and RMSE on NYUv2, by name of a row.

    Example:
      >>> paper_scores({"Hummingbird": (70.5, 28.3, 0.718)})
      {'Hummingbird': {'voc.miou': 70.5, 'ade20k.miou': 28.3, 'nyuv2.rmse': 0.718}}
    """
    return {name: dict(zip(COLUMNS, scores, strict=True)) for name, scores in rows.items()}
