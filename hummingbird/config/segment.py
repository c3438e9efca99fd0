"""Settings of `hummingbird segment`."""

from __future__ import annotations

import dataclasses
from typing import Literal

from hummingbird.config.evaluate import EncoderSettings
from hummingbird.config.prompt import PromptSettings
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


@dataclasses.dataclass(frozen=True)
class Output:
    """What is written for each image."""

    masks: Literal["palette", "grey"] = setting(
        "palette", "PNGs with the colours of the classes, or of grey values; ids above 255 are always grey, of 16 bits"
    )
    overlays: bool = setting(True, "write the images with their classes or depth over them")
    alpha: float = setting(0.5, "opacity of overlays", low=0, high=1)
    confidence: bool = setting(False, "write the share of votes that the winning class got, as PNG: 255 is all of them")
    min_confidence: float = setting(0.0, "smallest share of votes; pixels below it are void", low=0, high=1)
    depth_scale: float = setting(
        0.001, "metres per stored unit of depth maps; larger depths than 65534 are cut", above=0
    )
    preview: int = setting(1280, "longer side of the pictures on the page, pixels", low=16, high=8192)


@dataclasses.dataclass(frozen=True)
class Video:
    """How videos are segmented."""

    memory: int = setting(
        0, "frames for which a confident prediction stays in the prompt (temporal memory); 0: none", low=0, high=10_000
    )
    memory_every: int = setting(5, "frames between predictions that join the prompt", low=1)
    memory_confidence: float = setting(0.9, "smallest share of votes of pixels that join the prompt", low=0, high=1)
    quality: int = setting(20, "of overlays: H.264's constant rate factor, lower is better", low=0, high=51)


@dataclasses.dataclass(frozen=True)
class SegmentConfig(PromptSettings):
    """All settings of a segmentation, besides those of the prompt."""

    task: Literal["segmentation", "depth"] = setting("segmentation", "kind of label: classes or metric depth")
    prompt: PromptFiles = PromptFiles()
    output: Output = Output()
    video: Video = Video()
    encoder: EncoderSettings = EncoderSettings()
    progress: bool = setting(True, "show a progress bar with the time left and images per second")
