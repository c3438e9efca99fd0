"""`hummingbird segment` on folders: what is written, resumed, kept and refused."""

import csv
import errno
import json
import os
import re

import numpy as np
import pytest
from PIL import Image

from hummingbird import Prompt, cli
from hummingbird.incontext.segment import results
from tests.data.files import encode, palette_png, write

SIDE = 32
IDS = (3, 7, 200)


def scene(seed):
    """An image of three coloured areas, and its mask of `IDS`."""
    rng = np.random.default_rng(seed)
    x, y = rng.integers(8, 24, 2)
    mask = np.full((SIDE, SIDE), IDS[0], np.uint8)
    mask[y:] = IDS[1]
    mask[:, x:] = np.where(np.arange(SIDE)[:, None] > 16, IDS[2], mask[:, x:])
    colours = np.zeros((256, 3))
    colours[list(IDS)] = ((220, 40, 40), (40, 200, 60), (50, 60, 210))
    return np.clip(colours[mask] + rng.normal(0, 12, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8), mask


@pytest.fixture
def world(tmp_path):
    """A folder of two annotated images, and one of five images in sub-folders, two of them with one stem."""
    for seed in (0, 1):
        image, mask = scene(seed)
        write(tmp_path / "my prompt" / "images" / f"{seed}.png", encode(image))
        write(tmp_path / "my prompt" / "labels" / f"{seed}.png", palette_png(mask))
    for seed, name in enumerate(("a.png", "a.webp", "b c.png", "sub/a.png", "sub/d.png"), 2):
        write(tmp_path / "photos" / name, encode(scene(seed)[0], "WEBP" if name.endswith("webp") else "PNG"))
    return tmp_path


def run(world, *more, out="out", images=("photos",), checkpoint="rgb:8", prompt="my prompt"):
    paths = [str(world / name) for name in images]
    return cli.run(
        [
            "segment",
            f"--checkpoint={checkpoint}",
            f"--prompt={world / prompt}",
            "--images",
            *paths,
            f"--out={world / out}",
            "--config.input_size=32",
            "--config.neighbours=5",
            "--config.batch_size=2",
            *(f"--config.{text}" for text in more),
        ]
    )


def content(folder):
    """All files of a folder but the lock, by path."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != results.LOCK]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_masks_have_the_users_ids_and_palette_and_are_those_of_a_prompt(world, capsys):
    assert run(world) == 0
    assert json.loads(capsys.readouterr().out)["made"] == 5
    names = {"a.png": "a.png", "a.webp": "a.webp", "b c.png": "b c", "sub/a.png": "sub/a", "sub/d.png": "sub/d"}
    out = world / "out"
    assert {f"masks/{name}.png" for name in names.values()} == {x for x in content(out) if x.startswith("masks")}

    prompt = Prompt("rgb:8", {number: str(number) for number in IDS}, input_size=32, neighbours=5)
    for seed in (0, 1):
        prompt.add(*scene(seed))
    stored = np.asarray(Image.open(world / "my prompt/labels/0.png").getpalette(), np.uint8)
    for name, result in names.items():
        mask = Image.open(out / "masks" / f"{result}.png")
        image = np.asarray(Image.open(world / "photos" / name))
        np.testing.assert_array_equal(np.asarray(mask), prompt.predict(image).labels)
        assert mask.mode == "P"
        np.testing.assert_array_equal(np.asarray(mask.getpalette("RGB"), np.uint8), stored[: len(mask.getpalette())])
        assert (out / "overlays" / f"{result}.jpg").exists()
    truth = scene(6)[1]
    assert (np.asarray(Image.open(out / "masks/sub/d.png")) == truth).mean() > 0.9


def test_the_table_counts_the_pixels_of_each_class_and_the_page_shows_every_image(world):
    assert run(world, "output.confidence=true") == 0
    rows = list(csv.DictReader((world / "out/summary.csv").open()))
    mask = np.asarray(Image.open(world / "out/masks/b c.png"))
    counted = {int(row["class_id"]): int(row["pixels"]) for row in rows if row["image"] == "b c.png"}
    assert counted == {number: int((mask == number).sum()) for number in IDS}
    shares = [float(row["percent"]) for row in rows if row["image"] == "b c.png"]
    assert sum(shares) == pytest.approx(100, abs=0.01)
    confidence = np.asarray(Image.open(world / "out/confidence/b c.png"))
    assert confidence.mean() / 255 == pytest.approx(float(rows[6]["confidence"]), abs=0.01)

    page = (world / "out/index.html").read_text()
    leaves = json.loads(re.search(r'id="leaves"[^>]*>(.*?)</script>', page).group(1))
    assert [leaf["name"] for leaf in leaves] == ["a.png", "a.webp", "b c.png", "sub/a.png", "sub/d.png"]
    assert all(
        (world / "out" / leaf[kind].replace("%20", " ")).exists() for leaf in leaves for kind in ("picture", "painted")
    )
    assert "http" not in page


def interrupt(monkeypatch, after, error):
    """Lets `after` files be written, then raises."""
    real, count = results.write_bytes, iter(range(after))

    def failing(path, data):
        if next(count, None) is None:
            raise error
        real(path, data)

    monkeypatch.setattr(results, "write_bytes", failing)


@pytest.mark.parametrize("after", [1, 6])
def test_a_run_that_ends_early_resumes_to_the_same_files(world, monkeypatch, after):
    assert run(world, out="whole") == 0
    with monkeypatch.context() as patched:
        interrupt(patched, after, KeyboardInterrupt())
        assert run(world) == cli.INTERRUPTED_STATUS
    journal = world / "out" / "journal.jsonl"
    journal.write_bytes(journal.read_bytes() + b'{"source": "a.p')  # as when the process dies within a write
    assert run(world) == 0
    assert content(world / "out") == content(world / "whole")


def test_a_full_disk_ends_in_one_line_and_loses_nothing(world, monkeypatch, capsys):
    with monkeypatch.context() as patched:
        interrupt(patched, 4, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        assert run(world) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "cannot be written (No space left on device); what is finished is kept" in error
    assert run(world) == 0
    assert json.loads(capsys.readouterr().out) | {"page": ""} == {"images": 5, "made": 4, "kept": 1, "page": ""}


def test_finished_images_are_kept_and_changed_ones_made_again(world, capsys):
    assert run(world) == 0
    write(world / "photos/b c.png", encode(scene(9)[0]))
    write(world / "photos/new.png", encode(scene(10)[0]))
    corrected = world / "out/masks/a.png.png"
    corrected.write_bytes(b"corrected by hand")
    capsys.readouterr()
    assert run(world) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["images"], found["made"], found["kept"]) == (6, 2, 4)
    assert corrected.read_bytes() == b"corrected by hand"

    assert run(world, "neighbours=3") == 2
    assert "masks/a.png.png was changed after this command wrote it" in capsys.readouterr().err
    assert corrected.read_bytes() == b"corrected by hand"
    corrected.unlink()
    assert run(world, "neighbours=3") == 0
    assert json.loads(capsys.readouterr().out)["made"] == 6


def test_a_folder_of_other_files_is_refused_and_left_as_it_is(world, capsys):
    write(world / "out" / "notes.txt", "mine")
    assert run(world) == 2
    assert "holds files that hummingbird segment did not write (notes.txt)" in capsys.readouterr().err
    assert [path.name for path in (world / "out").iterdir()] == ["notes.txt"]


def test_images_of_another_folder_get_names_of_their_own(world, capsys):
    assert run(world) == 0
    before = content(world / "out" / "masks")
    assert run(world, images=("photos/sub",)) == 0  # the same files
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["kept"] == 2
    write(world / "others/b c.png", encode(scene(11)[0]))
    assert run(world, images=("others",)) == 0
    after = content(world / "out" / "masks")
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {"b c.png.png"}


def test_two_runs_do_not_write_into_one_folder(world, capsys):
    with results.hold(str(world / "out")):
        assert run(world) == 2
    assert "another run is writing there; wait for it" in capsys.readouterr().err


def test_a_file_of_others_among_the_results_is_not_replaced(world, capsys):
    assert run(world, images=("photos/sub",)) == 0
    mine = write(world / "out/masks/b c.png", "mine")
    write(world / "photos/sub/b c.png", encode(scene(4)[0]))
    assert run(world, images=("photos/sub",)) == 2
    assert "masks/b c.png would be replaced" in capsys.readouterr().err
    assert mine.read_text() == "mine"


def test_masks_beside_images_are_not_taken_for_images(world, capsys):
    folder = world / "mixed"
    for seed in (0, 1, 2):
        image, mask = scene(seed)
        write(folder / f"{seed}.jpg", encode(image, "JPEG"))
        if seed < 2:
            write(folder / f"{seed}.png", palette_png(mask))
    assert run(world, prompt="mixed", images=("mixed",)) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 3


def test_files_and_patterns_name_images_too(world, capsys):
    assert run(world, images=("photos/sub/*.png", "photos/b c.png")) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 3
    assert (world / "out/masks/sub/a.png").exists()
    assert (world / "out/masks/b c.png").exists()


def test_uncertain_pixels_become_void_and_large_ids_grey(world):
    write(world / "names.yaml", "{3: sky, 7: grass, 200: car}")
    assert (
        run(
            world,
            "output.min_confidence=1.0",
            "void=300",
            "output.masks=grey",
            f"prompt.classes={world / 'names.yaml'}",
        )
        == 0
    )
    mask = np.asarray(Image.open(world / "out/masks/b c.png"))
    assert mask.dtype == np.uint16
    assert set(np.unique(mask)) <= {*IDS, 300}
    assert Image.open(world / "out/coloured/b c.png").mode == "RGB"
    assert "grass" in (world / "out/summary.csv").read_text()


def test_images_of_16_bits_and_floats_are_read_by_their_range(world):
    for seed in (0, 1):
        image, mask = scene(seed)
        write(world / "dark/images" / f"{seed}.png", encode(image[..., 0].astype(np.uint16) * 16))
        write(world / "dark/labels" / f"{seed}.png", palette_png(mask))
    write(world / "dark/new/twelve.png", encode(scene(6)[0][..., 0].astype(np.uint16) * 16))
    write(world / "dark/new/float.tif", encode(scene(6)[0][..., 0].astype(np.float32) * 16, "TIFF"))
    assert run(world, "value_range=0,4080", prompt="dark", images=("dark/new",)) == 0
    first, second = (np.asarray(Image.open(world / f"out/masks/{name}.png")) for name in ("twelve", "float"))
    np.testing.assert_array_equal(first, second)
    picture = np.asarray(Image.open(world / "out/pictures/twelve.jpg")).astype(int)
    assert np.abs(picture[..., 0] - scene(6)[0][..., 0]).mean() < 6


def test_pages_of_a_file_are_images_of_their_own(world, capsys):
    pages = [Image.fromarray(scene(seed)[0]) for seed in (6, 7, 8)]
    pages[0].save(world / "photos/sub/stack.tif", save_all=True, append_images=pages[1:])
    write(world / "photos/sub/flat.tif", encode(scene(7)[0], "TIFF"))
    assert run(world, images=("photos/sub",)) == 0
    assert json.loads(capsys.readouterr().out)["made"] == 6
    masks = [np.asarray(Image.open(world / f"out/masks/stack.tif/{number:06}.png")) for number in range(3)]
    np.testing.assert_array_equal(masks[0], np.asarray(Image.open(world / "out/masks/d.png")))  # scene 6
    np.testing.assert_array_equal(masks[1], np.asarray(Image.open(world / "out/masks/flat.png")))
    rows = [row for row in csv.DictReader((world / "out/summary.csv").open()) if row["image"] == "stack.tif"]
    assert [row["frame"] for row in rows[:: len(IDS)]] == ["0", "1", "2"]
    page = (world / "out/index.html").read_text()
    assert "stack.tif, page 3" in page
    assert "pictures/stack.tif/000002.jpg" in page
    assert run(world, images=("photos/sub",)) == 0
    assert json.loads(capsys.readouterr().out)["kept"] == 6


def test_depth_is_written_in_metres_and_in_colours(world):
    for seed in (0, 1):
        image, mask = scene(seed)
        write(world / "deep/images" / f"{seed}.png", encode(image))
        write(world / "deep/labels" / f"{seed}.png", encode(mask.astype(np.uint16) * 10))
    assert run(world, "task=depth", prompt="deep") == 0
    depth = np.asarray(Image.open(world / "out/depth/sub/d.png"))
    assert depth.dtype == np.uint16
    assert 30 <= depth.min() < depth.max() <= 2000
    assert np.abs(depth - scene(6)[1] * 10.0).mean() < 250
    assert (world / "out/coloured/sub/d.png").exists()
    assert "mean" in (world / "out/summary.csv").read_text().splitlines()[0]


REFUSED = {
    "no images": ({"images": ("nowhere",)}, "nowhere does not exist"),
    "nothing matches": ({"images": ("photos/*.bmp",)}, "no images match"),
    "not an image": ({"images": ("notes.txt",)}, "is neither an image nor a video"),
    "no prompt": ({"prompt": "nowhere"}, "--prompt=.*nowhere does not exist"),
    "no checkpoint": ({"checkpoint": "nowhere"}, "checkpoint nowhere does not exist"),
    "out is a file": ({"out": "notes.txt"}, "notes.txt is a file; give a folder"),
    "a key that does not exist": ({"more": ("neighbour=3",)}, "did you mean neighbours"),
    "a void class": ({"more": ("void=7", "prompt.classes=names.json")}, "prompt.classes: names.json is neither"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_ends_in_one_line_before_anything_is_written(world, capsys, case):
    changes, message = REFUSED[case]
    write(world / "notes.txt", "mine")
    before = content(world)
    more = changes.pop("more", ()) if "more" in changes else ()
    assert run(world, *more, **changes) == 2
    assert re.search(message, capsys.readouterr().err.splitlines()[-1])
    assert content(world) == before


def test_images_that_cannot_be_read_are_named_after_all_others_are_done(world, capsys, caplog):
    write(world / "photos/broken.png", encode(scene(1)[0])[:100])
    write(world / "photos/empty.jpg", "")
    huge = np.frombuffer(encode(np.zeros((8, 8, 3), np.uint8), "JPEG"), np.uint8).tobytes()
    place = huge.index(b"\xff\xc0") + 5
    write(world / "photos/huge.jpg", huge[:place] + b"\xff\xff\xff\xff" + huge[place + 4 :])
    assert run(world) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "3 of 8 cannot be read, all others are done: " in error
    assert "broken.png is a broken PNG" in error
    assert "huge.jpg is too large to be an image" in caplog.text
    assert len([name for name in content(world / "out") if name.startswith("masks")]) == 5
    assert (world / "out/index.html").exists()
