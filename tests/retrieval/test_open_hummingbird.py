import numpy as np
import pytest

from hummingbird.retrieval import open_hummingbird
from hummingbird.tasks import SegmentationTask

CLASSES = SegmentationTask([str(i) for i in range(16)])


@pytest.mark.parity
def test_masks_are_resized_like_pytorchs_nearest():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    label = np.random.default_rng(0).integers(0, 9, (45, 70))
    whole = torch.tensor(label)[None, None].float()
    expected = torch.nn.functional.interpolate(whole, (32, 32), mode="nearest")[0, 0].numpy()
    np.testing.assert_array_equal(open_hummingbird.resize_label(label, 32, CLASSES), expected)


def test_blue_is_seen_with_the_other_standard_deviation():
    blue = np.zeros((16, 16, 3), np.uint8)
    blue[..., 2] = np.arange(256).reshape(16, 16)
    seen = (open_hummingbird.adapt_blue(blue)[..., 2] / 255 - 0.406) / 0.225
    np.testing.assert_allclose(seen, (np.arange(256).reshape(16, 16) / 255 - 0.406) / 0.255, atol=0.51 / 255 / 0.225)


def test_augmentation_keeps_image_and_label_aligned():
    mask = np.kron(np.arange(16).reshape(4, 4), np.ones((30, 30), int))
    image = np.repeat((mask * 16)[..., None], 3, axis=2).astype(np.uint8)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        part, label = open_hummingbird.augment(rng, image, mask, 64, CLASSES)
        assert part.shape == (64, 64, 3)
        assert label.shape == (64, 64)
        inside = np.abs(part[..., 1].astype(int) - label * 16) < 40  # brightness and contrast change by a tenth each
        assert inside.mean() > 0.9
