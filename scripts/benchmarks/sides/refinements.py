"""Ways to refine upsampled votes with the image: [P, H, W] votes and uint8 RGB [H, W, 3] to votes [P, H, W]."""

from __future__ import annotations

import functools

import cv2
import numpy as np
import scipy.sparse
import scipy.sparse.linalg


def box(values, radius):
    side = 2 * radius + 1
    return cv2.blur(values, (side, side), borderType=cv2.BORDER_REFLECT)


def guided(planes, image, radius=16, eps=1e-3):
    """Guided filter with a colour guide (He et al., TPAMI 2013, Eqs. 19-21)."""
    guide = image.astype(np.float32) / 255
    mean = box(guide, radius)
    pairs = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
    cov = {(i, j): box(guide[..., i] * guide[..., j], radius) - mean[..., i] * mean[..., j] for i, j in pairs}
    sigma = np.empty((*guide.shape[:2], 3, 3), np.float32)
    for (i, j), value in cov.items():
        sigma[..., i, j] = sigma[..., j, i] = value
    sigma += eps * np.eye(3, dtype=np.float32)
    inverse = np.linalg.inv(sigma)
    found = np.empty_like(planes)
    for number, plane in enumerate(planes):
        middle = box(plane, radius)
        across = box(guide * plane[..., None], radius) - mean * middle[..., None]
        a = np.einsum("hwij,hwj->hwi", inverse, across)
        b = middle - (a * mean).sum(-1)
        found[number] = (box(a, radius) * guide).sum(-1) + box(b, radius)
    return found


def bilateral(planes, image, radius=16, sigma=0.1, grid=5):
    """Joint bilateral filter (Kopf et al., 2007) over a grid of offsets up to `radius` pixels."""
    guide = image.astype(np.float32) / 255
    height, width = guide.shape[:2]
    padded = np.pad(guide, ((radius, radius), (radius, radius), (0, 0)), mode="edge")
    votes = np.pad(planes, ((0, 0), (radius, radius), (radius, radius)), mode="edge")
    total, found = np.zeros((height, width), np.float32), np.zeros_like(planes)
    steps = np.round(np.linspace(-radius, radius, grid)).astype(int)
    for dy in steps:
        for dx in steps:
            part = np.s_[radius + dy : radius + dy + height, radius + dx : radius + dx + width]
            near = ((padded[part] - guide) ** 2).sum(-1)
            weight = np.exp(-near / (2 * sigma**2) - (dy**2 + dx**2) / (2 * (radius / 1.5) ** 2))
            total += weight
            found += weight * votes[(slice(None), *part)]
    return found / total


def walker(planes, image, strength=30.0, beta=300.0, steps=40):
    """Random walker with priors (Grady, CVPR 2005): (L + I / strength) x = votes / strength, L of 4-neighbours."""
    guide = image.astype(np.float64) / 255
    height, width = guide.shape[:2]
    number = np.arange(height * width).reshape(height, width)
    ends, weights = [], []
    for one, two in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        weights.append(np.exp(-beta * ((guide[one] - guide[two]) ** 2).sum(-1)).ravel() + 1e-6)
        ends.append((number[one].ravel(), number[two].ravel()))
    i, j, w = *(np.concatenate(x) for x in zip(*ends, strict=True)), np.concatenate(weights)
    size = height * width
    graph = scipy.sparse.coo_array((np.r_[w, w], (np.r_[i, j], np.r_[j, i])), shape=(size, size)).tocsr()
    diagonal = graph.sum(1) + 1 / strength
    system = (scipy.sparse.diags_array(diagonal) - graph).tocsr()
    inverse = scipy.sparse.diags_array(1 / diagonal)
    found = np.empty_like(planes)
    for c, plane in enumerate(planes):
        x, _ = scipy.sparse.linalg.cg(
            system, plane.ravel() / strength, x0=plane.ravel(), M=inverse, maxiter=steps, rtol=1e-4
        )
        found[c] = x.reshape(height, width)
    return found


def mean_field(planes, image, radius=8, step=2, sigma=0.08, weight=3.0, rounds=4):
    """Mean field of a CRF with Gaussian edges within a window (ConvCRF, Teichmann and Cipolla, 2018)."""
    guide = image.astype(np.float32) / 255
    height, width = guide.shape[:2]
    unary = np.log(np.maximum(planes, 1e-4))
    q = planes / planes.sum(0)
    reach = radius * step
    padded = np.pad(guide, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    offsets = [
        (dy * step, dx * step)
        for dy in range(-radius, radius + 1, 2)
        for dx in range(-radius, radius + 1, 2)
        if dy or dx
    ]
    parts = [np.s_[reach + dy : reach + dy + height, reach + dx : reach + dx + width] for dy, dx in offsets]
    kernels = [
        np.exp(-((padded[part] - guide) ** 2).sum(-1) / (2 * sigma**2) - (dy**2 + dx**2) / (2 * (reach / 2) ** 2))
        for part, (dy, dx) in zip(parts, offsets, strict=True)
    ]
    total = sum(kernels) + 1e-12
    for _ in range(rounds):
        votes = np.pad(q, ((0, 0), (reach, reach), (reach, reach)), mode="edge")
        message = sum(kernel * votes[(slice(None), *part)] for kernel, part in zip(kernels, parts, strict=True)) / total
        q = unary + weight * message
        q = np.exp(q - q.max(0))
        q /= q.sum(0)
    return q


SIDES = {
    "none": lambda planes, image: planes,
    **{f"guided r{r}": functools.partial(guided, radius=r, eps=1e-4) for r in (8, 16, 32)},
    **{f"bilateral r{r}": functools.partial(bilateral, radius=r) for r in (8, 16)},
    **{f"walker {g:g}": functools.partial(walker, strength=g, beta=100.0) for g in (30.0, 200.0)},
    **{f"crf {w:g}": functools.partial(mean_field, sigma=0.05, weight=w) for w in (1.0, 3.0)},
}
