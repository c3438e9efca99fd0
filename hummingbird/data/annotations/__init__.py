"""Annotated images from the usual tools: masks in folders, LabelMe, COCO, CVAT and Label Studio.

Each reader turns its files into `Drawings`: images with shapes that are painted over one another. `read_annotations`
finds out which reader a folder needs, and returns a dense source as `hummingbird.data.interface` describes it, with
the ids, names and colours that the user's own masks have.

Pixels that nothing is drawn on are void, so a few strokes are enough; `prompt.background` makes them a class instead.
"""

from __future__ import annotations

from hummingbird.data.annotations.interface import Classes
from hummingbird.data.annotations.read import Annotations, read_annotations

__all__ = ["Annotations", "Classes", "read_annotations"]
