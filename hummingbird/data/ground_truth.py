"""Ground truth of revisited Oxford and Paris: queries with boxes, and which images are easy, hard or junk for them."""

from __future__ import annotations

import io
import pickle
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from hummingbird.errors import UserError, first_line

# All that the public files hold beside plain containers and numbers: NumPy arrays and scalars, by any of their homes.
ALLOWED = {
    ("multiarray", "_reconstruct"),
    ("multiarray", "scalar"),
    ("numeric", "_frombuffer"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
}


class Landmark(NamedTuple):
    """A query.

    Attributes:
      image: name of its file, without suffix.
      box: left, upper, right and lower edge of the landmark, pixels.
      easy, hard, junk: numbers of the images in which it is easy or hard to recognise, or hardly visible.
    """

    image: str
    box: tuple[float, float, float, float]
    easy: Int[np.ndarray, " e"]
    hard: Int[np.ndarray, " h"]
    junk: Int[np.ndarray, " j"]


class GroundTruth(NamedTuple):
    """A ground-truth file.

    Attributes:
      images: names of the files to search in, without suffix.
      queries: the landmarks to search for.
    """

    images: list[str]
    queries: list[Landmark]


class SafeUnpickler(pickle.Unpickler):
    """Reads containers, numbers and NumPy arrays; any other pickle could run code."""

    def find_class(self, module: str, name: str, /) -> Any:
        """Returns one of the allowed constructors."""
        if (module, name) == ("_codecs", "encode"):
            return _encode
        if module.split(".")[0] == "numpy" and (module.rpartition(".")[2], name) in ALLOWED:
            return super().find_class(module.replace("numpy.core.", "numpy._core."), name)
        raise pickle.UnpicklingError(f"it refers to {module}.{name}, which ground truth has no use for")


def _encode(text: str, encoding: str) -> bytes:
    """Returns the bytes of an array that Python 2 stored as text."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"it encodes text as {encoding}")
    return text.encode("latin-1")


def read_ground_truth(data: bytes, name: str) -> GroundTruth:
    """Reads gnd_roxford5k.pkl or gnd_rparis6k.pkl, without running what a pickle may hold.

    Args:
      data: the file's bytes: a dict with "imlist", "qimlist" and "gnd", a list of dicts with "bbx", "easy", "hard" and
        "junk".
      name: what to call it in errors.

    Raises:
      UserError: damaged, or something else.
    """
    try:
        found = SafeUnpickler(io.BytesIO(data), encoding="latin1").load()
        images, asked = [str(x) for x in found["imlist"]], [str(x) for x in found["qimlist"]]
        queries = [
            Landmark(
                image, _box(truth["bbx"]), *(_numbers(truth[key], len(images)) for key in ("easy", "hard", "junk"))
            )
            for image, truth in zip(asked, found["gnd"], strict=True)
        ]
    except Exception as error:  # a damaged pickle raises exceptions of any type
        raise UserError(f"{name} is not the ground truth of revisited Oxford or Paris: {first_line(error)}") from error
    if not queries or not images:
        raise UserError(f"{name} lists {len(images)} images and {len(queries)} queries; it needs both")
    return GroundTruth(images, queries)


def _box(edges: Any) -> tuple[float, float, float, float]:
    left, upper, right, lower = (float(edge) for edge in edges)
    return left, upper, right, lower


def _numbers(values: Any, length: int) -> Int[np.ndarray, " n"]:
    numbers = np.asarray(values, np.int64).ravel()
    if len(numbers) and not (numbers.min() >= 0 and numbers.max() < length):
        raise ValueError(f"image number {numbers.max()} of {length}")
    return numbers
