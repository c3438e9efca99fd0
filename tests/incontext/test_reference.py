"""Predictions equal those of the evaluation on the same bank, and of plain NumPy in float64."""

import numpy as np
import pytest

import hummingbird as hb
from hummingbird.retrieval import measure
from hummingbird.tasks import KINDS
from hummingbird.tasks.segmentation import class_areas
from tests import reference
from tests.incontext.test_prompt import Fourier
from tests.retrieval.fakes import FakeSource


def test_a_prompt_predicts_as_plain_numpy_does():
    source, query = FakeSource(3), FakeSource(1, seed=5)[0]["image"]
    prompt = hb.Prompt(Fourier(), source.classes, input_size=64, neighbours=9, temperature=0.05)
    for i in range(3):
        prompt.add(source[i]["image"], source[i]["label"])
    encoder, keys, labels = Fourier(), [], []
    frame = prompt.view.frame(*query.shape[:2])
    for i in range(3):
        item = source[i]
        one = prompt.view.frame(*item["label"].shape)
        counts = class_areas(item["label"], one.cells, 4)
        keys.append(encoder(one.window.picture(item["image"])[None]).reshape(64, -1)[counts.sum(1) > 0])
        labels.append(counts[counts.sum(1) > 0])
    keys, labels = np.concatenate(keys).astype(np.float64), np.concatenate(labels)
    queries = encoder(frame.window.picture(query)[None]).reshape(64, -1).astype(np.float64)
    keys, queries = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (keys, queries))
    similarity = queries @ keys.T
    near = np.argsort(-similarity, axis=1, kind="stable")[:, :9]
    weights = np.exp(np.take_along_axis(similarity, near, 1) / 0.05)
    weights /= weights.sum(1, keepdims=True)
    shares = labels / labels.sum(1, keepdims=True)
    votes = np.einsum("qk,qkc->qc", weights, shares[near]).reshape(8, 8, 4)
    planes = reference.bilinear(votes, *query.shape[:2])
    found, confidence = prompt.predict(query)
    first, second = np.sort(planes, axis=-1)[..., ::-1][..., :2].transpose(2, 0, 1)
    clear = first - second > 1e-4
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(found[clear], planes.argmax(-1)[clear])
    np.testing.assert_allclose(confidence.share, first, atol=1e-4)
    nearest = reference.bilinear(similarity.max(1).reshape(8, 8), *query.shape[:2])
    np.testing.assert_allclose(confidence.similarity, nearest, atol=1e-5)


@pytest.mark.parametrize("task", ["segmentation", "depth"])
def test_a_prompt_scores_as_the_evaluation_does(task):
    prompt_set, queries = FakeSource(4, task), FakeSource(3, task, seed=5)
    settings = {
        "input_size": 64,
        "progress": False,
        "report": {"enabled": False},
        "retrieval": {"augmentation_epochs": 0, "neighbours": 9, "temperature": 0.05, "index": "exact"},
    }
    expected = measure(Fourier(), settings, prompt_set, queries)[0]["metrics"]
    prompt = hb.Prompt(Fourier(), prompt_set.classes or None, task, input_size=64, neighbours=9, temperature=0.05)
    for i in range(len(prompt_set)):
        prompt.add(prompt_set[i]["image"], prompt_set[i]["label"])
    metrics = prompt._now.task.metrics()
    for i in range(len(queries)):
        label = queries[i]["label"]
        truth = prompt.kind.for_task(label) if task == "segmentation" else label
        metrics.add(truth, prompt.predict(queries[i]["image"]).labels)
    found = metrics.result()
    headline = KINDS[task].headline
    assert headline(found) == pytest.approx(headline(expected), rel=1e-4)
