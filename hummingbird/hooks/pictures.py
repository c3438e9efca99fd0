"""Draws what a pretraining run works with: two views, the pooling attention over them, and the nearest bank entries."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental import multihost_utils
from jaxtyping import Float, Int, Shaped, UInt8

from hummingbird.config import PretrainConfig
from hummingbird.data.augment import Photometric, build_augment, photometric
from hummingbird.data.pipeline import HostBatch
from hummingbird.data.views import GLOBAL
from hummingbird.hooks.origins import Origins, Thumbnails, shrink
from hummingbird.hooks.picture_sheet import Row, draw
from hummingbird.models.context import ContextBank, l2_normalize
from hummingbird.models.network import read_bank
from hummingbird.models.pretrainer import Pretrainer, build_pretrainer
from hummingbird.train_step import TrainState

THUMBNAIL = 96  # largest side of a kept image, pixels
MEMORY = 2**29  # largest size of the kept images, bytes per process; they are scaled down to fit


class Inspection(NamedTuple):
    """What the network makes of the first n images of a batch; the same on all processes.

    Attributes:
      views: in [0, 1], as augmented for the network.
      masks: the pooling attention (Eq. 3).
      nearest: slot and row of the bank entries nearest to the mean token of the first view, best first.
      similarity: their cosine similarity.
    """

    views: Float[Array, "n V S S 3"]
    masks: Float[Array, "n V N"]
    nearest: Int[Array, "n k 2"]
    similarity: Float[Array, "n k"]


def inspect_views(
    state: TrainState,
    views: UInt8[Array, "n V S S 3"],
    *,
    model: Pretrainer,
    seed: int,
    augment: Photometric,
    new: int,
    neighbours: int,
) -> Inspection:
    """Applies the online network after a step to images of that step.

    Args:
      state: after the step. Its bank already holds the images of the step, which are left out of the search.
      views: the first of the global batch, since augmentation is keyed by the position in it.
      model: without a mesh, since these are few images.
      seed: of the run.
      augment: of the run.
      new: slots of the bank that a step writes.
      neighbours: k, at most the number of entries that older steps have written.
    """
    x = photometric(jax.random.fold_in(jax.random.key(seed), state.step - 1), views, augment)
    outputs = read_bank(model, state.online, state.online_stats, state.bank).encode_views(x)
    nearest, similarity = nearest_entries(state.bank, outputs.summary[:, 0], new, neighbours)
    return Inspection(x, outputs.masks, nearest, similarity)


def nearest_entries(
    bank: ContextBank, queries: Float[Array, "n D"], new: int, neighbours: int
) -> tuple[Int[Array, "n k 2"], Float[Array, "n k"]]:
    """Finds the entries with the largest cosine similarity, without the `new` slots that were written last.

    Returns:
      Slot and row of each, best first, and the similarities.
    """
    slots, rows = bank.keys.shape[:2]
    if not neighbours:
        return jnp.zeros((len(queries), 0, 2), jnp.int32), jnp.zeros((len(queries), 0))
    scores = jnp.einsum("nd,srd->nsr", l2_normalize(queries), l2_normalize(bank.keys))
    age = (bank.cursor - 1 - jnp.arange(slots)) % slots  # in slots; 0 was written last
    scores = jnp.where((age >= new)[:, None], scores, -jnp.inf)
    similarity, places = jax.lax.top_k(scores.reshape(len(queries), slots * rows), neighbours)
    return jnp.stack([places // rows, places % rows], axis=-1), similarity


@dataclasses.dataclass
class Pictures:
    """A hook that draws a sheet for a few images of the batch every n steps; see `picture_sheet.draw`.

    All processes take part at the same step: they run the network together and send the thumbnails they kept to the
    first, which draws.

    Attributes:
      every: steps between sheets.
      images: rows of a sheet.
      neighbours: bank entries shown per image.
      origins: images behind the bank entries; None without neighbours.
      side: of the thumbnails, pixels.
      inspect: `inspect_views` with its settings.
      compiled: `inspect` as compiled at its first use.
    """

    every: int
    images: int
    neighbours: int
    origins: Origins | None
    side: int
    inspect: Callable[[TrainState, Array], Inspection]
    compiled: Callable[[TrainState, np.ndarray], Inspection] | None = None

    def __call__(
        self, step: int, state: TrainState, model: Pretrainer, batch: HostBatch
    ) -> dict[str, UInt8[np.ndarray, "H W 3"]] | None:
        """Returns {"pictures": sheet} every `every` steps on the first process; see `train.Hook`."""
        left = -step % self.every
        if self.origins is not None and left < self.origins.steps:  # older images are overwritten before they are shown
            self.origins.add(
                step, Thumbnails(np.array(batch["index"]), shrink(batch["views"][GLOBAL][:, 0], self.side))
            )
        if left:
            return None
        arrays = (batch["views"][GLOBAL], batch["index"], batch["label"])
        views, index, label = (_of_first_process(x[: self.images]) for x in arrays)
        shown = jax.device_get(self._compile(state)(state, views))
        thumbnails, sources = self._thumbnails(step, int(state.bank.cursor), shown.nearest)
        if jax.process_index():
            return None
        rows = [
            Row(
                title=f"image {index[i]}" + (f", class {label[i]}" if label[i] >= 0 else ""),
                views=shown.views[i],
                masks=shown.masks[i],
                neighbours=[
                    (float(similarity), (thumbnail, int(source)) if source >= 0 else None)
                    for similarity, thumbnail, source in zip(
                        shown.similarity[i], thumbnails[i], sources[i], strict=True
                    )
                ],
            )
            for i in range(len(views))
        ]
        return {"pictures": draw(f"step {step:,}", rows)}

    def _compile(self, state: TrainState) -> Callable[[TrainState, np.ndarray], Inspection]:
        """Compiles `inspect` for the mesh of the state, once."""
        if self.compiled is None:
            self.compiled = jax.jit(self.inspect, out_shardings=state.bank.cursor.sharding)  # replicated
        return self.compiled

    def _thumbnails(
        self, step: int, cursor: int, nearest: Int[np.ndarray, "n k 2"]
    ) -> tuple[UInt8[np.ndarray, "n k t t 3"], Int[np.ndarray, "n k"]]:
        """Returns the thumbnails of bank entries, and the indices of their images; -1 where no process knows it."""
        shape = nearest.shape[:2]
        thumbnails, index = np.zeros((*shape, self.side, self.side, 3), np.uint8), np.full(shape, -1, np.int64)
        for at in np.ndindex(shape):
            slot, row = nearest[at]
            found = None if self.origins is None else self.origins.find(step, cursor, int(slot), int(row))
            if found is not None:
                batch, position = found
                thumbnails[at], index[at] = batch.views[position], batch.index[position]
        if jax.process_count() == 1:
            return thumbnails, index
        # At most one process knows each entry, so the largest value over processes is the known one.
        gathered = multihost_utils.process_allgather((thumbnails, index))
        return np.max(gathered[0], axis=0), np.max(gathered[1], axis=0)


def _of_first_process(x: Shaped[np.ndarray, " *shape"]) -> Shaped[np.ndarray, " *shape"]:
    """Returns the array of process 0 on every process."""
    return np.asarray(multihost_utils.broadcast_one_to_all(x)) if jax.process_count() > 1 else x


def build_pictures(config: PretrainConfig) -> Pictures:
    """Builds the hook from the settings `pictures.*` of a pretraining config."""
    bank, batch, hosts = config.context.bank_length, config.batch_size, jax.process_count()
    rows = math.gcd(bank, batch)
    slots, new = bank // rows, batch // rows
    neighbours = min(config.pictures.neighbours, max(0, bank - batch))
    kept = max(1, bank // hosts)  # thumbnails per process
    return Pictures(
        every=config.pictures.every,
        images=min(config.pictures.images, batch // hosts),
        neighbours=neighbours,
        origins=Origins(slots, rows, new, hosts, jax.process_index()) if neighbours else None,
        side=max(8, min(config.input_size, THUMBNAIL, math.isqrt(MEMORY // (3 * kept)))),
        inspect=functools.partial(
            inspect_views,
            model=build_pretrainer(config),
            seed=config.seed,
            augment=build_augment(config)[GLOBAL],
            new=new,
            neighbours=neighbours,
        ),
    )
