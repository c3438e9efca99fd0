"""`hummingbird data CONFIG --index` and `--convert=arrayrecord`: data sets made ready for many hosts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from hummingbird import config as settings
from hummingbird.commands.data_check import console
from hummingbird.config import PretrainConfig
from hummingbird.data import array_record_files, array_records, images, places
from hummingbird.data.sources import build_image_source
from hummingbird.errors import UserError


def index(path: str, overrides: Sequence[tuple[str, str]] = ()) -> int:
    """Lists the images of a pretraining config again, and keeps the list for all runs to come; returns 0.

    Raises:
      UserError: a data set that needs no list.
    """
    config = settings.resolve("pretrain", path, overrides)
    if config.data.name not in ("imagenet", "images"):
        raise UserError(f"--index: data.name={config.data.name} needs no list of images; imagenet and images do")
    if array_records.is_one(config.data.root):
        raise UserError(f"--index: {config.data.root} holds ArrayRecord shards, which need no list")
    start = time.perf_counter()
    found = images.find_index(places.locate(config.data), renew=True, keep=True)
    console.print(
        f"{len(found):,} images, {len(found.facts['classes']):,} classes: {found.nbytes / 2**20:.1f} MiB in"
        f" {found.file}, {time.perf_counter() - start:.1f} s",
        soft_wrap=True,
    )
    return 0


def convert(path: str, kind: str, out: str, overrides: Sequence[tuple[str, str]] = ()) -> int:
    """Writes the images of a pretraining config in another form; returns 0.

    Raises:
      UserError: there is no such form, or `out` is missing or holds something else.
    """
    if kind not in CONVERSIONS:
        raise UserError(f"--convert={kind} is not known; use {', '.join(CONVERSIONS)}")
    if not out:
        raise UserError(f"--convert={kind} needs --out=DIR, the folder or bucket to write to")
    CONVERSIONS[kind](settings.resolve("pretrain", path, overrides), out)
    return 0


def _to_array_records(config: PretrainConfig, out: str) -> None:
    start = time.perf_counter()
    source = build_image_source(config)
    shards = array_record_files.write(source, out)
    seconds = time.perf_counter() - start
    console.print(f"{len(source):,} images in {shards:,} shards under {out}, {seconds:.1f} s", soft_wrap=True)
    console.print(f"train on them with --config.data.name={config.data.name} --config.data.root={out}", soft_wrap=True)


CONVERSIONS: dict[str, Callable[[PretrainConfig, str], None]] = {"arrayrecord": _to_array_records}
