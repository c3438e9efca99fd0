"""Sections that look into the encoder: nearest prompt patches, PCA of the features, pooling attention."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from hummingbird import drawing
from hummingbird.retrieval.report import pictures
from hummingbird.retrieval.report.painters import PAINTERS, flat, photo
from hummingbird.retrieval.report.runs import Group

QUERIES = 4  # images whose nearest patches are shown


def neighbours(group: Group) -> Iterator[dict[str, Any]]:
    """A few query patches and the prompt patches that vote for them: all patches of an image under one encoder, or one
    patch under several encoders."""
    if not group.shown:
        return
    painter = PAINTERS[group.task](group)
    blocks = []
    for queries in group.aligned():
        kept = [(run["name"], q) for run, q in zip(group.shown, queries, strict=True) if q and q.get("neighbours")]
        if not kept or len(blocks) == QUERIES:
            continue
        if len(group.shown) == 1:
            query = kept[0][1]
            rows = [(f"patch {i + 1}", query, patch) for i, patch in enumerate(query["neighbours"])]
        else:
            rows = [(name, query, query["neighbours"][0]) for name, query in kept]
        blocks.append(_block(group, painter, rows))
    if blocks:
        # The demo's small banks hold fewer neighbours than are asked for; the caption must say what is shown.
        most = max(len(row["entries"]) for block in blocks for row in block["rows"])
        yield {
            "kind": "neighbours",
            "title": "Nearest prompt patches",
            "blocks": blocks,
            "most": most,
            "caption": f"Query patches (left, framed) and their {most} nearest patches of the memory bank, best first, "
            "each with its surroundings. w: attention weight (the bar is w of 1), s: cosine similarity; "
            "last the patch's own label. "
            "Σ is what the shown neighbours hold of the total weight of 1.",
        }


def _block(group: Group, painter: Any, rows: list[tuple[str, dict, dict]]) -> dict[str, Any]:
    query = rows[0][1]
    height, width = query["image"].shape[:2]
    boxes = {}
    for number, (_, _, patch) in enumerate(rows):
        box = tuple(int(v) for v in patch["box"])
        boxes.setdefault(box, str(number + 1) if len(group.shown) == 1 else "")
    image = photo(query["image"], str(query["name"]), [_frame(box, height, width, mark) for box, mark in boxes.items()])
    return {
        "image": image,
        "rows": [
            {
                "name": name,
                "query": _crop(patch, patch["inner"]),
                "truth": painter.patch_truth(owner, patch["box"]),
                "entries": [
                    {
                        "crop": _crop(entry, patch["inner"]),
                        "weight": float(entry["weight"]),
                        "similarity": float(entry["similarity"]),
                        "label": painter.patch(entry["label"], entry.get("fraction")),
                        "title": f"{entry['name']}, row {entry['position'][0]}, column {entry['position'][1]}",
                    }
                    for entry in patch["entries"]
                ],
                "total": sum(float(entry["weight"]) for entry in patch["entries"]),
            }
            for name, owner, patch in rows
        ],
    }


def _crop(patch: dict, inner: tuple[int, int, int, int]) -> dict[str, Any]:
    crop = patch["crop"]
    return {
        "src": pictures.data_uri(crop),
        "boxes": [_frame(inner, crop.shape[0], crop.shape[1], "")],
        "caption": "",
        "stretch": None,
    }


def _frame(box: tuple[int, int, int, int], height: int, width: int, mark: str) -> dict[str, Any]:
    top, left, tall, wide = (float(v) for v in box)
    return {
        "top": round(100 * top / height, 3),
        "left": round(100 * left / width, 3),
        "height": round(100 * tall / height, 3),
        "width": round(100 * wide / width, 3),
        "mark": mark,
    }


def insides(group: Group) -> Iterator[dict[str, Any]]:
    """What an encoder makes of an image: PCA of its patch features as colours, and its pooling attention if it has one;
    the PCA is fitted for each encoder once over all its images, so that equal colours mean similar patches."""
    columns: list[tuple[str, dict[str, dict]]] = []  # heading, query name -> cell
    explained = []
    several = len(group.shown) > 1
    for run in group.shown:
        queries = [q for q in run["samples"]["queries"] if q.get("features") is not None]
        if queries:
            coloured, share = pictures.principal_colours([np.asarray(q["features"], np.float32) for q in queries])
            explained.append(f"{100 * share:.0f} %" + (f" ({run['name']})" if several else ""))
            cells = {
                q["name"]: flat(c, "", stretch=q["image"].shape[:2]) for q, c in zip(queries, coloured, strict=True)
            }
            columns.append((run["name"] if several else "features", cells))
    caption = (
        "Patch features: their three leading principal components as red, green and blue, fitted over all images shown"
        + (" for each encoder on its own, so that colours do not compare between encoders" if several else "")
        + f"; they hold {', '.join(explained)} of the variance."
        if explained
        else ""
    )
    attended = False
    for run in group.shown:
        cells = {q["name"]: _heat(q) for q in run["samples"]["queries"] if q.get("attention") is not None}
        if cells:
            attended = True
            columns.append((f"{run['name']}: attention" if several else "attention", cells))
    if attended:
        caption += " Attention: the weights of the encoder's attention pooling, brightest at each image's own peak."
    if columns:
        names = [(q["name"], q["image"]) for q in group.shown[0]["samples"]["queries"][: QUERIES if several else None]]
        yield {
            "kind": "grid",
            "title": "Patch features and pooling attention" if attended else "Patch features",
            "columns": ["query", *(heading for heading, _ in columns)],
            "rows": [[photo(image, ""), *(cells.get(name) for _, cells in columns)] for name, image in names],
            "paired": False,
            "dense": len(columns) < 3,
            "legend": [],
            "scales": [],
            "caption": caption.strip(),
        }


def _heat(query: dict) -> dict[str, Any]:
    weights = np.asarray(query["attention"], np.float32)
    peak = float(weights.max() * weights.size / max(float(weights.sum()), 1e-12))
    small = drawing.fit(query["image"], 300, smooth=True)
    return photo(drawing.overlay_heat(small, weights), f"peak {peak:.1f} × uniform")
