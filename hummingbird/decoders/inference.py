"""How a decoder predicts whole images: squashed or by sliding windows, at several scales, with their mirror images.

Every window has the same size, so that one program predicts images of all sizes. Outputs are averaged as they are:
logits, not probabilities.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float32, Shaped, UInt8

from hummingbird.config.finetune import FinetuneConfig
from hummingbird.data.window import PADDING, Side, Window, squashed
from hummingbird.errors import UserError
from hummingbird.tasks import Task
from hummingbird.tasks.upsampling import interpolation


@dataclasses.dataclass(frozen=True)
class Inference:
    """How images are split into windows.

    Attributes:
      mode: "whole" images become squares; "slide" keeps their aspect and cuts windows.
      size: side of the squares, or of the image's shorter side, pixels.
      window: side of a window.
      stride: pixels between windows.
      scales: sizes of the image to average over.
      flip: average over mirror images too.
    """

    mode: Literal["whole", "slide"]
    size: int
    window: int
    stride: int
    scales: tuple[float, ...]
    flip: bool

    @property
    def choices(self) -> dict[str, int | str | bool | list[float]]:
        """What metrics.json says about it."""
        facts = {"inference": self.mode, "input_size": self.size, "scales": list(self.scales), "flip": self.flip}
        return {**facts, "window": self.window, "stride": self.stride} if self.mode == "slide" else facts


def build_inference(config: FinetuneConfig, patch: int) -> Inference:
    """Reads the choices in `config.decoder`. Raises UserError if windows do not fit the patches."""
    decoder, window = config.decoder, config.decoder.window or config.input_size
    stride = decoder.stride or max(1, round(window * 2 / 3))
    if decoder.inference == "slide":
        check_windows(window, stride, patch)
    return Inference(decoder.inference, config.input_size, window, stride, decoder.scales, decoder.flip)


def starts(length: int, window: int, stride: int) -> tuple[int, ...]:
    """Returns where windows begin along a side; the last one is pushed inwards.

    Example:
      >>> starts(683, 512, 341), starts(512, 512, 341)
      ((0, 171), (0,))
    """
    count = max(0, -(-(length - window) // stride)) + 1
    return tuple(max(0, min(i * stride, length - window)) for i in range(count))


def check_windows(window: int, stride: int, patch: int) -> None:
    """Raises UserError unless windows hold a patch and leave no gap; the encoder pads them to whole patches."""
    if window < patch:
        raise UserError(f"config key decoder.window: {window} pixels are less than a patch of {patch}; use more")
    if not 0 < stride <= window:
        raise UserError(f"config key decoder.stride: {stride} is not between 1 and the window of {window} pixels")


class View(NamedTuple):
    """A part of an image that the decoder predicts.

    Attributes:
      picture: the part.
      scale: number of the scale.
      top, left: where it lies in the scaled image.
      mirrored: whether left and right are exchanged.
    """

    picture: UInt8[np.ndarray, "S S 3"]
    scale: int
    top: int
    left: int
    mirrored: bool


def views(image: UInt8[np.ndarray, "H W 3"], inference: Inference) -> list[View]:
    """Cuts an image into the parts to predict."""
    found: list[View] = []
    for number in range(len(inference.scales)):
        picture, corners, side = _scaled(image, inference, number)
        for top, left in corners:
            part = np.empty((side, side, 3), np.uint8)
            part[:] = PADDING
            shown = picture[top : top + side, left : left + side]
            part[: shown.shape[0], : shown.shape[1]] = shown
            found.append(View(part, number, top, left, False))
    return found + [v._replace(picture=v.picture[:, ::-1], mirrored=True) for v in found if inference.flip]


def _scaled(
    image: UInt8[np.ndarray, "H W 3"], inference: Inference, number: int
) -> tuple[UInt8[np.ndarray, "h w 3"], list[tuple[int, int]], int]:
    """Returns an image at one of the scales, the corners of its windows, and their side."""
    (rows, columns), side = scaled_size(image, inference, number), inference.window
    height, width = image.shape[:2]
    picture = squashed(height, width, rows, columns).picture(image)
    if inference.mode == "whole":
        return picture, [(0, 0)], rows
    across = (starts(length, side, inference.stride) for length in (rows, columns))
    tops, lefts = across
    return picture, [(top, left) for top in tops for left in lefts], side


def scaled_size(image: Shaped[np.ndarray, "H W *C"], inference: Inference, number: int) -> tuple[int, int]:
    """Returns height and width of an image at one of the scales."""
    size = max(1, round(inference.size * inference.scales[number]))
    if inference.mode == "whole":
        return size, size
    height, width = image.shape[:2]
    rows, columns = (max(1, round(side * size / min(height, width))) for side in (height, width))
    return rows, columns


def assemble(
    image: UInt8[np.ndarray, "H W 3"],
    parts: list[View],
    outputs: list[Float32[np.ndarray, "h w C"]],
    inference: Inference,
    task: Task,
) -> Float32[np.ndarray, "y x C"]:
    """Averages the outputs of an image's parts where they overlap.

    Args:
      image: the whole image.
      parts: what `views` returned.
      outputs: of each part, on the head's grid.
      inference: as in `views`.
      task: says how outputs are mirrored.

    Returns:
      A map of the whole image, to be resized to it: on the head's grid if there is one part only, else at the size of
      the image at the first scale.
    """
    outputs = [mirror(output, task) if part.mirrored else output for part, output in zip(parts, outputs, strict=True)]
    if inference.mode == "whole" and len(inference.scales) == 1:
        return np.asarray(np.mean(outputs, axis=0, dtype=np.float32))
    total = np.zeros(())
    for number in range(len(inference.scales)):
        rows, columns = scaled_size(image, inference, number)
        side = rows if inference.mode == "whole" else inference.window
        canvas = np.zeros((max(rows, side), max(columns, side), outputs[0].shape[-1]), np.float32)
        counts = np.zeros((*canvas.shape[:2], 1), np.float32)
        for part, output in zip(parts, outputs, strict=True):
            if part.scale == number:
                where = np.s_[part.top : part.top + side, part.left : part.left + side]
                canvas[where] += resized(output, side, side)
                counts[where] += 1
        average = (canvas / counts)[:rows, :columns]
        total = total + resized(average, *scaled_size(image, inference, 0))
    return (total / len(inference.scales)).astype(np.float32)


def mirror(output: Float32[np.ndarray, "h w C"], task: Task) -> Float32[np.ndarray, "h w C"]:
    """Mirrors the output of a mirror image, as a label is."""
    rows, columns = (np.arange(side) for side in output.shape[:2])
    return task.move(output, rows, columns[::-1], flip=True)


def resized(x: Float32[np.ndarray, "h w C"], height: int, width: int) -> Float32[np.ndarray, "{height} {width} C"]:
    """Resizes a map bilinearly, with half-pixel centres and repeated edges."""
    rows, columns, channels = x.shape
    if (rows, columns) == (height, width):
        return x
    tall = (interpolation(rows, height) @ x.reshape(rows, -1)).reshape(height, columns, channels)
    return np.einsum("wc,hck->hwk", interpolation(columns, width), tall, optimize=True)


def as_votes(output: Float32[np.ndarray, "h w C"], task: Task) -> Float32[np.ndarray, "h w C"]:
    """Returns what `Task.predict` takes: values as they are, logits as positive numbers with the same winners.

    The weights of upsampling sum to 1, so that a constant for the image changes no comparison.
    """
    return output - output.min() + np.float32(1) if task.has_classes else output


def label_at(label: Shaped[np.ndarray, "H W *C"], size: int, task: Task) -> Shaped[np.ndarray, "h w *C"]:
    """Returns the label that predictions are compared with: at its own size if `size` is 0, else as a square."""
    if not size:
        return label
    height, width = label.shape[:2]
    return Window(Side(height, size, 0, size), Side(width, size, 0, size)).label(label, task)
