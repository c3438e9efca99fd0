"""How each task draws a query: its truth, a prediction, the errors, and the legend that explains them.

A picture cell is {"src": data address, "caption": text, "boxes": marked rectangles, "stretch": [height, width] whose
aspect it takes (keeping hard edges), or None for its own}.
"""

from typing import Any

import numpy as np

from hummingbird import drawing
from hummingbird.retrieval.report import charts, pictures
from hummingbird.retrieval.report.runs import Group, show

DEPTH_MAP, ERROR_MAP = "viridis", "magma"
PICTURE = 400  # longest side, in pixels, of a picture in the page


def photo(image: np.ndarray, caption: str, boxes: list[dict] | None = None) -> dict[str, Any]:
    """Cell of a photograph uint8 [H, W, 3]."""
    small = drawing.fit(image, PICTURE, smooth=True)
    return {"src": pictures.data_uri(small), "caption": caption, "boxes": boxes or [], "stretch": None}


def flat(image: np.ndarray, caption: str, stretch: tuple[int, int] | None = None) -> dict[str, Any]:
    """Cell of a picture with hard edges uint8 [H, W, 3], stored without loss."""
    return {"src": pictures.data_uri(image, photo=False), "caption": caption, "boxes": [], "stretch": stretch}


class SegmentationPainter:
    """Pictures of segmentation queries in the class colours."""

    def __init__(self, group: Group):
        samples = group.shown[0]["samples"]
        self.classes, self.ignore = list(samples["classes"]), int(samples["ignore"])
        self.colours = drawing.class_colours(self.classes)
        kept = [query for run in group.shown for query in run["samples"]["queries"]]
        ids = {int(c) for query in kept for k in ("truth", "prediction") for c in np.unique(query[k])}
        self.present = sorted(ids & set(range(len(self.classes))))
        self.has_void = any((query["truth"] == self.ignore).any() for query in kept)

    def truth(self, query: dict, caption: str) -> dict:
        return self._labels(query["truth"], caption)

    def prediction(self, query: dict) -> dict:
        return self._labels(query["prediction"], f"mIoU {show(query.get('score'), 1)}")

    def _labels(self, labels: np.ndarray, caption: str) -> dict:
        small = drawing.fit(labels, PICTURE, smooth=False)
        return flat(drawing.paint_classes(small, self.colours, self.ignore), caption)

    def error(self, query: dict) -> dict:
        codes = pictures.error_codes(query["prediction"], query["truth"], self.ignore)
        wrong, valid = int((codes == pictures.MISTAKE).sum()), int((codes != pictures.VOID).sum())
        small = drawing.fit(codes, PICTURE, smooth=False)
        below = drawing.resize(query["image"], *small.shape)
        share = show(100 * wrong / valid if valid else None, 1)
        return photo(pictures.paint_errors(small, below), f"{share} % of valid pixels wrong")

    def patch(self, label: Any, share: Any = None) -> dict[str, Any]:
        """What is said under a patch: its majority class, with the class colour."""
        if not 0 <= int(label) < len(self.classes):
            return {"text": "no label", "colour": "hatch", "title": ""}
        name = self.classes[int(label)]
        title = f"{name}, {100 * float(share):.0f} % of the patch" if share is not None else name
        return {"text": name, "colour": drawing.css(self.colours[int(label)]), "title": title}

    def patch_truth(self, query: dict, box: tuple[int, int, int, int]) -> dict[str, Any]:
        top, left, height, width = (int(v) for v in box)
        inside = query["truth"][top : top + height, left : left + width]
        ids, counts = np.unique(inside[inside != self.ignore], return_counts=True)
        return self.patch(ids[counts.argmax()] if len(ids) else -1)

    def legend(self) -> list[dict[str, str]]:
        entries = [{"colour": drawing.css(self.colours[c]), "name": self.classes[c]} for c in self.present]
        return entries + [{"colour": "hatch", "name": "void: no ground truth"}] * self.has_void

    def scales(self) -> list:
        return []

    def caption(self) -> str:
        void = "; void is hatched and counts nowhere" if self.has_void else ""
        return f"Errors are red on the faded image{void}. The mIoU under a prediction is that image's own."


class DepthPainter:
    """Pictures of depth queries, all on one scale in metres, and their absolute errors on another."""

    def __init__(self, group: Group):
        truths, errors = [np.zeros(0)], [np.zeros(0)]
        for run in group.shown:
            for query in run["samples"]["queries"]:
                truths.append(query["truth"][query["truth"] > 0])
                errors.append(query["error"][np.isfinite(query["error"])])
        truth, error = np.concatenate(truths), np.concatenate(errors)
        low, high = np.percentile(truth, (0.5, 99.5)) if len(truth) else (0.0, 1.0)
        self.low, self.high = np.floor(10 * low) / 10, np.ceil(10 * high) / 10
        self.worst = max(np.ceil(10 * np.percentile(error, 99)) / 10, 0.1) if len(error) else 1.0
        self.has_void = any((q["truth"] <= 0).any() for run in group.shown for q in run["samples"]["queries"])

    def truth(self, query: dict, caption: str) -> dict:
        return self._depth(np.where(query["truth"] > 0, query["truth"], np.nan), caption)

    def prediction(self, query: dict) -> dict:
        return self._depth(query["prediction"], f"RMSE {show(query.get('score'), 3)} m")

    def _depth(self, metres: np.ndarray, caption: str) -> dict:
        small = drawing.fit(metres, PICTURE, smooth=False)
        return flat(drawing.paint_values(small, self.low, self.high, DEPTH_MAP), caption)

    def error(self, query: dict) -> dict:
        finite = query["error"][np.isfinite(query["error"])]
        small = drawing.fit(query["error"], PICTURE, smooth=False)
        mean = show(float(finite.mean(dtype=np.float64)) if len(finite) else None, 3)
        return flat(drawing.paint_values(small, 0.0, self.worst, ERROR_MAP), f"mean error {mean} m")

    def patch(self, label: Any, share: Any = None) -> dict[str, Any]:
        """What is said under a patch: its mean depth, with the colour of that depth."""
        if not np.isfinite(label) or label <= 0:
            return {"text": "no depth", "colour": "hatch", "title": ""}
        colour = drawing.paint_values(np.array([[float(label)]]), self.low, self.high, DEPTH_MAP)[0, 0]
        return {"text": f"{float(label):.2f} m", "colour": drawing.css(colour), "title": "mean depth of the patch"}

    def patch_truth(self, query: dict, box: tuple[int, int, int, int]) -> dict[str, Any]:
        top, left, height, width = (int(v) for v in box)
        inside = query["truth"][top : top + height, left : left + width]
        return self.patch(float(inside[inside > 0].mean()) if (inside > 0).any() else 0.0)

    def legend(self) -> list[dict[str, str]]:
        return [{"colour": "hatch", "name": "no ground truth"}] * self.has_void

    def scales(self) -> list:
        return [
            charts.colour_bar(self.low, self.high, DEPTH_MAP, "depth in metres"),
            charts.colour_bar(0.0, self.worst, ERROR_MAP, "absolute error in metres"),
        ]

    def caption(self) -> str:
        return "All depth maps share one scale, all error maps another; an RMSE under a prediction is that image's own."


PAINTERS = {"segmentation": SegmentationPainter, "depth": DepthPainter}
