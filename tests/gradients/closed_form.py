"""The gradient of SimCLR at the last attention's output projection in closed form, in NumPy and float64.

After the projection P = W a + b tokens do not mix in a block, so that the chain rule is a few products for each token:
LayerNorm, GELU and LayerScale by hand, and InfoNCE's softmax over positives and negatives.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.special


class Norm(NamedTuple):
    """Gain and bias of a LayerNorm."""

    gain: np.ndarray
    bias: np.ndarray
    eps: float


class Tail(NamedTuple):
    """What follows the projection: LayerScale, norm, MLP with GELU, LayerScale, the last norm, a linear head."""

    scale1: np.ndarray
    norm: Norm
    up: tuple[np.ndarray, np.ndarray]
    down: tuple[np.ndarray, np.ndarray]
    scale2: np.ndarray
    last: Norm
    head: tuple[np.ndarray, np.ndarray]


def normed(x, norm):
    mean, sigma = x.mean(-1, keepdims=True), np.sqrt(x.var(-1, keepdims=True) + norm.eps)
    return (x - mean) / sigma * norm.gain + norm.bias


def normed_back(x, norm, slope):
    sigma = np.sqrt(x.var(-1, keepdims=True) + norm.eps)
    standard, r = (x - x.mean(-1, keepdims=True)) / sigma, norm.gain * slope
    return (r - r.mean(-1, keepdims=True) - standard * (r * standard).mean(-1, keepdims=True)) / sigma


def gelu(x):
    return x * scipy.special.ndtr(x)


def gelu_slope(x):
    return scipy.special.ndtr(x) + x * np.exp(-x * x / 2) / np.sqrt(2 * np.pi)


def forward(residual, projected, tail):
    """The head's outputs, and what the way back needs."""
    y = residual + tail.scale1 * projected
    hidden = normed(y, tail.norm) @ tail.up[0] + tail.up[1]
    o = y + tail.scale2 * (gelu(hidden) @ tail.down[0] + tail.down[1])
    return normed(o, tail.last) @ tail.head[0] + tail.head[1], y, hidden, o


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def loss(outputs, negatives, temperature, denominator):
    """InfoNCE of all tokens with each other against negatives, by loops over the anchors."""
    u, n = unit(outputs), unit(negatives)
    terms = []
    for i in range(len(u)):
        others = np.delete(np.arange(len(u)), i)
        scores = np.concatenate([u[others] @ u[i], n @ u[i]]) / denominator
        terms.append(-(u[others] @ u[i]).mean() / temperature + scipy.special.logsumexp(scores))
    return float(np.mean(terms))


def delta(residual, projected, tail, negatives, temperature, denominator):
    """dL/dP of every token."""
    outputs, y, hidden, o = forward(residual, projected, tail)
    u, n = unit(outputs), unit(negatives)
    count = len(u)
    scores = np.concatenate([u @ u.T, u @ n.T], axis=1) / denominator
    scores[np.arange(count), np.arange(count)] = -np.inf
    share = scipy.special.softmax(scores, axis=1)
    among, against = share[:, :count], share[:, count:]
    weights = (among + among.T) / denominator - 2 / ((count - 1) * temperature)
    np.fill_diagonal(weights, 0)
    q = (weights @ u + against @ n / denominator) / count
    slope = (q - u * (q * u).sum(-1, keepdims=True)) / np.linalg.norm(outputs, axis=-1, keepdims=True)
    slope = normed_back(o, tail.last, slope @ tail.head[0].T)
    inner = ((tail.scale2 * slope) @ tail.down[0].T) * gelu_slope(hidden)
    return tail.scale1 * (slope + normed_back(y, tail.norm, inner @ tail.up[0].T))
