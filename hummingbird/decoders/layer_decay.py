"""Layer-wise learning-rate decay: the earlier a layer of the encoder, the smaller its steps (BEiT, MAE).

With L layers, layer id 0 are the embeddings, i + 1 is block i, and L + 1 everything else: the final norm and the head.
Steps of id n are multiplied by decay^(L + 1 - n). Networks of stages number their blocks across all stages; the
downsampling before a stage belongs to its first block.
"""

# JAX's own annotations are partly unknown, and Optax has no stubs.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import re
from collections.abc import Mapping

import jax
import numpy as np
import optax
from jax import Array

from hummingbird.errors import UserError
from hummingbird.models.backbone import Backbone
from hummingbird.models.frozen_vit import FrozenViT
from hummingbird.models.params import Params
from hummingbird.models.staged import FrozenStages

EMBEDDINGS = (
    "patch_embed",
    "positions",
    "cls",
    "registers",
    "mask_token",
    "pre_norm",
    "stem",
    "stem_conv",
    "stem_norm",
)
NEVER_DECAYED = ("bias", "positions", "cls", "registers", "mask_token", "relative")


def blocks_of(backbone: Backbone) -> tuple[int, ...]:
    """Returns the blocks of each stage of an encoder; a ViT has one stage.

    Raises:
      UserError: the encoder has no blocks.
    """
    if isinstance(backbone, FrozenViT):
        return (backbone.depth,)
    if isinstance(backbone, FrozenStages):
        return backbone.arch.depths
    raise UserError(f"decoder.layer_decay: {backbone} has no blocks to decay over; set it to 1")


def layer_id(path: tuple[str, ...], blocks: tuple[int, ...]) -> int:
    """Returns the layer id of a parameter of an encoder.

    Args:
      path: names in the encoder's tree, such as ("block_03", "mlp", "up", "kernel").
      blocks: as in `blocks_of`.

    Example:
      >>> [layer_id((name,), (12,)) for name in ("patch_embed", "block_00", "block_11", "norm")]
      [0, 1, 12, 13]
      >>> [layer_id((name,), (2, 3)) for name in ("stem", "stage_1_shrink", "stage_1_block_2", "norm")]
      [0, 3, 5, 6]
    """
    name = path[0]
    if name in EMBEDDINGS:
        return 0
    if match := re.fullmatch(r"stage_(\d+)_block_(\d+)", name):
        return sum(blocks[: int(match[1])]) + int(match[2]) + 1
    if match := re.fullmatch(r"(?:stage_)?(?:shrink_)?(\d+)(?:_shrink)?(?:_norm)?", name):
        return sum(blocks[: int(match[1])]) + 1
    if match := re.fullmatch(r"block_(\d+)", name):
        return int(match[1]) + 1
    return sum(blocks) + 1


def layer_ids(encoder: Params, blocks: tuple[int, ...]) -> Mapping[str, object]:
    """Returns the layer ids of an encoder's parameters, in a tree like theirs."""
    return jax.tree_util.tree_map_with_path(lambda path, _: layer_id(names(path), blocks), encoder)


def decays(params: Params) -> Mapping[str, object]:
    """Returns which parameters weight decay applies to, in a tree like theirs.

    Not to arrays with one axis (norms, biases, LayerScale), position embeddings, [CLS], registers and tables of
    relative positions.
    """
    return jax.tree_util.tree_map_with_path(lambda path, x: _decays(names(path), x), params)


def _decays(path: tuple[str, ...], x: Array | np.ndarray) -> bool:
    return x.ndim > 1 and path[-1] not in NEVER_DECAYED


def names(path: tuple[jax.tree_util.KeyEntry, ...]) -> tuple[str, ...]:
    """Returns the names of a path of JAX's tree functions."""
    return tuple(str(getattr(entry, "key", entry)) for entry in path)


def groups(encoder: Params, blocks: tuple[int, ...]) -> dict[int, list[str]]:
    """Returns {layer id: paths of its parameters}, in the order of the ids: what `hummingbird plan` may print."""
    found = dict[int, list[str]]()
    for path, _ in jax.tree_util.tree_leaves_with_path(encoder):
        found.setdefault(layer_id(names(path), blocks), []).append("/".join(names(path)))
    return {number: sorted(found[number]) for number in sorted(found)}


def factors(encoder: Params, blocks: tuple[int, ...], decay: float) -> Mapping[str, object]:
    """Returns decay^(L + 1 - id) for each parameter of an encoder, in a tree like theirs."""
    last = sum(blocks) + 1
    return jax.tree.map(lambda number: decay ** (last - number), layer_ids(encoder, blocks))


def scale_by(factors: Mapping[str, object]) -> optax.GradientTransformation:
    """Multiplies updates by a tree of numbers like theirs.

    Place it after Adam and weight decay and before the learning rate, so that both are scaled: it then acts as a
    learning rate for each group of parameters.

        optax.chain(
            optax.scale_by_adam(b1=0.9, b2=0.999),
            optax.add_decayed_weights(0.05, mask=decays),
            scale_by({"encoder": factors(params["encoder"], (12,), 0.65), "head": 1.0}),
            optax.scale_by_learning_rate(schedule),
        )

    Args:
      factors: numbers in a tree like that of the updates; one of them may also stand for a whole subtree.
    """

    def update(updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None):
        del params
        scaled = jax.tree.map(lambda factor, part: jax.tree.map(lambda x: factor * x, part), factors, updates)
        return scaled, state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
