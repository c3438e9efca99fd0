"""Settings of `hummingbird segment`."""

from __future__ import annotations

import dataclasses
from typing import Literal

from hummingbird.config.schema import setting


@dataclasses.dataclass(frozen=True)
class PromptFiles:
    """How the annotated images are read."""

    format: Literal["auto", "folder", "beside", "labelme", "coco", "cvat", "label_studio"] = setting(
        "auto",
        "auto: by content; folder: images/ and labels/; beside: masks of the same name beside the images; or the format"
        " of annotation files",
    )
    images: str = setting("images", "format folder: a folder, or a pattern with {name} and *: rgb/{name}_rgb.png")
    labels: str = setting("labels", "the same for masks or depth maps")
    names: str = setting(
        "",
        "format folder: file that lists the images to use, one per line; empty: those of train.txt or prompt.txt if"
        " there is one, else all with a label",
        path=True,
    )
    classes: str = setting(
        "",
        "YAML or JSON file: a list of names, or names by id; empty: as the annotations have them, or counted",
        path=True,
    )
    void: int = setting(255, "stored id of pixels without a class", low=0, high=65535)
    background: str = setting(
        "", "formats with shapes: class of all pixels that no shape covers; empty: they are void and do not vote"
    )
    stroke: float = setting(
        0.0, "thickness of lines and points, pixels; 0: as annotated, or 1% of the image's shorter side", low=0
    )
    depth_scale: float = setting(0.001, "metres per stored unit of depth maps", above=0)
    missing: Literal["refuse", "skip"] = setting("refuse", "what to do about annotated images that are not there")
    exif: Literal["auto", "upright", "stored"] = setting(
        "auto", "orientation of images with EXIF data: as their labels are drawn, upright, or as stored"
    )
