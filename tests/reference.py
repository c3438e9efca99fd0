"""The method in plain NumPy float64, written from the paper's equations and nothing else."""

import numpy as np


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def cross_attention(q, k, v, beta):
    """CA of Eq. 1: q [Q, D], k [M, D], v [M, C]."""
    return softmax(unit(q) @ unit(k).T / beta) @ v


def dense(p, x):
    return x @ p["kernel"] + p.get("bias", 0.0)


def mlp_head(p, x):
    """Linear, batch norm with the statistics of all leading axes, ReLU, linear."""
    h = dense(p["hidden"], x)
    axes = tuple(range(h.ndim - 1))
    h = (h - h.mean(axes)) / np.sqrt(h.var(axes) + 1e-5) * p["norm"]["scale"] + p["norm"]["bias"]
    return dense(p["output"], np.maximum(h, 0))


def normed_head(p, x):
    """Linear layers, each followed by batch norm, with ReLU in between; the last batch norm is not scaled."""
    layers = sum(name.startswith("linear") for name in p)
    for i in range(layers):
        x = dense(p[f"linear_{i}"], x)
        axes = tuple(range(x.ndim - 1))
        x = (x - x.mean(axes)) / np.sqrt(x.var(axes) + 1e-5)
        if i < layers - 1:
            x = np.maximum(x * p[f"norm_{i}"]["scale"] + p[f"norm_{i}"]["bias"], 0)
    return x


def contextualised(p, h, keys, weight, beta):
    """App. B: h [B, N, D], keys [M, D] -> c [B, N, D]."""
    v = mlp_head(p["value_head"], keys)
    vhat = cross_attention(h.reshape(-1, h.shape[-1]), keys, v, beta).reshape(h.shape)
    return dense(p["mix"], (1 - weight) * unit(h) + weight * unit(vhat))


def attention_pooling(p, c):
    """Eq. 3: c [B, N, D] -> chat [B, D] and masks [B, N]."""
    a = dense(p["mask"]["logit"], np.maximum(dense(p["mask"]["hidden"], c), 0))[..., 0]
    m = softmax(a)
    return np.einsum("bn,bnd->bd", m, dense(p["value"], c)), m


def contrastive(prediction, target, tau):
    """Eq. 4 with vectors of norm 1 / sqrt(tau): the mean over the batch."""
    q, z = unit(prediction) / np.sqrt(tau), unit(target) / np.sqrt(tau)
    losses = []
    for i in range(len(q)):
        positive = np.exp(q[i] @ z[i])
        negatives = sum(np.exp(q[i] @ z[k]) for k in range(len(z)) if k != i)
        losses.append(-np.log(positive / (positive + negatives)))
    return np.mean(losses)


def bilinear(grid, height, width):
    """[h, w, ...] -> [height, width, ...]: pixel centres at half-integers, edges repeated."""
    grid = np.asarray(grid, np.float64)
    for axis, size in enumerate((height, width)):
        old = grid.shape[axis]
        at = np.clip((np.arange(size) + 0.5) * old / size - 0.5, 0, old - 1)
        low = np.floor(at).astype(int)
        share = (at - low).reshape(-1, *[1] * (grid.ndim - axis - 1))
        grid = grid.take(low, axis) * (1 - share) + grid.take(np.minimum(low + 1, old - 1), axis) * share
    return grid


def nearest(image, height, width):
    """[h, w, ...] -> [height, width, ...]: the pixel under each new pixel's centre."""
    rows, columns = (
        np.floor((np.arange(new) + 0.5) * old / new).astype(int)
        for old, new in zip(np.shape(image), (height, width), strict=False)
    )
    return np.asarray(image)[rows][:, columns]


def nt_xent(z1, z2, tau):
    """Eq. 1 of SimCLR (Chen et al. 2020): the mean over the 2 B projections of two views."""
    z = unit(np.concatenate([z1, z2]))
    similarity, count = z @ z.T, len(z1)
    losses = []
    for i in range(2 * count):
        others = [np.exp(similarity[i, k] / tau) for k in range(2 * count) if k != i]
        losses.append(-np.log(np.exp(similarity[i, (i + count) % (2 * count)] / tau) / sum(others)))
    return np.mean(losses)
