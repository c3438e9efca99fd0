"""Heads and losses against PyTorch's, with the same weights."""

import jax
import numpy as np
import pytest

from hummingbird.decoders.losses import cross_entropy
from hummingbird.decoders.upernet import UperNet, adaptive_mean
from tests import tiny

pytestmark = pytest.mark.parity
SIDE, WIDTH = 16, 6


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def planes(torch, x):
    return torch.tensor(np.moveaxis(np.asarray(x), -1, 1).copy())


@pytest.mark.slow
def test_upernet_equals_that_of_transformers_on_maes_pyramid(torch):
    from tests.decoders.torch_upernet import TorchUperNet, load

    head = UperNet(5, (0, 1, 2, 3), width=8, auxiliary_width=7, dropout=0.0)
    rng = np.random.default_rng(0)
    maps = [rng.normal(size=(2, SIDE, SIDE, WIDTH)).astype(np.float32) for _ in range(4)]
    shapes = jax.eval_shape(lambda key: head.init(key, maps), jax.random.key(0))
    given = jax.tree.map(lambda x: 3 * x, tiny.drawn(shapes))  # large enough to tell maps apart
    network = TorchUperNet(5, WIDTH, 8, 7)
    load(network, given)

    def run(given, maps):
        """In use, and in training."""
        trained, changed = head.apply(given, maps, train=True, mutable=["batch_stats"])
        return head.apply(given, maps).output, trained, changed["batch_stats"]

    used, trained, changed = jax.jit(run)(given, maps)
    inputs = [planes(torch, x) for x in maps]
    with torch.inference_mode():
        output, _ = network.eval()(inputs)
        assert_same(used, output)
        output, auxiliary = network.train()(inputs)
    assert_same(trained.output, output)
    assert_same(trained.auxiliary, auxiliary)
    mean = changed["fuse"]["norm"]["mean"]
    np.testing.assert_allclose(mean, network.head.fpn_bottleneck.batch_norm.running_mean, atol=1e-4)


def assert_same(ours, theirs):
    theirs = np.moveaxis(theirs.numpy(), 1, -1)
    assert np.abs(theirs).max() > 0.5
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())


@pytest.mark.parametrize("cells", [1, 2, 3, 6])
def test_adaptive_pooling_equals_pytorchs(torch, cells):
    x = np.random.default_rng(0).integers(0, 8, (2, 16, 16, 3)).astype(np.float32)
    exact = torch.nn.functional.adaptive_avg_pool2d(planes(torch, x), cells).numpy()
    np.testing.assert_allclose(
        np.moveaxis(np.asarray(adaptive_mean(jax.numpy.asarray(x), cells)), -1, 1), exact, rtol=1e-6
    )


@pytest.mark.parametrize("over", ["valid", "all"])
def test_cross_entropy_equals_pytorchs_on_interpolated_logits(torch, over):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 5, 7, 4)).astype(np.float32)
    labels = np.where(rng.random((2, 20, 21)) < 0.3, 255, rng.integers(0, 4, (2, 20, 21)))
    given = planes(torch, logits).double().requires_grad_()
    larger = torch.nn.functional.interpolate(given, (20, 21), mode="bilinear", align_corners=False)
    exact = torch.nn.functional.cross_entropy(larger, torch.tensor(labels), ignore_index=255, reduction="sum")
    exact = exact / (labels != 255).sum() if over == "valid" else exact / labels.size
    exact.backward()
    value, gradient = jax.jit(jax.value_and_grad(lambda x: cross_entropy(x, labels, 255, over)))(logits)
    assert float(value) == pytest.approx(exact.item(), rel=1e-6)
    np.testing.assert_allclose(np.moveaxis(np.asarray(gradient), -1, 1), given.grad.numpy(), atol=1e-7)
