"""How queries are compared with keys: by inner product, or by the product kernel of gradient features."""

from __future__ import annotations

from typing import NamedTuple

import jax
from jaxtyping import Float

from hummingbird.models.params import AnyArray


class Widths(NamedTuple):
    """The parts of a feature, which lie side by side: f, a, and a delta for each objective.

    Attributes:
      width: channels of f and of each delta.
      inputs: channels of a.
      objectives: how many deltas there are.
    """

    width: int
    inputs: int
    objectives: int


def product_scores(
    queries: Float[AnyArray, "Q F"], keys: Float[AnyArray, "M F"], widths: Widths
) -> Float[AnyArray, "Q M"]:
    """Returns (f . f' + sum_l (delta_l . delta'_l) (a . a')) / (L + 1) of parts that are L2-normalised.

    Example:
      >>> row = jax.numpy.array([[1.0, 0.0, 1.0, 0.0, 1.0]])
      >>> product_scores(row, row, Widths(2, 1, 1)).item()
      1.0
    """
    width, inputs, objectives = widths
    start = width + inputs  # the deltas side by side: the sum of their inner products is one inner product
    with jax.default_matmul_precision("highest"):
        gradients = (queries[:, width:start] @ keys[:, width:start].T) * (queries[:, start:] @ keys[:, start:].T)
        return (queries[:, :width] @ keys[:, :width].T + gradients) / (objectives + 1)
