"""The command: reads the prompt, labels every image and frame that is left, and writes what it found."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

from hummingbird.config.segment import SegmentConfig
from hummingbird.data.interface import Unreadable, reason
from hummingbird.data.names import printable
from hummingbird.encoder import build_encoder
from hummingbird.errors import UserError
from hummingbird.incontext.prompt import Prompt
from hummingbird.incontext.segment import page, video
from hummingbird.incontext.segment.batches import ahead, batches
from hummingbird.incontext.segment.inputs import Input, describe, find_inputs
from hummingbird.incontext.segment.memory import Memory
from hummingbird.incontext.segment.pictures import Writer
from hummingbird.incontext.segment.prompting import Annotated
from hummingbird.incontext.segment.reading import Pages, read_picture
from hummingbird.incontext.segment.results import OVERLAYS, WHOLE, Results, hold, writing
from hummingbird.incontext.segment.saved import Saved, is_saved
from hummingbird.run.files import Json
from hummingbird.run.progress import show_progress
from hummingbird.tasks.drawing import Picture

log = logging.getLogger(__name__)


def segment(checkpoint: str, prompt: str, images: Sequence[str], out: str, config: SegmentConfig) -> dict[str, Json]:
    """Labels images and videos from a few annotated images; see `hummingbird segment --help`.

    Args:
      checkpoint: as in `hummingbird.load_encoder`.
      prompt: annotated images, as in `hummingbird.data.annotations.read_annotations`; or a file of `Prompt.save`.
      images: folders, files and patterns.
      out: folder of the results; the same call resumes.
      config: all settings.

    Returns:
      How many images, videos and frames were made, kept from an earlier run, or broken; and the page.

    Raises:
      UserError: bad input, before anything is written; or inputs that cannot be read, after all others are done.
    """
    Results(out)  # refuses a folder of others before anything expensive
    source = Saved(prompt, config) if is_saved(prompt) else Annotated(prompt, config)
    found = find_inputs(images, source.labels, out, {})
    if any(x.is_video for x in found):
        video.check_installed()
    encoder = build_encoder(checkpoint, config.encoder)
    with hold(out):
        results = Results(out)
        inputs = find_inputs(images, source.labels, out, results.names)
        log.info("--images: %s", describe(inputs))
        results.plan(inputs, source.identify(encoder), {"checkpoint": checkpoint, "prompt": prompt})
        grown = source.build_prompt(encoder)
        writer = source.build_writer(grown)
        run = Run(grown, writer, results, config)
        try:
            run.images([x for x in inputs if not x.has_frames])
            for x in inputs:
                if x.has_frames:
                    run.frames(x)
        finally:
            page.write(results, inputs, writer, describe(inputs))
    if run.broken:
        raise UserError(
            f"--images: {len(run.broken)} of {len(inputs)} cannot be read, all others are done: {run.broken[0]}"
            + (" (the log names the others)" if len(run.broken) > 1 else "")
        )
    return {"images": len(inputs), "made": run.made, "kept": run.kept, "page": os.path.join(out, "index.html")}


# ---------------------------------------------------------------- the loop
class Run:
    """One run over the inputs.

    Args:
      prompt: labels images.
      writer: turns predictions into files.
      results: the folder.
      config: all settings.

    Attributes:
      made, kept: images and frames that were labelled now and by earlier runs.
      broken: a line for each input that cannot be read.
    """

    def __init__(self, prompt: Prompt, writer: Writer, results: Results, config: SegmentConfig):
        self._prompt, self._writer, self._results, self._config = prompt, writer, results, config
        self.made = self.kept = 0
        self.broken: list[str] = []

    def images(self, inputs: Sequence[Input]) -> None:
        """Labels the images that are left.

        Batches are the same whatever is left of them, so that a resumed run computes the same numbers.
        """
        parts = list(batches(inputs, self._config.batch_size))
        left = [part for part in parts if not all(self._results.entry(x) for x in part)]
        self.kept += sum(len(part) for part in parts) - sum(len(part) for part in left)
        total = sum(len(part) for part in left)
        with show_progress("images", total, "images", self._config.progress and bool(total)) as advance:
            for part, read in zip(left, ahead(left, self._read_all), strict=True):
                whole = [(x, image) for x, image in zip(part, read, strict=True) if image is not None]
                encoded = self._prompt.encode([image for _, image in whole]) if whole else []
                for (x, image), features in zip(whole, encoded, strict=True):
                    if self._results.entry(x):
                        self.kept += 1
                    else:
                        found = self._prompt.predict(features)
                        files = self._writer.files(x.name, image, found, page=True)
                        self._results.write(x, WHOLE, files, self._writer.facts(found))
                        self.made += 1
                for _ in part:
                    advance()

    def _read_all(self, part: Sequence[Input]) -> list[Picture | None]:
        return [self._read(x) for x in part]

    def _read(self, x: Input) -> Picture | None:
        name = printable(x.path)
        try:
            with open(x.path, "rb") as file:
                return read_picture(file.read(), name, self._config.value_range)
        except OSError as error:
            return self._skip(f"{name} cannot be read: {reason(error)}")
        except Unreadable as error:
            return self._skip(str(error))

    def _skip(self, message: str) -> None:
        log.warning("skipped: %s", message)
        self.broken.append(message)

    def frames(self, x: Input) -> None:
        """Labels the frames of a video, or pages of a file, that are left; then writes the overlay of the video."""
        if self._results.entry(x):
            self.kept += len(self._results.entries(x))
            return
        try:
            opened = video.Video(x.path) if x.is_video else Pages(x.path, self._config.value_range)
            self._frames(x, opened)
            self._finish(x, opened)
        except Unreadable as error:
            self._skip(str(error))

    def _frames(self, x: Input, opened: video.Video | Pages) -> None:
        settings = self._config.video
        size = 1 if settings.memory else self._config.batch_size
        if opened.has_sound:
            log.info("%s: the sound is not kept", x.source)
        memory = Memory(self._prompt, settings.memory, settings.memory_every, settings.memory_confidence)
        progress = show_progress(x.source, opened.length, "frames", self._config.progress)
        with memory, progress as advance:
            for part in batches(opened.frames(), size):
                # With a memory, what comes next depends on what was labelled before: nothing is left out.
                left = [settings.memory > 0 or self._results.entry(x, frame.number) is None for frame in part]
                self.kept += left.count(False)
                encoded = self._prompt.encode([frame.image for frame in part]) if any(left) else []
                for frame, features, make in zip(part, encoded, left, strict=False):
                    if not make:
                        continue
                    found = self._prompt.predict(features)
                    files = self._writer.files(f"{x.name}/{frame.number:06}", frame.image, found, not x.is_video)
                    moment = {"seconds": round(float(frame.time * opened.time_base), 4)} if x.is_video else {}
                    self._results.write(x, frame.number, files, {**moment, **self._writer.facts(found)})
                    memory.add(frame.number, features, found)
                    self.made += 1
                for _ in part:
                    advance()

    def _finish(self, x: Input, opened: video.Video | Pages) -> None:
        """Writes the overlay of a video, and says what could not be read of it."""
        entries = {entry.frame: entry for entry in self._results.entries(x)}
        if not entries:
            raise Unreadable(f"{printable(x.path)} holds no frames that can be read")
        if opened.damaged:
            log.warning("%s: %d damaged parts were skipped", x.source, opened.damaged)
        elif opened.length > len(entries) * 1.02 + 1:
            log.warning("%s ends early: %d of %d frames", x.source, len(entries), opened.length)
        files: dict[str, int] = {}
        if self._config.output.overlays and isinstance(opened, video.Video):
            name = f"{OVERLAYS}/{x.name}" + ("" if x.name.lower().endswith(".mp4") else ".mp4")

            def paint(frame: video.Frame) -> Picture:
                (stored, *_) = entries[frame.number].files
                labels = self._writer.read(self._results.path(stored).read_bytes())
                return self._writer.overlay(frame.image, labels)

            with writing(self._results.out):
                checksum = video.write_overlay(self._results.path(name), opened, self._config.video.quality, paint)
            files[name] = checksum
        self._results.finish(x, WHOLE, files, {"frames": len(entries), "damaged": opened.damaged})
