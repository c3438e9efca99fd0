"""`hummingbird data`: counts, sizes, classes, void, what is broken, and pictures."""

import json

import numpy as np
import pytest
from PIL import Image

from hummingbird import config
from hummingbird.commands import data_check, inspect_data
from hummingbird.data.sources import build_dense_source
from hummingbird.errors import UserError
from hummingbird.retrieval.examples import prepare_prompt
from hummingbird.retrieval.protocol import build_protocol
from hummingbird.tasks import build_task, drawing
from tests.data.files import blocks, encode, make_folder, ramp, write


def evaluation(root, **changes):
    overrides = {"data.name": "folder", "data.root": str(root), "input_size": 32, **changes}
    return config.resolve("evaluate", overrides=overrides)


def sheet_size(rows, columns, side):
    """Height and width of a sheet without headings."""
    width = 2 * drawing.MARGIN + columns * (side + drawing.GAP) - drawing.GAP
    return 2 * drawing.MARGIN + rows * (side + drawing.TEXT + drawing.GAP), width


@pytest.fixture
def folder(tmp_path):
    root = make_folder(tmp_path / "data", [f"{i:02d}" for i in range(12)], [0, 1, 255, 255], prompt=["00", "01", "02"])
    write(root / "classes.yaml", "[sky, road, car]")
    return root


def test_dense_images_are_counted_and_drawn(folder, tmp_path, capsys):
    found = inspect_data.describe(evaluation(folder, **{"data.folder.classes": "classes.yaml"}), tmp_path / "out")
    assert found == json.loads((tmp_path / "out/data.json").read_text())
    assert [(found[split]["images"], found[split]["read"]) for split in ("prompt", "query")] == [(3, 3), (9, 9)]
    assert found["query"]["height"] == [24, 24, 24]
    assert found["query"]["width"] == [32, 32, 32]
    assert found["prompt"]["void_share"] == pytest.approx(0.5)
    assert found["prompt"]["classes"]["sky"] == {"pixel_share": 0.5, "images": 3}
    assert found["prompt"]["classes"]["car"]["images"] == 0
    contact = np.asarray(Image.open(tmp_path / "out/contact.png"))
    side = inspect_data.SIDE
    assert contact.shape == (*sheet_size(4, 8, side), 3)  # 3 prompts and 8 queries in two rows, masks below
    assert np.asarray(Image.open(tmp_path / "out/augmented.png")).shape == (*sheet_size(3, 3, side), 3)
    shown = capsys.readouterr().out
    assert "not in the images read: car" in shown


def test_broken_images_are_listed(folder, tmp_path, capsys):
    write(folder / "labels/05.png", encode(blocks(24, 32, [0, 9])))
    write(folder / "images/06.jpg", b"")
    write(folder / "labels/07.png", encode(blocks(24, 32, [255])))
    settings = evaluation(folder, **{"data.folder.classes": "classes.yaml"})
    found = inspect_data.describe(settings, tmp_path / "out", check_all=True)
    assert found["prompt"]["broken"] == []
    assert len(found["query"]["broken"]) == 2
    assert "05.png holds class ids 9" in found["query"]["broken"][0]
    assert "06.jpg is empty" in found["query"]["broken"][1]
    assert found["query"]["all_void"] == ["07"]
    assert "06.jpg is empty" in capsys.readouterr().out


def test_a_sample_or_everything_is_read(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(data_check, "SAMPLE", 4)
    settings = evaluation(folder, **{"data.folder.classes": "classes.yaml"})
    assert inspect_data.describe(settings, tmp_path / "some")["query"]["read"] == 4
    assert inspect_data.describe(settings, tmp_path / "all", check_all=True)["query"]["read"] == 9


@pytest.mark.parametrize("protocol", ["paper", "open-hummingbird"])
def test_augmented_prompts_match_the_evaluation(folder, tmp_path, protocol):
    settings = evaluation(folder, **{"data.folder.classes": "classes.yaml", "protocol": protocol, "seed": 3})
    inspect_data.describe(settings, tmp_path / "out")
    picture = np.asarray(Image.open(tmp_path / "out/augmented.png"))
    source = build_dense_source(settings, "prompt")
    task = build_task(source, settings)
    choices = build_protocol(settings, task, patch_size=8)
    for column in range(3):
        seen = prepare_prompt(source, column, 0, task, choices).image
        side, left = inspect_data.SIDE, drawing.MARGIN + column * (inspect_data.SIDE + drawing.GAP)
        tile = picture[drawing.MARGIN : drawing.MARGIN + side, left : left + side]
        np.testing.assert_array_equal(tile, drawing.square(drawing.Tile(seen), side))


def test_without_augmentation_there_is_no_picture_of_it(folder, tmp_path):
    classes = {"data.folder.classes": "classes.yaml"}
    for passes in (1, 0):  # into one folder: the first picture must not pass for the second's
        settings = evaluation(folder, **classes, **{"retrieval.augmentation_epochs": passes})
        inspect_data.describe(settings, tmp_path / "out")
        assert (tmp_path / "out/augmented.png").exists() == bool(passes)


def test_an_unwritable_folder_is_refused_after_printing(folder, tmp_path, capsys):
    out = write(tmp_path / "file", "")
    with pytest.raises(UserError, match=r"--out=.*file cannot be written \(.+\); choose another folder"):
        inspect_data.describe(evaluation(folder, **{"data.folder.classes": "classes.yaml"}), out)
    assert "not in the images read: car" in capsys.readouterr().out


def test_depth_is_shown_in_metres(tmp_path):
    for i in range(4):
        write(tmp_path / f"data/images/{i}.png", encode(ramp(8, 8)))
        write(tmp_path / f"data/labels/{i}.png", encode(np.full((8, 8), 1000 * (i + 1), np.uint16)))
    halves = {"data.prompt": "[:2]", "data.query": "[2:]", "data.task": "depth"}
    found = inspect_data.describe(evaluation(tmp_path / "data", **halves), tmp_path / "out")
    assert found["query"]["depth_metres"] == pytest.approx([3, 3.5, 4])
    assert not (tmp_path / "out/augmented.png").exists()


def photos(root):
    """Three images, from which all tests draw views of one size: augmentation is compiled once for a shape."""
    for i in range(3):
        write(root / f"{'ab'[i % 2]}/{i}.jpg", encode(ramp(40, 50, i), "JPEG"))
    return root


@pytest.mark.long
def test_the_two_views_of_pretraining_images_are_drawn(tmp_path):
    photos(tmp_path / "data")
    write(tmp_path / "data/a/9.jpg", b"broken")
    overrides = {"data.name": "images", "data.root": str(tmp_path / "data"), "input_size": 16}
    found = inspect_data.describe(config.resolve("pretrain", overrides=overrides), tmp_path / "out")
    facts = found["pretrain"]
    assert (facts["images"], facts["labelled_share"], facts["classes_named"], len(facts["broken"])) == (4, 1.0, 2, 1)
    assert np.asarray(Image.open(tmp_path / "out/views.png")).shape == (*sheet_size(2, 3, 16), 3)


def test_the_exit_status_says_whether_something_is_broken(folder, tmp_path):
    file = write(
        tmp_path / "own.py", f"def get_config():\n    return {{'data': {{'name': 'folder', 'root': {str(folder)!r}}}}}"
    )
    arguments = ([("input_size", "32"), ("data.folder.classes", "classes.yaml")], str(tmp_path / "out"))
    assert inspect_data.run(str(file), *arguments) == 0
    write(folder / "images/06.jpg", b"")
    assert inspect_data.run(str(file), *arguments) == 2
    with pytest.raises(UserError, match="unknown config key"):
        inspect_data.run(str(file), [("data.nme", "x")])


@pytest.mark.long
def test_the_command_accepts_both_kinds_of_config(tmp_path):
    folder = photos(tmp_path / "data")
    text = f"def get_config():\n    return {{'pooling': 'mean', 'data': {{'name': 'images', 'root': {str(folder)!r}}}}}"
    file = write(tmp_path / "any.py", text)
    assert inspect_data.run(str(file), [("input_size", "16")], str(tmp_path / "out")) == 0
    assert "pretrain" in json.loads((tmp_path / "out/data.json").read_text())


def test_a_config_that_could_be_of_either_kind_is_read_by_its_data_set(tmp_path, capsys):
    photos(tmp_path / "photos")
    file = write(tmp_path / "mine.py", "def get_config(variant=''):\n    return {'data': {'name': 'images'}}\n")
    words = [("data.root", str(tmp_path / "photos")), ("input_size", "16")]
    assert inspect_data.run(str(file), words, out=str(tmp_path / "out")) == 0
    assert "pretrain" in json.loads((tmp_path / "out/data.json").read_text())
    with pytest.raises(UserError, match="'nothing' is not a data set to evaluate with"):
        inspect_data.run(str(file), [("data.name", "nothing")])
