"""Videos: frames in, and overlays out as H.264. PyAV is imported here only.

Masks are not written as a video: a PNG for each frame keeps ids and palette, any program reads it, and a run that was
killed resumes at the next frame. Sound is not kept.
"""

from __future__ import annotations

import dataclasses
import fractions
import logging
import os
import types
import zlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from hummingbird.data.interface import Unreadable
from hummingbird.data.names import printable
from hummingbird.errors import UserError
from hummingbird.run.files import replacing

if TYPE_CHECKING:
    import av.container
    import av.video.frame
    import av.video.stream

log = logging.getLogger(__name__)

Picture = UInt8[np.ndarray, "H W 3"]
SPEED = "medium"  # preset of the encoder


@dataclasses.dataclass(frozen=True)
class Frame:
    """A frame of a video.

    Attributes:
      number: how many frames come before it; frames that cannot be read do not count.
      time: of its presentation, in units of the video's `time_base`.
      image: upright.
    """

    number: int
    time: int
    image: Picture


class Video:
    """A video that is read from its beginning, any number of times.

    Args:
      path: of the file.

    Attributes:
      time_base: seconds per unit of time.
      rate: frames per second, on average.
      length: number of frames as the file states it, or by its duration; 0: unknown.
      has_sound: whether there is sound, which is not kept.
      damaged: packets that could not be decoded when the frames were last read.

    Raises:
      Unreadable: not a video, or one without frames.
      UserError: PyAV is not installed.
    """

    def __init__(self, path: str):
        self.path, self._name, self.damaged = path, printable(path), 0
        with self._open() as container:
            if not container.streams.video:
                raise Unreadable(f"{self._name} holds no video stream")
            stream = container.streams.video[0]
            self.rate = fractions.Fraction(stream.average_rate or stream.guessed_rate or 25)
            self.time_base = fractions.Fraction(stream.time_base or 1 / self.rate)
            self.has_sound = bool(container.streams.audio)
            duration = float(stream.duration * self.time_base) if stream.duration else (container.duration or 0) / 1e6
            self.length = int(stream.frames) or round(duration * float(self.rate))

    def _open(self) -> av.container.InputContainer:
        module = _pyav()
        try:
            return module.open(self.path)
        except (FileNotFoundError, PermissionError) as error:
            raise Unreadable(f"{self._name} cannot be read: {error.strerror}") from error
        except module.error.FFmpegError as error:
            raise Unreadable(
                f"{self._name} is not a video that can be read, or is cut off: {error.strerror}"
            ) from error

    def frames(self) -> Iterator[Frame]:
        """Decodes the frames; those that cannot be read are left out and counted."""
        module, self.damaged, number, last = _pyav(), 0, 0, -1
        with self._open() as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for decoded in self._decode(module, container, stream):
                time = decoded.pts if decoded.pts is not None else last + self._step
                if time <= last:  # broken times; H.264 needs increasing ones
                    time = last + 1
                last = time
                yield Frame(number, time, _upright(decoded))
                number += 1

    @property
    def _step(self) -> int:
        return max(1, round(1 / (self.rate * self.time_base)))

    def _decode(
        self, module: types.ModuleType, container: av.container.InputContainer, stream: av.video.stream.VideoStream
    ) -> Iterator[av.video.frame.VideoFrame]:
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except module.error.FFmpegError:  # the file ends within a packet
                self.damaged += 1
                return
            if packet is None:
                return
            try:
                yield from packet.decode()
            except module.error.FFmpegError:
                self.damaged += 1


def _upright(decoded: av.video.frame.VideoFrame) -> Picture:
    """Converts a frame to RGB, turned as players turn it."""
    turns = round(float(getattr(decoded, "rotation", 0) or 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(decoded.to_ndarray(format="rgb24"), turns))


def write_overlay(path: str | os.PathLike[str], video: Video, quality: int, paint: Callable[[Frame], Picture]) -> int:
    """Writes a video with each frame painted over, as H.264 in MP4; frames keep their times.

    Args:
      path: of the file, which is replaced as a whole.
      video: gives the frames.
      quality: constant rate factor.
      paint: frame -> picture of the same size; sides become even, since H.264 needs that.

    Returns:
      A checksum of the file.
    """
    module = _pyav()
    with replacing(path) as part:
        with module.open(os.fspath(part), "w", format="mp4") as container:
            stream = None
            for frame in video.frames():
                picture = _even(paint(frame))
                if stream is None:
                    stream = container.add_stream("libx264", rate=video.rate)
                    stream.height, stream.width = picture.shape[:2]
                    stream.pix_fmt, stream.options = "yuv420p", {"crf": str(quality), "preset": SPEED}
                    stream.codec_context.time_base = video.time_base
                if picture.shape[:2] != (stream.height, stream.width):
                    raise Unreadable(f"{printable(video.path)}: its frames change their size")
                made = module.VideoFrame.from_ndarray(picture, format="rgb24")
                made.pts, made.time_base = frame.time, video.time_base
                container.mux(stream.encode(made))
            if stream is not None:
                container.mux(stream.encode())
        checksum = zlib.crc32(part.read_bytes())
    return checksum


def check_installed() -> None:
    """Raises UserError unless PyAV is installed."""
    _pyav()


def _even(picture: Picture) -> Picture:
    """Repeats the last row and column of a picture with odd sides."""
    height, width = picture.shape[:2]
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _pyav() -> types.ModuleType:
    try:
        import av
        import av.logging
    except ImportError as error:
        raise UserError("videos need PyAV: pip install 'hummingbird-incontext[video]'") from error
    av.logging.set_level(av.logging.PANIC)  # problems of files are counted and reported here
    return av
