"""One optimiser step of a decoder: encode, decode, loss, update."""

# JAX's own annotations are partly unknown, and Optax has no stubs.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple, no_type_check

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax import Array
from jaxtyping import Float, Int, Key, Shaped, UInt8

from hummingbird.decoders.model import Encoded, Model
from hummingbird.decoders.targets import Target
from hummingbird.models.params import Params, subtree


@no_type_check  # at run time: trees of shapes and of shardings have this class too
class DecoderState(flax.struct.PyTreeNode):
    """Everything that a step changes. Randomness is derived from the seed and `step`, so there is no RNG state.

    Attributes:
      step: int32, optimiser steps taken.
      online: parameters of the "decoder", and of the "encoder" where it is trained too.
      online_stats: running batch-norm statistics of the decoder.
      opt_state: state of the optax chain.
    """

    step: Array
    online: Params
    online_stats: Params
    opt_state: optax.OptState


class Batch(NamedTuple):
    """A global batch of B crops.

    Attributes:
      inputs: the crops, or their features from a frozen encoder.
      labels: of their pixels.
    """

    inputs: UInt8[Array, "B S S 3"] | Encoded
    labels: Shaped[Array, "B S S *C"]


@dataclasses.dataclass(frozen=True)
class Fit:
    """What a step consists of; everything but parameters, state and batch.

    Attributes:
      model: encoder and head.
      target: what is learned.
      optimizer: updates the parameters.
      seed: dropout and stochastic depth are keyed by fold_in(seed, step).
      micro_batches: parts of the batch of which gradients are averaged; batch norm sees a part.
      drop_path: whether the encoder is trained with stochastic depth.
    """

    model: Model
    target: Target
    optimizer: optax.GradientTransformation
    seed: int
    micro_batches: int
    drop_path: bool = False


def fit_step(fit: Fit, frozen: Params, state: DecoderState, batch: Batch) -> tuple[DecoderState, dict[str, Array]]:
    """Takes one step: returns the new state and the metrics of the batch.

    Args:
      fit: what the step consists of.
      frozen: parameters of the encoder if it is not trained, else empty.
      state: before the step.
      batch: crops and labels.
    """
    key = jax.random.fold_in(jax.random.key(fit.seed), state.step)

    # 1. The loss of a part of the batch, as a function of what is trained, and its gradient.
    def loss_of(
        online: Params, stats: Params, part: Batch, numbers: Int[Array, " b"], rng: Key[Array, ""]
    ) -> tuple[Float[Array, ""], Params]:
        encoder = subtree(online, "encoder") if "encoder" in online else frozen
        drops = jax.vmap(jax.random.fold_in, (None, 0))(key, numbers) if fit.drop_path else None
        encoded = fit.model.encode(encoder, part.inputs, drops)
        decoded, stats = fit.model.decode_training(subtree(online, "decoder"), stats, encoded, rng)
        return fit.target.loss(decoded, part.labels, state.step), stats

    gradient_of = jax.value_and_grad(loss_of, has_aux=True)
    (loss, stats), gradients = in_parts(gradient_of, fit.micro_batches, state, batch, key)

    # 2. The update.
    updates, opt_state = fit.optimizer.update(gradients, state.opt_state, state.online)
    online: Any = optax.apply_updates(state.online, updates)

    norm = optax.tree.norm(gradients)
    metrics = {
        "loss": loss,
        "gradient_norm": norm,
        "parameter_norm": optax.tree.norm(online),
        "finite": jnp.isfinite(loss) & jnp.isfinite(norm),
    }
    return DecoderState(state.step + 1, online, stats, opt_state), metrics


def in_parts(gradient_of: Any, parts: int, state: DecoderState, batch: Batch, key: Key[Array, ""]) -> Any:
    """Returns ((loss, statistics), gradients), averaged over parts of the batch that are computed in turn.

    Part i takes images i, i + parts, ...: on several devices, an equal share of each device's own images.
    """
    numbers = jnp.arange(len(batch.labels))
    if parts == 1:
        return gradient_of(state.online, state.online_stats, batch, numbers, key)

    def split(x: Array) -> Array:
        return x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1)

    def one(carry: Any, part: tuple[Batch, Array, Array]) -> tuple[Any, None]:
        (total, stats), sums = carry
        images, numbers, i = part
        (loss, stats), gradients = gradient_of(state.online, stats, images, numbers, jax.random.fold_in(key, i))
        return ((total + loss / parts, stats), jax.tree.map(lambda a, b: a + b / parts, sums, gradients)), None

    zeros = jax.tree.map(jnp.zeros_like, state.online)
    start = ((jnp.zeros(()), state.online_stats), zeros)
    return jax.lax.scan(one, start, (*jax.tree.map(split, (batch, numbers)), jnp.arange(parts)))[0]
