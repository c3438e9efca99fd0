"""iBOT (Zhou et al. 2022): DINO, and the same self-distillation for masked patches, with or without context."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Int, Key, Shaped

from hummingbird.config import PretrainConfig
from hummingbird.config.objectives import Dino as DinoSettings
from hummingbird.config.objectives import Ibot as Settings
from hummingbird.data.views import GLOBAL
from hummingbird.errors import UserError
from hummingbird.models.network import Network, initialise
from hummingbird.models.params import Params, leaf
from hummingbird.models.prototypes import PrototypeHead
from hummingbird.objectives.dino import build_head, every_view, teacher_probabilities
from hummingbird.objectives.distillation import (
    across_views,
    centred,
    cross_entropy,
    entropy,
    moved_centre,
    sinkhorn_centre,
)
from hummingbird.objectives.interface import (
    Batch,
    Common,
    Heads,
    ImageKeys,
    Loss,
    PerImage,
    Replicate,
    Scheduled,
    Views,
)
from hummingbird.objectives.masking import build_grid, count_masked, per_view, some_block_masks


class IbotHeads(nn.Module):
    """Heads of both networks.

    Attributes:
      head: for images, and for patches unless they have their own.
      patch_head: for patches; None: `head`.
    """

    head: PrototypeHead
    patch_head: PrototypeHead | None

    def __call__(self, pooled: Float[Array, "*batch D"], trained: ArrayLike = 1.0) -> Float[Array, "*batch K"]:
        """Runs every head, for initialisation; returns the logits of the patches."""
        self.images(pooled, trained)
        return self.patches(pooled, trained)

    def images(self, pooled: Float[Array, "*batch D"], trained: ArrayLike = 1.0) -> Float[Array, "*batch K"]:
        """Returns the logits of images; with `trained` 0 the prototypes get no gradient."""
        return self.head(pooled, trained)

    def patches(
        self, tokens: Float[Array, "*batch D"], trained: ArrayLike = 1.0, mean: bool = False
    ) -> Float[Array, "*logits K"]:
        """Returns the logits of patches, or their mean; `trained` and `mean` as in `PrototypeHead`."""
        return (self.patch_head or self.head)(tokens, trained, mean)


@dataclasses.dataclass(frozen=True)
class IBOT(Common):
    """L_[CLS] + weight L_MIM (Eq. 2 and 3); see `interface.Objective`.

    Its own state is {"centre": c, "patch_centre": c'}, [K] each.

    Attributes:
      heads: the heads.
      dino: temperatures of the student, centring.
      settings: masks and weights.
      grid: rows and columns of the patches of a global view.
      most: the largest number of patches that may be masked in a view.
    """

    heads: IbotHeads
    dino: DinoSettings
    settings: Settings
    grid: tuple[int, int]
    most: int

    def init(self, key: Key[Array, ""], width: int) -> Heads:
        """Returns the parameters of the heads, and centres of 0."""
        centres = {name: jnp.zeros(self.dino.prototypes) for name in ("centre", "patch_centre")}
        return Heads(*initialise(self.heads, key, jnp.zeros((2, width))), centres)

    def per_image(
        self, online: Network, target: Network | None, views: Views, rngs: ImageKeys
    ) -> tuple[PerImage, PerImage]:
        """Encodes masked global views and local ones by the student, whole global views by the teacher."""
        assert target is not None
        keys, settings = per_view(rngs, views[GLOBAL].shape[1]), self.settings
        mask = some_block_masks(keys, self.grid, settings.mask_probability, settings.mask_ratio)
        masked = online.encode_views(views[GLOBAL], mask=mask, tokens=True)._replace(own={"mask": mask})
        others = {name: online.encode_views(x, group=i) for i, (name, x) in enumerate(views.items()) if name != GLOBAL}
        return {GLOBAL: masked, **others}, {GLOBAL: target.encode_views(views[GLOBAL], tokens=True)}

    def loss(self, online: Network, target: Network | None, batch: Batch, extra: Params, schedules: Scheduled) -> Loss:
        """Computes the loss of the whole batch and moves the centres, if there are any."""
        assert target is not None
        trained, tau = schedules["prototypes"], schedules["teacher_temperature"]
        student, online = online.apply(self.heads, IbotHeads.images, every_view(online), trained)  # [B, V, K]
        teacher, target = target.apply(self.heads, IbotHeads.images, target.outputs[GLOBAL].pooled)  # [B, 2, K]
        centre, momentum = leaf(extra, "centre"), self.dino.centre_momentum
        probabilities = teacher_probabilities(self.dino, teacher, centre, tau)
        images = across_views(probabilities, student, self.dino.student_temperature)  # Eq. 2
        patches, mean = self.patch_loss(online, target, leaf(extra, "patch_centre"), trained, tau)  # Eq. 3
        metrics = {"loss_ssl": images, "loss_patches": patches, "teacher_entropy": entropy(probabilities)}
        if self.dino.centring == "sinkhorn":  # reads no centres
            centres = extra
        else:
            patch_centre = momentum * leaf(extra, "patch_centre") + (1 - momentum) * mean
            centres = {"centre": moved_centre(centre, teacher, momentum), "patch_centre": patch_centre}
        return Loss(images + self.settings.weight * patches, metrics, online, target, centres)

    def patch_loss(
        self, online: Network, target: Network, centre: Float[Array, " K"], trained: ArrayLike, tau: ArrayLike
    ) -> tuple[Float[Array, ""], Float[Array, " K"]]:
        """Computes L_MIM (Eq. 3): the mean over masked patches of a view, then over views and images.

        The heads process masked patches only, and a few of every view at a time, because [B, V, N, K] logits would not
        fit in memory.

        Returns:
          The loss, and the mean of the teacher's logits over all patches.
        """
        students, teachers = online.outputs[GLOBAL].tokens, target.outputs[GLOBAL].tokens  # [B, V, N, D]
        own = online.outputs[GLOBAL].own
        assert students is not None
        assert teachers is not None
        assert own is not None
        mask: Bool[Array, "B V N"] = own["mask"]
        most = in_even_parts(self.most, self.settings.chunk, mask.shape[2])
        chosen, count = first_masked(mask, most), divisor(most, self.settings.chunk)
        # [parts, B, V, n, ...]
        student_parts, teacher_parts, mask_parts = (
            in_parts(take(x, chosen), count) for x in (students, teachers, mask)
        )

        def teach(tokens: Array) -> Array:
            return target.apply(self.heads, IbotHeads.patches, tokens)[0]

        if self.dino.centring == "sinkhorn":
            centre = sinkhorn_centre(teach, (teacher_parts, mask_parts), len(centre), tau)

        @functools.partial(jax.checkpoint, prevent_cse=False)
        def part(total: Array, xs: tuple[Array, Array, Array]) -> tuple[Array, None]:
            tokens, wanted, counts = xs
            student, _ = online.apply(self.heads, IbotHeads.patches, tokens, trained)
            losses = cross_entropy(centred(teach(wanted), centre, tau), student, self.dino.student_temperature)
            return total + jnp.sum(losses * counts, axis=2), None

        losses, _ = jax.lax.scan(part, jnp.zeros(mask.shape[:2]), (student_parts, teacher_parts, mask_parts))
        loss = jnp.mean(losses / jnp.maximum(mask.sum(axis=2), 1))
        return loss, self.patch_mean(target, teachers)

    def patch_mean(self, target: Network, tokens: Float[Array, "B V N D"]) -> Float[Array, " K"]:
        """Returns the mean of the teacher's logits over all patches, without making them."""

        def add(total: Array, part: Array) -> tuple[Array, None]:
            return total + target.apply(self.heads, IbotHeads.patches, part, mean=True)[0], None

        parts = in_parts(jax.lax.stop_gradient(tokens), divisor(tokens.shape[2], self.settings.chunk))
        total, _ = jax.lax.scan(add, jnp.zeros(self.dino.prototypes), parts)
        return total / len(parts)


def first_masked(mask: Bool[Array, "*batch N"], most: int) -> Int[Array, "*batch M"]:
    """Returns the numbers of up to M = `most` masked patches in order, and after them those of others.

    Example:
      >>> first_masked(jnp.array([False, True, False, True]), 3).tolist()
      [1, 3, 0]
    """
    return jnp.argsort(~mask, axis=-1, stable=True)[..., :most]


def take(x: Shaped[Array, "B V N *item"], patches: Int[Array, "B V M"]) -> Shaped[Array, "B V M *item"]:
    """Returns the entries of some patches of each view."""
    return jnp.take_along_axis(x, patches.reshape(*patches.shape, *(1,) * (x.ndim - 3)), axis=2)


def in_parts(x: Array, chunk: int) -> Array:
    """Reshapes [B, V, N, ...] to [N / chunk, B, V, chunk, ...]."""
    return jnp.moveaxis(x.reshape(*x.shape[:2], -1, chunk, *x.shape[3:]), 2, 0)


def in_even_parts(count: int, most: int, limit: int) -> int:
    """Rounds `count` up, to `limit` at most, so that it splits evenly into the fewest parts of at most `most` patches.

    Example:
      >>> in_even_parts(98, 64, 196), in_even_parts(97, 64, 196)  # twice 49; a prime alone would make 97 parts
      (98, 98)
    """
    parts = -(-count // most)
    return min(parts * -(-count // parts), limit)


def divisor(count: int, most: int) -> int:
    """Returns the largest divisor of `count` that is at most `most`.

    Example:
      >>> divisor(196, 64)
      49
    """
    return max(n for n in range(1, min(count, most) + 1) if count % n == 0)


def build_masks(config: PretrainConfig) -> tuple[tuple[int, int], int]:
    """Returns the grid of patches, and how many of them may be masked: at least 1, so that no array is empty.

    Raises:
      UserError: masks that leave no patch.
    """
    (low, high), grid = config.ibot.mask_ratio, build_grid(config)
    if low > high:
        raise UserError(f"config key ibot.mask_ratio: {low} is above {high}, expected the lower number first")
    return grid, max(1, count_masked("ibot.mask_ratio", high, grid))


def build_heads(config: PretrainConfig) -> IbotHeads:
    """Builds the heads from `dino`, `ibot.separate_head` and `dtype` of a config."""
    return IbotHeads(build_head(config), build_head(config) if config.ibot.separate_head else None)


def build(config: PretrainConfig, replicate: Replicate) -> IBOT:
    """Builds the objective from `dino`, `ibot`, `encoder`, `input_size` and `dtype` of a config.

    Raises:
      UserError: as `build_masks` raises.
    """
    return IBOT(build_heads(config), config.dino, config.ibot, *build_masks(config))
