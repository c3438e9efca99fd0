"""The section with nearest patches: the bank entries that decide the label of a few query patches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hummingbird.retrieval.report.elements import Cell, Neighbours, QueryPatch, Vote, frame, jpeg, photo
from hummingbird.retrieval.report.runs import Group
from hummingbird.retrieval.sample_files import Entry, Patch, Query
from hummingbird.tasks.painting import Painter

IMAGES = 4  # query images shown


def nearest_patches(group: Group) -> Iterator[Neighbours]:
    """Yields query patches with their neighbours: all patches of an image, or one patch under several encoders."""
    if not group.shown:
        return
    painter = group.painter()
    blocks = []
    for queries in group.aligned():
        kept = [(run.name, q) for run, q in zip(group.shown, queries, strict=True) if q and q["neighbours"]]
        if not kept or len(blocks) == IMAGES:
            continue
        query = kept[0][1]
        if group.several:
            patches = [(name, q, q["neighbours"][0]) for name, q in kept]
        else:
            patches = [(f"patch {i + 1}", query, patch) for i, patch in enumerate(query["neighbours"])]
        image = framed(query, [patch for *_, patch in patches], numbered=not group.several)
        blocks.append((image, [query_patch(painter, *patch) for patch in patches]))
    if blocks:
        most = max(len(patch.votes) for _, patches in blocks for patch in patches)
        yield Neighbours(
            title="Nearest prompt patches",
            blocks=blocks,
            most=most,
            caption=f"Query patches (framed, left) and their {most} nearest patches in the memory bank, best first, "
            "each with its surroundings. w: attention weight (a full bar is 1); s: cosine similarity; below them, the "
            "patch's own label. Σ: share of the total weight that these neighbours hold.",
        )


def framed(query: Query, patches: Sequence[Patch], numbered: bool) -> Cell:
    """Returns the query image with its patches framed, each once."""
    marks: dict[tuple[int, ...], str] = {}
    for number, patch in enumerate(patches, 1):
        marks.setdefault(tuple(patch["box"]), str(number) if numbered else "")
    height, width = query["image"].shape[:2]
    return photo(query["image"], query["name"], [frame(box, (height, width), mark) for box, mark in marks.items()])


def query_patch(painter: Painter, name: str, query: Query, patch: Patch) -> QueryPatch:
    """Returns a query patch with its true label and its neighbours."""
    top, left, height, width = patch["box"]
    truth = painter.summarise(query["truth"][top : top + height, left : left + width])
    votes = [vote(painter, entry, patch["inner"]) for entry in patch["entries"]]
    return QueryPatch(name, crop(patch, patch["inner"]), truth, votes, sum(vote.weight for vote in votes))


def vote(painter: Painter, entry: Entry, inner: Sequence[int]) -> Vote:
    """Returns a neighbour with its label."""
    row, column = entry["position"]
    return Vote(
        crop=crop(entry, inner),
        weight=float(entry["weight"]),
        similarity=float(entry["similarity"]),
        label=painter.swatch(entry["label"], entry["fraction"]),
        title=f"{entry['name']}, row {row}, column {column}",
    )


def crop(patch: Patch | Entry, inner: Sequence[int]) -> Cell:
    """Returns a patch, framed in its surroundings."""
    height, width = patch["crop"].shape[:2]
    return Cell(jpeg(patch["crop"]), "", [frame(inner, (height, width))])
