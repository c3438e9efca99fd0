"""Whole evaluations against others that are written again in plain NumPy float64."""

import numpy as np
import pytest

from tests import reference
from tests.retrieval.fakes import FakeSource, MeanColour, squashed_image
from tests.retrieval.test_evaluate import run


def independent_features(image, size):
    """Unit features of an image squashed to `size`, float64 [N, 7]."""
    f = MeanColour()(squashed_image(image, size)[None])[0].reshape(-1, 7).astype(np.float64)
    return f / np.linalg.norm(f, axis=1, keepdims=True)


def enlarged(label, cells):
    """A label so large that its pixels divide into cells x cells patches, and the sides of a patch in it."""
    return label.repeat(cells, 0).repeat(cells, 1), *label.shape


def independent_attention(scores, k, beta):
    """The k best keys of each query and their weights, [Q, k]: Eq. 1 over scores [Q, M]."""
    best = np.argsort(-scores, axis=1)[:, :k]
    s = np.take_along_axis(scores, best, 1) / beta
    weights = np.exp(s - s.max(1, keepdims=True))
    return best, weights / weights.sum(1, keepdims=True)


def independent_segmentation(prompt, query, size, patch, k, beta):
    """The whole evaluation again in plain NumPy float64; every patch is kept."""
    keys, labels, confusion = [], [], np.zeros((4, 4))

    for i in range(len(prompt)):
        f, (mask, tall, wide) = (
            independent_features(prompt[i]["image"], size),
            enlarged(prompt[i]["label"], size // patch),
        )
        for j in range(len(f)):
            r, c = divmod(j, size // patch)
            pixels = mask[r * tall : (r + 1) * tall, c * wide : (c + 1) * wide].ravel()
            pixels = pixels[pixels != 255]
            if len(pixels):
                keys.append(f[j])
                labels.append([np.mean(pixels == c) for c in range(4)])
    keys, labels = np.array(keys), np.array(labels)
    for i in range(len(query)):
        item = query[i]
        best, weights = independent_attention(independent_features(item["image"], size) @ keys.T, k, beta)
        votes = np.einsum("qk,qkc->qc", weights, labels[best])
        planes = reference.bilinear(votes.reshape(size // patch, size // patch, 4), *item["label"].shape)
        prediction, truth = planes.argmax(-1), item["label"]
        for t in range(4):
            for p in range(4):
                confusion[t, p] += ((truth == t) & (prediction == p)).sum()
    hit = np.diag(confusion)
    return 100 * np.mean(hit / (confusion.sum(0) + confusion.sum(1) - hit)), 100 * hit.sum() / confusion.sum()


def test_segmentation_agrees_with_an_independent_evaluation():
    result = run(prompt=4, query=3)
    miou, accuracy = independent_segmentation(FakeSource(4, seed=0), FakeSource(3, seed=1), 64, 8, 10, 0.02)
    assert result["metrics"]["miou"] == pytest.approx(miou, abs=1e-6)
    assert result["metrics"]["pixel_accuracy"] == pytest.approx(accuracy, abs=1e-6)


def independent_depth(prompt, query, size, patch, k, beta, low=1e-3, high=10.0):
    """The whole evaluation of depth in plain NumPy float64; every patch is kept."""
    keys, depths, true, guess = [], [], [], []

    for i in range(len(prompt)):
        f, (depth, tall, wide) = (
            independent_features(prompt[i]["image"], size),
            enlarged(prompt[i]["label"], size // patch),
        )
        for j in range(len(f)):
            r, c = divmod(j, size // patch)
            pixels = depth[r * tall : (r + 1) * tall, c * wide : (c + 1) * wide].ravel()
            pixels = pixels[(pixels >= low) & (pixels <= high)]
            if len(pixels):
                keys.append(f[j])
                depths.append(pixels.mean())
    keys, depths = np.array(keys), np.array(depths)
    for i in range(len(query)):
        item = query[i]
        best, weights = independent_attention(independent_features(item["image"], size) @ keys.T, k, beta)
        votes = (weights * depths[best]).sum(1)
        plane = reference.bilinear(votes.reshape(size // patch, size // patch), *item["label"].shape)
        valid = (item["label"] >= low) & (item["label"] <= high)
        true.append(item["label"][valid].astype(np.float64))
        guess.append(np.clip(plane[valid], low, high))
    images = [np.sqrt(np.mean((t - g) ** 2)) for t, g in zip(true, guess, strict=True)]
    true, guess = np.concatenate(true), np.concatenate(guess)
    ratio = np.maximum(true / guess, guess / true)
    return {
        "rmse": np.sqrt(np.mean((true - guess) ** 2)),
        "rmse_per_image": np.mean(images),
        "abs_rel": np.mean(np.abs(true - guess) / true),
        "rmse_log": np.sqrt(np.mean((np.log(true) - np.log(guess)) ** 2)),
        **{f"delta{i}": np.mean(ratio < 1.25**i) for i in (1, 2, 3)},
    }


def test_depth_agrees_with_an_independent_evaluation():
    found = run("depth", prompt=4, query=3)["metrics"]
    expected = independent_depth(FakeSource(4, "depth", 0), FakeSource(3, "depth", 1), 64, 8, 10, 0.02)
    assert found == pytest.approx(expected, abs=1e-6)
