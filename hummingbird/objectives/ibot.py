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
from jaxtyping import Bool, Float, Key

from hummingbird.config import PretrainConfig
from hummingbird.config.objectives import Dino as DinoSettings
from hummingbird.config.objectives import Ibot as Settings
from hummingbird.data.views import GLOBAL
from hummingbird.errors import UserError
from hummingbird.models.network import Network, initialise
from hummingbird.models.params import Params, leaf
from hummingbird.models.prototypes import PrototypeHead
from hummingbird.objectives.dino import build_head, every_view, teacher_probabilities
from hummingbird.objectives.distillation import across_views, centred, cross_entropy, entropy, moved_centre, sinkhorn
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

Carry = tuple[Float[Array, "B V"], Float[Array, " K"]]


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

    def patches(self, tokens: Float[Array, "*batch D"], trained: ArrayLike = 1.0) -> Float[Array, "*batch K"]:
        """Returns the logits of patches; `trained` as of `images`."""
        return (self.patch_head or self.head)(tokens, trained)


@dataclasses.dataclass(frozen=True)
class IBOT(Common):
    """L_[CLS] + weight L_MIM (Eq. 2 and 3); see `interface.Objective`.

    Its own state is {"centre": c, "patch_centre": c'}, [K] each.

    Attributes:
      heads: the heads.
      dino: temperatures of the student, centring.
      settings: masks and weights.
      grid: rows and columns of the patches of a global view.
    """

    heads: IbotHeads
    dino: DinoSettings
    settings: Settings
    grid: tuple[int, int]

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
        """Computes the loss of the whole batch and moves both centres."""
        assert target is not None
        trained, tau = schedules["prototypes"], schedules["teacher_temperature"]
        student, online = online.apply(self.heads, IbotHeads.images, every_view(online), trained)  # [B, V, K]
        teacher, target = target.apply(self.heads, IbotHeads.images, target.outputs[GLOBAL].pooled)  # [B, 2, K]
        centre, momentum = leaf(extra, "centre"), self.dino.centre_momentum
        probabilities = teacher_probabilities(self.dino, teacher, centre, tau)
        images = across_views(probabilities, student, self.dino.student_temperature)  # Eq. 2
        patches, mean = self.patch_loss(online, target, leaf(extra, "patch_centre"), trained, tau)  # Eq. 3
        metrics = {"loss_ssl": images, "loss_patches": patches, "teacher_entropy": entropy(probabilities)}
        patch_centre = momentum * leaf(extra, "patch_centre") + (1 - momentum) * mean
        centres = {"centre": moved_centre(centre, teacher, momentum), "patch_centre": patch_centre}
        return Loss(images + self.settings.weight * patches, metrics, online, target, centres)

    def patch_loss(
        self, online: Network, target: Network, centre: Float[Array, " K"], trained: ArrayLike, tau: ArrayLike
    ) -> tuple[Float[Array, ""], Float[Array, " K"]]:
        """Computes L_MIM (Eq. 3): the mean over masked patches of a view, then over views and images.

        The heads process a few patches of every image at a time, because [B, V, N, K] logits would not fit in memory;
        Sinkhorn-Knopp needs all of them at once.

        Returns:
          The loss, and the mean of the teacher's logits over all patches.
        """
        students, teachers = online.outputs[GLOBAL].tokens, target.outputs[GLOBAL].tokens  # [B, V, N, D]
        own = online.outputs[GLOBAL].own
        assert students is not None
        assert teachers is not None
        assert own is not None
        count = students.shape[2]
        chunk = count if self.dino.centring == "sinkhorn" else divisor(count, self.settings.chunk)

        @functools.partial(jax.checkpoint, prevent_cse=False)
        def part(carry: Carry, xs: tuple[Array, Array, Array]) -> tuple[Carry, None]:
            tokens, wanted, mask = xs  # [B, V, n, ...]
            student, _ = online.apply(self.heads, IbotHeads.patches, tokens, trained)
            teacher, _ = target.apply(self.heads, IbotHeads.patches, wanted)
            if self.dino.centring == "sinkhorn":
                flat = teacher.reshape(-1, teacher.shape[-1])
                probabilities = sinkhorn(flat, tau, mask.reshape(-1).astype(jnp.float32)).reshape(teacher.shape)
            else:
                probabilities = centred(teacher, centre, tau)
            losses = jnp.sum(cross_entropy(probabilities, student, self.dino.student_temperature) * mask, axis=2)
            return (carry[0] + losses, carry[1] + teacher.sum(axis=(0, 1, 2))), None

        start = jnp.zeros(students.shape[:2]), jnp.zeros(centre.shape)
        parts = tuple(in_parts(x, chunk) for x in (students, teachers, own["mask"]))
        (losses, total), _ = jax.lax.scan(part, start, parts)
        masked: Bool[Array, "B V N"] = own["mask"]
        loss = jnp.mean(losses / jnp.maximum(masked.sum(axis=2), 1))
        return loss, jax.lax.stop_gradient(total) / masked.size


def in_parts(x: Array, chunk: int) -> Array:
    """Reshapes [B, V, N, ...] to [N / chunk, B, V, chunk, ...]."""
    return jnp.moveaxis(x.reshape(*x.shape[:2], -1, chunk, *x.shape[3:]), 2, 0)


def divisor(count: int, most: int) -> int:
    """Returns the largest divisor of `count` that is at most `most`.

    Example:
      >>> divisor(196, 64)
      49
    """
    return max(n for n in range(1, min(count, most) + 1) if count % n == 0)


def check(config: PretrainConfig) -> tuple[int, int]:
    """Returns the grid of patches.

    Raises:
      UserError: masks that leave no patch.
    """
    (low, high), grid = config.ibot.mask_ratio, build_grid(config)
    if low > high:
        raise UserError(f"config key ibot.mask_ratio: {low} is above {high}, expected the lower number first")
    count_masked("ibot.mask_ratio", high, grid)
    return grid


def build_heads(config: PretrainConfig) -> IbotHeads:
    """Builds the heads from `dino`, `ibot.separate_head` and `dtype` of a config."""
    return IbotHeads(build_head(config), build_head(config) if config.ibot.separate_head else None)


def build(config: PretrainConfig, replicate: Replicate) -> IBOT:
    """Builds the objective from `dino`, `ibot`, `encoder`, `input_size` and `dtype` of a config.

    Raises:
      UserError: as `check` raises.
    """
    return IBOT(build_heads(config), config.dino, config.ibot, check(config))
