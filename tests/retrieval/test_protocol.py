"""What config files and settings stand for."""

import pathlib

import pytest

from hummingbird import config
from hummingbird.retrieval.protocol import build_protocol
from hummingbird.tasks import DepthTask, SegmentationTask

CONFIGS = pathlib.Path(__file__).parents[2] / "configs" / "evaluate"


@pytest.mark.parametrize(
    "name", ["nyuv2.py:full", "nyuv2.py:few", "nyuv2.py:fractions", "nyuv2.py:labelled", "folder.py:depth_few"]
)
def test_depth_is_never_augmented(name):
    """App. A.2; the zoom of Table 7 would leave the metres as they are."""
    resolved = config.resolve("evaluate", f"{CONFIGS / name}")
    protocol = build_protocol(resolved, DepthTask(resolved.depth), 16)
    assert protocol.augmentation_epochs == 0
    assert protocol.neighbours == (30 if name.endswith(("full", "labelled")) else 90)


def test_nyuv2_prompts_with_the_frames_that_the_papers_times_fit():
    """15 minutes for 22.6k images of VOC and 25 for 42.4k of ADE20K leave 30 for about 48k."""
    name = lambda variant: config.resolve("evaluate", f"{CONFIGS / 'nyuv2.py'}{variant}").data.name
    assert {name(variant) for variant in ("", ":full", ":few", ":fractions")} == {"tfds/nyu_depth_v2"}
    assert name(":labelled") == "nyuv2"


@pytest.mark.parametrize("name", ["ade20k", "cityscapes", "coco_stuff", "pascal_voc", "folder"])
def test_few_data_has_the_other_column_of_table_6(name):
    resolved = config.resolve("evaluate", f"{CONFIGS / name}.py:few")
    protocol = build_protocol(resolved, SegmentationTask(["a", "b"]), 16)
    assert (protocol.memory_length, protocol.neighbours, protocol.temperature) == (20_480_000, 90, 0.1)
    assert protocol.augmentation_epochs == 8
    assert resolved.data.name == name


def test_fractions_are_those_of_table_2():
    resolved = config.resolve("evaluate", f"{CONFIGS / 'pascal_voc.py'}:fractions")
    assert resolved.data.fractions == tuple(1 / n for n in (128, 64, 32, 16, 8, 4, 2, 1))
    assert resolved.retrieval.neighbours == 90
