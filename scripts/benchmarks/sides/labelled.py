"""The labelled images on which prompts are compared: rendered scenes, and a folder such as camvid_mini."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from hummingbird import config as configs
from hummingbird.data.interface import DenseSource
from hummingbird.data.sources import build_dense_source


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds which encoder and which images."""
    parser.add_argument("--checkpoint", default="runs/hummingbird")
    parser.add_argument("--camvid", default="", help="a folder of images and masks")
    parser.add_argument("--input_size", type=int, default=128, help="for --camvid; scenes are encoded at 96")


def data_sets(options: argparse.Namespace) -> Iterator[tuple[str, DenseSource, DenseSource, int]]:
    """Yields name, annotated images, queries, and input size of each data set."""
    data: dict[str, tuple[str, dict[str, str], int]] = {"scenes": ("evaluate/scenes", {}, 96)}
    if options.camvid:
        data["camvid"] = ("evaluate/folder", {"data.root": options.camvid}, options.input_size)
    for name, (file, overrides, size) in data.items():
        config = configs.resolve("evaluate", file, overrides)
        yield name, build_dense_source(config, "prompt"), build_dense_source(config, "query"), size
