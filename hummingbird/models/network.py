"""One of the two networks: a module applied to theta or to xi."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable
from typing import Concatenate, NamedTuple, ParamSpec, TypeVar

import flax.linen as nn

from hummingbird.models.params import Params

M = TypeVar("M", bound=nn.Module)
P = ParamSpec("P")
T = TypeVar("T")


class Network(NamedTuple):
    """Parameters and running batch-norm statistics of a network.

    Attributes:
      params: theta or xi.
      stats: the collection `batch_stats`; empty if nothing has batch norm.
    """

    params: Params
    stats: Params

    def apply(
        self, module: M, method: Callable[Concatenate[M, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> tuple[T, Network]:
        """Calls a method of a Flax module with these parameters.

        Args:
          module: its parameters are a part of `params`; other parameters are ignored.
          method: as in `Pretrainer.values`.
          args, kwargs: its arguments.

        Returns:
          What the method returns, and the network with the running statistics that the call left behind.
        """
        variables = {"params": self.params, "batch_stats": self.stats}
        out, changed = module.apply(variables, *args, method=method, mutable=["batch_stats"], **kwargs)
        return out, self._replace(stats=changed.get("batch_stats", self.stats))
