"""A vision transformer as a backbone: any of its layers, and its two halves around the last projection."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Key

from hummingbird.errors import UserError
from hummingbird.models.architecture import Architecture
from hummingbird.models.backbone import (
    ARITHMETIC,
    LAST_LAYER,
    Backbone,
    Features,
    Images,
    LastBlock,
    Output,
    Projection,
    Tokens,
    indices,
    to_unit,
)
from hummingbird.models.blocks import survival_factors
from hummingbird.models.params import Params, leaf, subtree
from hummingbird.models.vit import ViT, split_tokens, to_grid


@dataclasses.dataclass(frozen=True)
class FrozenViT(Backbone):
    """See `Backbone`.

    Attributes:
      arch: the transformer.
      chosen: which tokens are the features.
      drop_path: where it is trained: probability that an image skips a branch of the last layer.
      remat: where it is trained: recompute each block in the backward pass.
    """

    arch: Architecture
    chosen: Features = LAST_LAYER
    drop_path: float = 0.0
    remat: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.chosen.indices(self.depth)

    def __str__(self) -> str:
        return "a ViT"

    @property
    def patch_size(self) -> int:
        return self.arch.patch_size

    @property
    def dim(self) -> int:
        return self.arch.width * len(self.chosen.indices(self.depth))

    @property
    def has_cls(self) -> bool:
        return self.arch.cls

    @property
    def std(self) -> tuple[float, float, float]:
        return self.arch.std

    def with_std(self, std: tuple[float, float, float]) -> FrozenViT:
        return dataclasses.replace(self, arch=dataclasses.replace(self.arch, std=std))

    @property
    def depth(self) -> int:
        """Number of layers to choose from."""
        return self.arch.depth

    def module(self) -> ViT:
        """Returns the Flax module."""
        return ViT(self.arch, remat=self.remat, dtype=jnp.dtype(ARITHMETIC[self.dtype].dtype))

    def features(self, params: Params, images: Images) -> Output:
        chosen = self.chosen
        layers = self._run(params, images, chosen.indices(self.depth), chosen.kind, chosen.norm)
        return self._output(jnp.concatenate(layers, axis=-1), images)

    def layers(
        self,
        params: Params,
        images: Images,
        layers: tuple[int, ...],
        norm: bool,
        drop_keys: Key[Array, " B"] | None = None,
    ) -> list[Output]:
        outputs = self._run(params, images, indices(layers, self.depth), "tokens", norm, drop_keys)
        return [self._output(x, images) for x in outputs]

    def body(self, params: Params, images: Images) -> LastBlock:
        vit = self._bound(params, self.dtype)
        x, places = vit.embed(self._normalized(images))
        *before, last = vit.layers[: self.last_layer() + 1]
        for block in before:
            x, _ = block(x, places)
        return LastBlock(x, last.attend(x, places))

    def tail(self, params: Params, last: LastBlock, projected: Float[Array, "B T D"] | None) -> Float[Array, "B T D"]:
        vit = self._bound(params, "float32")
        block = vit.layers[self.last_layer()]
        if projected is None:
            projected = block.project(last.attended.astype(jnp.float32))
        x = block.finish(last.residual.astype(jnp.float32), projected.astype(jnp.float32))
        return vit.normed(x) if self.chosen.norm else x

    def projection(self, params: Params) -> Projection:
        out = subtree(params, f"block_{self.last_layer():02d}", "attention", "out")
        return Projection(leaf(out, "kernel"), leaf(out, "bias") if self.arch.out_bias else None)

    def split(self, tokens: Float[Array, "B T D"]) -> Tokens:
        return split_tokens(tokens, self.arch)

    def _bound(self, params: Params, dtype: str) -> ViT:
        return dataclasses.replace(self, dtype=dtype).module().bind({"params": params})

    def last_layer(self) -> int:
        """Returns the index of the block that gives the features; UserError if they come from elsewhere."""
        layers = self.chosen.indices(self.depth)
        if self.chosen.kind != "tokens" or len(layers) != 1:
            what = f"the {self.chosen.kind} of layers {list(layers)}"
            raise UserError(
                f"body and tail need tokens of one layer as features, not {what}: leave encoder.features "
                "and encoder.layers out"
            )
        return layers[0]

    def _normalized(self, images: Images) -> Float[Array, "B H W 3"]:
        mean, std = jnp.asarray(self.arch.mean, jnp.float32), jnp.asarray(self.arch.std, jnp.float32)
        return (to_unit(images) - mean) / std

    def _run(
        self,
        params: Params,
        images: Images,
        layers: tuple[int, ...],
        kind: str,
        norm: bool,
        drop_keys: Key[Array, " B"] | None = None,
    ) -> list[Array]:
        """Returns [B, T, D] for each of `layers`, counted from 0."""
        vit, factors = self._bound(params, self.dtype), None
        if drop_keys is not None and self.drop_path:
            factors = survival_factors(drop_keys, self.depth, self.drop_path)
        x, places = vit.embed(self._normalized(images))
        found: dict[int, Array] = {}
        for i, block in enumerate(vit.layers[: max(layers) + 1]):
            before, (x, _) = x, block(x, places, None if factors is None else factors[i])
            if i in layers and kind != "tokens":
                found[i] = block.split(before)[kind]
            elif i in layers:
                found[i] = vit.normed(x) if norm else x
        return [found[i] for i in layers]

    def _output(self, tokens: Float[Array, "B T D"], images: Images) -> Output:
        patches, cls = self.split(tokens)
        return Output(to_grid(patches, images, self.arch.patch_size), cls)
