"""Attention of queries over the labels of their neighbours (Eq. 1)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Array, Float, Float64, Num

from hummingbird.errors import UserError

Floats = np.ndarray | Array


def cross_attend(
    q: Float[Floats, "Q D"] | None,
    keys: Float[Floats, "Q k D"] | Float[Floats, "M D"] | Float[Floats, "Q k"],
    values: Num[Floats, "Q k C"] | Num[Floats, "M C"],
    beta: float,
) -> Float[np.ndarray, "Q C"]:
    """Computes cross-attention CA(q, k, v) of Eq. 1: the softmax over j of cos(q, k_j) / beta, times v_j.

    Args:
      q: queries; ignored (None is fine) where `keys` holds similarities.
      keys: keys of each query [Q, k, D], keys of all queries [M, D] (then values are [M, C]), or cosine similarities
        [Q, k] (then values are [Q, k, C]), -inf for missing neighbours.
      values: labels.
      beta: temperature, above 0.

    Returns:
      Weighted labels, in the wider of float32 and the inputs' type.

    Example:
      >>> cross_attend(None, np.array([[0.5, 0.5]]), np.array([[[1.0, 0.0], [0.0, 1.0]]]), beta=0.1)
      array([[0.5, 0.5]])
    """
    keys, values = np.asarray(keys), np.asarray(values)
    dtype = np.result_type(np.float32, keys.dtype, values.dtype)
    if keys.ndim == 3:
        similarity = np.einsum("qd,qkd->qk", _unit(q, dtype), _unit(keys, dtype))
    elif values.ndim == 2:
        similarity = _unit(q, dtype) @ _unit(keys, dtype).T
    else:
        similarity = keys.astype(dtype)
    weights = attention_weights(similarity, beta)
    return np.einsum("qk,qkc->qc" if values.ndim == 3 else "qk,kc->qc", weights, values).astype(dtype)


def attention_weights(similarity: Float[np.ndarray, "Q k"], beta: float) -> Float64[np.ndarray, "Q k"]:
    """Computes the softmax of similarity / beta over the neighbours; -inf gets weight 0.

    Raises:
      UserError: a query has no neighbour at all.
    """
    logits = np.asarray(similarity, np.float64) / beta
    top = logits.max(axis=-1, keepdims=True)
    if not np.isfinite(top).all():
        raise UserError("a query patch has no neighbour in the memory bank: raise retrieval.scann.leaves_to_search")
    weights = np.exp(logits - top)
    return weights / weights.sum(axis=-1, keepdims=True)


def _unit(x: Float[Floats, "*N D"] | None, dtype: np.dtype[np.generic]) -> Float[np.ndarray, "*N D"]:
    rows = np.asarray(x, dtype)
    norm = np.linalg.norm(rows, axis=-1, keepdims=True)
    return rows / np.where(norm == 0, 1, norm)
