"""`hummingbird segment --prompt=prompt.npz`: what `Prompt.save` wrote, in place of annotated images."""

import json
import re

import numpy as np
import pytest
from PIL import Image

import hummingbird as hb
from hummingbird import cli
from tests.data.files import encode, write

NAMES = {7: "grass", 3: "sky"}  # not in the order of their ids
SETTINGS = {"input_size": 32, "neighbours": 5, "temperature": 0.05, "void": 200}


def picture(seed):
    """Two coloured halves; the border between them depends on the seed."""
    rng = np.random.default_rng(seed)
    mask = np.where(np.arange(32)[:, None] < rng.integers(8, 24), 3, 7).astype(np.uint8) * np.ones((32, 32), np.uint8)
    colours = np.zeros((8, 3))
    colours[3], colours[7] = (60, 90, 220), (40, 190, 70)
    return np.clip(colours[mask] + rng.normal(0, 40, (32, 32, 3)), 0, 255).astype(np.uint8), mask


@pytest.fixture
def world(tmp_path):
    """A folder of three images to label."""
    for seed in (2, 3, 4):
        write(tmp_path / "photos" / f"{seed}.png", encode(picture(seed)[0]))
    return tmp_path


def save(world, labels=lambda mask: mask, classes=NAMES, **options):
    prompt = hb.Prompt("rgb:8", classes, **{**SETTINGS, **options})
    for seed in (0, 1):
        image, mask = picture(seed)
        prompt.add(image, labels(mask), f"image {seed}")
    if classes:
        prompt.palette[3] = (12, 34, 56)
    prompt.save(world / "prompt.npz")
    return prompt


def run(world, *more, checkpoint="rgb:8"):
    out = [f"--prompt={world / 'prompt.npz'}", f"--images={world / 'photos'}", f"--out={world / 'out'}"]
    return cli.run(["segment", f"--checkpoint={checkpoint}", *out, *(f"--config.{text}" for text in more)])


def strokes(mask):
    kept = np.full_like(mask, 200)
    kept[1:30:4, 3:20] = mask[1:30:4, 3:20]
    return kept


def test_masks_are_those_of_the_prompt_that_was_saved_in_its_colours(world, capsys):
    prompt = save(world, strokes)
    assert run(world) == 0
    assert json.loads(capsys.readouterr().out)["made"] == 3
    for seed in (2, 3, 4):
        mask = Image.open(world / f"out/masks/{seed}.png")
        np.testing.assert_array_equal(np.asarray(mask), prompt.predict(picture(seed)[0]).labels)
        np.testing.assert_array_equal(np.asarray(mask.convert("RGB")), prompt.paint(np.asarray(mask)))
    assert ",3,sky," in (world / "out/summary.csv").read_text()

    assert run(world) == 0
    assert json.loads(capsys.readouterr().out)["kept"] == 3
    prompt.palette[3] = (200, 34, 56)
    prompt.save(world / "prompt.npz")
    assert run(world) == 0
    assert json.loads(capsys.readouterr().out)["made"] == 3


def test_settings_of_the_search_may_differ_from_the_file(world):
    prompt = save(world)
    assert run(world, "neighbours=1", "temperature=1.0") == 0
    found = prompt.predict(picture(2)[0], neighbours=1, temperature=1.0).labels
    np.testing.assert_array_equal(np.asarray(Image.open(world / "out/masks/2.png")), found)


def test_depth_is_that_of_the_prompt(world):
    prompt = save(world, lambda mask: mask.astype(np.float32), None, task="depth")
    assert run(world) == 0
    depth = np.asarray(Image.open(world / "out/depth/2.png"))
    np.testing.assert_allclose(depth / 1000, prompt.predict(picture(2)[0]).labels, atol=6e-4)


def empty(world):
    hb.Prompt("rgb:8", **SETTINGS).save(world / "prompt.npz")


def one(world):
    save(world, lambda mask: mask * 0 + 3, None)


def values(world):
    save(world, lambda mask: mask.astype(np.float32), None, task="regression")


REFUSED = {
    "another encoder": (save, (), "rgb:4", "the prompt was made with encoder rgb8 .*, not rgb4"),
    "another size": (save, ("input_size=64",), "rgb:8", "config key input_size: .*was made with 32; leave"),
    "another task": (save, ("task=depth",), "rgb:8", "config key task: .*was made with segmentation; leave"),
    "annotation files": (save, ("prompt.classes=a.json",), "rgb:8", "config key prompt.classes is for annotation"),
    "a damaged file": (lambda world: write(world / "prompt.npz", "mine"), (), "rgb:8", "is not a prompt, or damaged"),
    "no file": (lambda world: None, (), "rgb:8", "prompt.npz does not exist"),
    "no image": (empty, (), "rgb:8", "holds no annotated image"),
    "one class": (
        lambda world: save(world, lambda mask: mask * 0 + 3, None),
        (),
        "rgb:8",
        "all annotated pixels are 3",
    ),
    "another kind": (values, (), "rgb:8", "task=regression; segment writes segmentation and depth"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_ends_in_one_line_before_anything_is_written(world, capsys, case):
    make, more, checkpoint, message = REFUSED[case]
    make(world)
    assert run(world, *more, checkpoint=checkpoint) == 2
    assert re.search(message, capsys.readouterr().err.splitlines()[-1])
    assert not (world / "out").exists()
