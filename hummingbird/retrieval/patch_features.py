"""Features of the patches of a batch of images: on the devices for as long as the host does not need them."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float


class DeviceMaps(NamedTuple):
    """Maps that an encoder left on the devices.

    Attributes:
      maps: of at least `images` images.
      images: those that count; padding follows.
    """

    maps: Float[Array, "b h w D"]
    images: int


class PatchFeatures:
    """Features of the N patches of each image: iterates over NumPy arrays [N, D].

    Args:
      found: of each image; or on the devices, from where they are fetched when one of them is read.

    Attributes:
      counts: N of each image.
      on_devices: all maps, the padding among them; None if they are not on the devices.
    """

    def __init__(self, found: Sequence[Float[np.ndarray, "_ D"]] | DeviceMaps):
        self._found = found
        self.on_devices: Float[Array, "b h w D"] | None = None
        if isinstance(found, DeviceMaps):
            _, height, width, _ = found.maps.shape
            self.counts, self.on_devices = [height * width] * found.images, found.maps
        else:
            self.counts = [len(rows) for rows in found]

    @functools.cached_property
    def _rows(self) -> Sequence[Float[np.ndarray, "_ D"]]:
        if not isinstance(self._found, DeviceMaps):
            return self._found
        maps = np.asarray(self._found.maps)[: self._found.images]
        return list(maps.reshape(len(maps), -1, maps.shape[-1]))

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, index: int) -> Float[np.ndarray, "N D"]:
        return self._rows[index]

    def __iter__(self) -> Iterator[Float[np.ndarray, "_ D"]]:
        return iter(self._rows)
