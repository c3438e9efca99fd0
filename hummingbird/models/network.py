"""One of the two networks of a training step: the same modules, applied to theta or to xi."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, Concatenate, ParamSpec, TypeVar

import flax.linen as nn
import jax
from jax import Array
from jaxtyping import Bool, Float, Int, Key

from hummingbird.models.context import ContextBank, unit_keys
from hummingbird.models.params import Params
from hummingbird.models.pretrainer import Pretrainer, ViewOutputs

M = TypeVar("M", bound=nn.Module)
P = ParamSpec("P")
T = TypeVar("T")


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["params", "stats", "bank", "keys", "values", "outputs", "drop_keys"],
    meta_fields=["model"],
)
@dataclasses.dataclass(frozen=True)
class Network:
    """A network during one step. Immutable: calls that change running statistics return a new one.

    Attributes:
      model: encoder, contextualisation and pooling.
      params: theta or xi, heads included.
      stats: running batch-norm statistics; empty if nothing has batch norm.
      bank: the memory bank that it attends to.
      keys: of the bank as its tokens attend to them, [slots, rows, D]; see `context.unit_keys`.
      values: phi(k) of the bank's keys, [slots, rows, D].
      outputs: {view group: what it made of the whole batch}; empty before the batch has passed it.
      drop_keys: one key per image for stochastic depth; None in the target network, and without it.
    """

    model: Pretrainer
    params: Params
    stats: Params
    bank: ContextBank
    keys: Array
    values: Array
    outputs: Mapping[str, ViewOutputs] = dataclasses.field(default_factory=dict[str, ViewOutputs])
    drop_keys: Key[Array, " B"] | None = None

    def encode_views(
        self,
        views: Float[Array, "B V S S 3"],
        mask: Bool[Array, "B V N"] | None = None,
        keep: Int[Array, "B V K"] | None = None,
        tokens: bool = False,
        group: int = 0,
    ) -> ViewOutputs:
        """Encodes, contextualises and pools views with pixels in [0, 1].

        Args:
          views: of one group.
          mask, keep, tokens: as in `Pretrainer.encode_views`.
          group: number of the group, so that stochastic depth is drawn independently for each.
        """
        drop_keys = self.drop_keys
        if drop_keys is not None:
            # Far from the small numbers by which objectives tell their own draws apart.
            drop_keys = jax.vmap(jax.random.fold_in, (0, None))(drop_keys, 2**31 - 1 - group)
        method = Pretrainer.encode_views
        return self.apply(self.model, method, views, self.keys, self.values, mask, keep, drop_keys, tokens)[0]

    def apply(
        self, module: M, method: Callable[Concatenate[M, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> tuple[T, Network]:
        """Calls a method of a Flax module with these parameters.

        Args:
          module: the model or a module with heads; its parameters are some of `params`.
          method: for example `Pretrainer.values`.
          args, kwargs: arguments of the method.

        Returns:
          What the method returns, and the network with updated running statistics.
        """
        variables = {"params": self.params, "batch_stats": self.stats}
        out, changed = module.apply(variables, *args, method=method, mutable=["batch_stats"], **kwargs)
        return out, dataclasses.replace(self, stats=changed.get("batch_stats", self.stats))


def read_bank(model: Pretrainer, params: Params, stats: Params, bank: ContextBank) -> Network:
    """Returns the network with the values of the bank, v = phi(k) (Eq. 2): stored ones, or computed by it now."""
    network = Network(model, params, stats, bank, unit_keys(bank.keys, model.dtype), bank.keys)
    if bank.values is not None:
        return dataclasses.replace(network, values=bank.values.astype(model.dtype))
    values, network = network.apply(model, Pretrainer.values, bank.keys)
    return dataclasses.replace(network, values=values)


def values_to_store(
    model: Pretrainer, params: Params, stats: Params, bank: ContextBank, keys: Float[Array, "B D"]
) -> tuple[Float[Array, "B D"] | None, Params]:
    """Computes v = phi(k) of new keys for a bank that stores values; its batch norm uses the statistics of the keys.

    Returns:
      The values, None for a bank that does not store them, and the running statistics.
    """
    if bank.values is None:
        return None, stats
    network = Network(model, params, stats, bank, keys[None], bank.values)
    values, network = network.apply(model, Pretrainer.values, keys[None])
    return values[0], network.stats


def initialise(module: nn.Module, key: Key[Array, ""], *inputs: Array) -> tuple[Params, Params]:
    """Returns random parameters of a module, and its batch-norm statistics (empty if it has none)."""
    variables: Any = module.init(key, *inputs)
    return variables["params"], variables.get("batch_stats", {})
