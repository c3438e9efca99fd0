"""What a pretraining run sees, as pictures: two views, the pooling attention over them, the nearest bank entries."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental import multihost_utils

from hummingbird.config import PretrainConfig
from hummingbird.data.augment import Photometric, build_photometric, photometric
from hummingbird.devices import mesh as meshes
from hummingbird.hooks.picture_sheet import Row, draw
from hummingbird.models.context import l2_normalize
from hummingbird.models.pretrainer import Pretrainer, build_pretrainer
from hummingbird.train_step import TrainState

THUMBNAIL = 96  # side of a kept image at most, pixels
MEMORY = 2**29  # bytes of kept images in each process, for which they are made smaller


class Seen(NamedTuple):
    """Of the first n images of a batch; the same on all processes.

    Attributes:
      views: float32 [n, 2, S, S, 3] in [0, 1], as the network got them.
      masks: float32 [n, 2, N], the pooling attention (Eq. 3).
      nearest: int32 [n, k, 2], slot and row of the bank entries nearest to the first view's mean token, best first.
      similarity: float32 [n, k], their cosine.
    """

    views: Array
    masks: Array
    nearest: Array
    similarity: Array


def see(
    state: TrainState, views: Array, *, model: Pretrainer, seed: int, augment: Photometric, new: int, neighbours: int
) -> Seen:
    """What the network after a step makes of images of that step.

    Args:
      state: after the step; its bank holds the images of the step already, which are not looked for.
      views: uint8 [n, 2, S, S, 3], the first of the global batch: augmentation is keyed by the place there.
      model: applied to theta, without a mesh: these are few images.
      seed, augment: of the run.
      new: slots of the bank that a step writes.
      neighbours: k, at most the entries that older steps have written.
    """
    keys, cursor = state.bank.keys, state.bank.cursor
    x = photometric(jax.random.fold_in(jax.random.key(seed), state.step - 1), views, augment)
    variables = {"params": state.online, "batch_stats": state.online_stats}
    apply = lambda method, *arrays: model.apply(variables, *arrays, method=method, mutable=["batch_stats"])[0]
    seen = apply("encode_views", x, keys, apply("values", keys))
    slots, rows = keys.shape[:2]
    if not neighbours:
        none = jnp.zeros((len(views), 0))
        return Seen(x, seen.masks, jnp.zeros((len(views), 0, 2), jnp.int32), none)
    scores = jnp.einsum("nd,srd->nsr", l2_normalize(seen.summary[:, 0]), l2_normalize(keys))
    age = (cursor - 1 - jnp.arange(slots)) % slots  # in slots; 0 was written last
    scores = jnp.where((age >= new)[:, None], scores, -jnp.inf)
    similarity, places = jax.lax.top_k(scores.reshape(len(views), slots * rows), neighbours)
    return Seen(x, seen.masks, jnp.stack([places // rows, places % rows], axis=-1), similarity)


class Kept(NamedTuple):
    """Of one process's part of a batch: index int64 [b] into the source, first views made small uint8 [b, t, t, 3]."""

    index: np.ndarray
    views: np.ndarray


class Origins:
    """Which images the entries of the bank come from: as far as this process has seen them come.

    The last batches are kept as the bank keeps them (see `models.context`): row r takes the images r * new ...
    (r + 1) * new of the global batch, slot by slot. What was there before this start is not known.
    """

    def __init__(self, slots: int, rows: int, new: int, hosts: int = 1, host: int = 0):
        """`slots`, `rows`: of the bank; `new`: slots written in a step; the batch is split over `hosts` in order."""
        self.slots, self.rows, self.new, self.host = slots, rows, new, host
        self.steps = -(-slots // new)  # whose images are in the bank
        self.part = rows * new // hosts  # images of this process in a batch
        self.batches: collections.OrderedDict[int, Kept] = collections.OrderedDict()

    def keep(self, step: int, index: np.ndarray, views: np.ndarray) -> None:
        """Notes the images that the step wrote; forgets those that it overwrote."""
        self.batches[step] = Kept(np.array(index), views)
        while len(self.batches) > self.steps:
            self.batches.popitem(last=False)

    def find(self, step: int, cursor: int, slot: int, row: int) -> tuple[Kept, int] | None:
        """The kept batch and the place in it of a bank entry, as of `step` with the bank's cursor after it.

        None if it was written before this start, or holds an image of another process.
        """
        age = (cursor - 1 - slot) % self.slots
        kept = self.batches.get(step - age // self.new)
        place = row * self.new + self.new - 1 - age % self.new - self.host * self.part
        return (kept, place) if kept is not None and 0 <= place < self.part else None


@dataclasses.dataclass
class Pictures:
    """A hook: every n steps a sheet for a few images of the batch (see `drawing.draw`).

    All processes call it at the same step: they look together, and send what they kept to the first, which draws.
    """

    every: int
    images: int
    neighbours: int
    origins: Origins | None  # None without a bank
    side: int  # of kept images
    look: Callable[[TrainState, Array], Seen]  # `see` with its settings
    compiled: Any = None  # `look`, at the first use

    def __call__(
        self, step: int, state: TrainState, model: Pretrainer, batch: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray] | None:
        """{"pictures": uint8 [H, W, 3]} when due; see `train.Hook`."""
        left = -step % self.every
        if self.origins is not None and left < self.origins.steps:  # else overwritten before it could be shown
            self.origins.keep(step, batch["index"], shrink(batch["views"][:, 0], self.side))
        if left:
            return None
        first = {name: self._from_first_process(batch[name][: self.images]) for name in ("views", "index", "label")}
        if self.compiled is None:
            mesh: Any = state.bank.cursor.sharding
            self.compiled = jax.jit(self.look, out_shardings=meshes.replicated(mesh.mesh))
        seen = jax.device_get(self.compiled(state, first["views"]))
        thumbnails, index = self._fetch(step, int(state.bank.cursor), seen.nearest)
        if jax.process_index():
            return None
        rows = [
            Row(
                title=f"image {first['index'][i]}" + (f", class {first['label'][i]}" if first["label"][i] >= 0 else ""),
                views=seen.views[i],
                masks=seen.masks[i],
                neighbours=[
                    (float(s), (thumb, int(source)) if source >= 0 else None)
                    for s, thumb, source in zip(seen.similarity[i], thumbnails[i], index[i], strict=True)
                ],
            )
            for i in range(len(first["views"]))
        ]
        return {"pictures": draw(f"step {step:,}", rows)}

    def _from_first_process(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(multihost_utils.broadcast_one_to_all(x)) if jax.process_count() > 1 else x

    def _fetch(self, step: int, cursor: int, nearest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Kept images [n, k, t, t, 3] and their indices [n, k] of bank entries [n, k, 2]; -1 where nobody knows."""
        shape = nearest.shape[:2]
        thumbnails, index = np.zeros((*shape, self.side, self.side, 3), np.uint8), np.full(shape, -1, np.int64)
        for at in np.ndindex(shape):
            slot, row = nearest[at]
            found = None if self.origins is None else self.origins.find(step, cursor, int(slot), int(row))
            if found is not None:
                kept, place = found
                thumbnails[at], index[at] = kept.views[place], kept.index[place]
        if jax.process_count() == 1:
            return thumbnails, index
        # Each entry is known to one process at most.
        everybodys: Any = multihost_utils.process_allgather((thumbnails, index))
        return everybodys[0].max(axis=0), everybodys[1].max(axis=0)


def shrink(views: np.ndarray, side: int) -> np.ndarray:
    """uint8 [b, S, S, 3] -> copies [b, side, side, 3]."""
    if views.shape[1] == side:
        return np.array(views)
    return np.stack([cv2.resize(view, (side, side), interpolation=cv2.INTER_AREA) for view in views])


def build_pictures(config: PretrainConfig) -> Pictures:
    """From the settings `pictures.*` of a pretraining config."""
    bank, batch, hosts = config.context.bank_length, config.batch_size, jax.process_count()
    rows = math.gcd(bank, batch)
    new, slots = batch // rows, bank // rows
    origins = Origins(slots, rows, new, hosts, jax.process_index()) if bank else None
    local = max(1, bank // hosts)
    neighbours = min(config.pictures.neighbours, max(0, bank - batch))
    return Pictures(
        every=config.pictures.every,
        images=min(config.pictures.images, batch // hosts),
        neighbours=neighbours,
        origins=origins if neighbours else None,
        side=max(8, min(config.input_size, THUMBNAIL, math.isqrt(MEMORY // (3 * local)))),
        look=lambda state, views: see(
            state,
            views,
            model=build_pretrainer(config),
            seed=config.seed,
            augment=build_photometric(config),
            new=new,
            neighbours=neighbours,
        ),
    )
