"""What the public project does differently, choice by choice."""

import dataclasses

import numpy as np
import pytest

from hummingbird import config
from hummingbird.data.sources import build_dense_source
from hummingbird.errors import UserError
from hummingbird.models.architecture import build_architecture
from hummingbird.retrieval import measure, open_hummingbird
from hummingbird.tasks import SegmentationTask, build_task
from hummingbird.tasks.patches import patch_cells
from hummingbird.weights.own import frozen_vit, random_params, raw_pixels
from tests.data.files import blocks, encode, ramp, write
from tests.retrieval.fakes import FakeSource, MeanColour
from tests.retrieval.test_evaluate import make_config

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


def vit(std):
    arch = dataclasses.replace(
        build_architecture({"name": "vit_ti8", "width": 16, "depth": 1, "heads": 2}, 16), std=std
    )
    return frozen_vit(arch, random_params(arch), "random")


@pytest.mark.long
def test_our_encoders_divide_blue_by_0_255_exactly_if_they_divide_by_0_225():
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    imagenet, clip = vit((0.229, 0.224, 0.225)), vit((0.269, 0.261, 0.276))
    changed, blue = open_hummingbird.with_its_blue(imagenet)
    assert blue == "exact"
    np.testing.assert_array_equal(changed(images), vit((0.229, 0.224, 0.255))(images))
    assert open_hummingbird.with_its_blue(clip) == (clip, "own")
    pixels = raw_pixels("8", "float32")
    assert open_hummingbird.with_its_blue(pixels) == (pixels, "own")


def test_other_encoders_say_by_what_they_divide():
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    silent, saying = MeanColour(), MeanColour()
    saying.std = (0.229, 0.224, 0.225)
    assert open_hummingbird.with_its_blue(silent) == (silent, "unknown")
    changed, blue = open_hummingbird.with_its_blue(saying)
    assert (blue, changed.name, changed.patch_size) == ("8 bits", "mean colour", 8)
    np.testing.assert_array_equal(changed(images), saying(open_hummingbird.adapt_blue(images)))
    result, _ = measure(silent, make_config(protocol="open-hummingbird"), FakeSource(3), FakeSource(2, seed=1))
    assert result["protocol"]["blue"] == "unknown"
    assert "has no attribute `std`" in result["warnings"][0]


def theirs(root, name):
    """The data set and the task under that project's protocol."""
    settings = {"data.name": name, "data.root": str(root), "protocol": "open-hummingbird"}
    resolved = config.resolve("evaluate", overrides=settings)
    source = build_dense_source(resolved, "query")
    return source, build_task(source, resolved)


def test_void_of_ade20k_is_a_151st_class_not_wall(tmp_path):
    for split in ("training", "validation"):
        write(tmp_path / f"images/{split}/a.jpg", encode(ramp(16, 32), "JPEG"))
        write(tmp_path / f"annotations/{split}/a.png", encode(blocks(16, 32, [0, 1])))
    source, task = theirs(tmp_path, "ade20k")
    assert (len(source.classes), task.channels, task.classes[-1]) == (150, 151, "other")
    label = source[0]["label"]
    values = task.local_labels(label, patch_cells(16, 32, 16)).values
    assert [np.flatnonzero(row).tolist() for row in values] == [[150], [0]]
    metrics = task.metrics()
    metrics.add(label, np.zeros_like(label))  # void counts nowhere: all 256 valid pixels are right
    result = metrics.result()
    assert result["pixel_accuracy"] == 100
    assert result["miou"] == pytest.approx(100 / 151)
    assert task.choices["void"] == task.local_choices["void"] == "own"


def test_coco_stuff_is_refused_since_that_project_has_other_classes(tmp_path):
    for split in ("train2017", "val2017"):
        write(tmp_path / f"images/{split}/0.jpg", encode(ramp(6, 8), "JPEG"))
        write(tmp_path / f"annotations/{split}/0.png", encode(blocks(6, 8, [0, 12])))
    with pytest.raises(UserError, match=r"config key protocol: .*12 or 15 coarse classes.*use protocol=paper"):
        theirs(tmp_path, "coco_stuff")
    source = FakeSource(1)
    source.incomparable = "other classes"
    with pytest.raises(UserError, match=r"scores of dip on .* with those of DIP: other classes; use protocol=paper"):
        build_task(source, config.resolve("evaluate", overrides={"protocol": "dip"}))
    assert build_task(source, config.resolve("evaluate", overrides={"protocol": "capi"})).kind == "segmentation"


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
