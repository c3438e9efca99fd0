"""What the page gets from the server, compared with `Prompt` itself."""

import io
import json
import shlex
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import hummingbird as hb
from hummingbird import cli
from hummingbird.incontext.app import opening, routes, store
from tests.incontext.app.site import Colours, Site, picture, pixels_of


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path).open()


def prompt_of(site, images):
    """The same prompt, built by hand."""
    prompt = hb.Prompt(Colours(), ["red", "blue"], input_size=64)
    session = site.page.store.get(site.id)
    prompt.add(pixels_of(picture(0)), session.labels(images[0]))
    return prompt


def test_masks_are_what_the_prompt_predicts(site):
    images = site.painted()
    masks, heads = site.predict(*images)
    assert heads[0]["values"] == [0, 1]
    for seed, image in enumerate(images):
        labels, confidence = prompt_of(site, images).predict(pixels_of(picture(seed)))
        np.testing.assert_array_equal(masks[image][0], labels)
        np.testing.assert_allclose(masks[image][1], 255 * confidence.share, atol=0.51)


def test_small_masks_are_predicted_for_the_overview(site):
    images = site.painted()
    masks, heads = site.predict(images[1], side=32)
    assert masks[images[1]][0].shape == (24, 32)
    assert (heads[1]["height"], heads[1]["width"]) == (24, 32)


def test_undo_brings_the_earlier_masks_back(site):
    images = site.painted()
    before, _ = site.predict(*images)
    stroke = site.paint(images[1], "c-red", [5, 40, 60, 40], size=20)
    changed, _ = site.predict(*images)
    assert any((changed[id][0] != before[id][0]).any() for id in images)
    site.send({"type": "stroke.remove", "image": images[1], "ids": [stroke]})
    again, _ = site.predict(*images)
    assert all((again[id][0] == before[id][0]).all() for id in images)


@pytest.mark.filterwarnings("ignore:the prompt holds annotated pixels of one class")
def test_without_strokes_there_are_no_masks_and_with_one_class_there_is_one(site):
    image = site.add_image(picture()).json()["id"]
    assert site.predict(image) == ({}, [{"revision": 0, "values": [], "parts": []}])
    site.add_class("red")
    site.paint(image, "c-red", [5, 5])
    masks, heads = site.predict(image)
    assert heads[0]["values"] == [0]
    assert (masks[image][0] == 0).all()


def test_settings_change_the_vote(site):
    images = site.painted()
    before, _ = site.predict(images[1])
    assert site.send({"type": "settings", "neighbours": 1, "temperature": 0.5}) == [""]
    after, _ = site.predict(images[1])
    expected = prompt_of(site, images).predict(pixels_of(picture(1)), neighbours=1, temperature=0.5)
    np.testing.assert_array_equal(after[images[1]][0], expected.labels)
    assert (after[images[1]][1] != before[images[1]][1]).any()


def test_the_neighbours_of_a_pixel_are_those_of_the_prompt(site):
    images = site.painted()
    answer = site.client.get(f"{site.base}/explain", params={"image": images[1], "y": 20, "x": 33}).json()
    expected = prompt_of(site, images).explain(pixels_of(picture(1)), 20, 33)[: routes.MOST_EXPLAINED]
    assert [near["box"] for near in answer["neighbours"]] == [list(near.box) for near in expected]
    np.testing.assert_allclose([n["weight"] for n in answer["neighbours"]], [n.weight for n in expected], atol=1e-6)
    assert {near["image"] for near in answer["neighbours"]} == {images[0]}
    assert {near["value"] for near in answer["neighbours"]} <= {0, 1}


def test_masks_are_exported_with_ids_and_palette(site):
    images = site.painted()
    with zipfile.ZipFile(io.BytesIO(site.client.get(f"{site.base}/masks.zip").content)) as file:
        assert file.namelist() == ["classes.json", "predictions/0.png", "annotations/0.png", "predictions/1.png"]
        classes = json.loads(file.read("classes.json"))
        mask = Image.open(io.BytesIO(file.read("predictions/1.png")))
        strokes = Image.open(io.BytesIO(file.read("annotations/0.png")))
    np.testing.assert_array_equal(np.asarray(mask), prompt_of(site, images).predict(pixels_of(picture(1))).labels)
    np.testing.assert_array_equal(np.asarray(strokes), site.page.store.get(site.id).labels(images[0]))
    blue = next(entry for entry in classes["classes"] if entry["name"] == "blue")
    assert bytes(mask.getpalette()[3 * blue["id"] :][:3]) == bytes.fromhex(blue["colour"][1:])


def test_the_saved_prompt_predicts_the_same_and_opens_the_page(site, tmp_path):
    images = site.painted()
    site.send({"type": "class.edit", "id": "c-red", "colour": "#aa0011"})
    saved = tmp_path / "copy.npz"
    saved.write_bytes(site.client.get(f"{site.base}/prompt.npz").content)
    prompt = hb.Prompt.load(saved, Colours())
    masks, _ = site.predict(images[1])
    np.testing.assert_array_equal(prompt.predict(pixels_of(picture(1))).labels, masks[images[1]][0])
    check_reopened(site, saved, images[0], tmp_path)


def test_the_command_is_that_of_a_folder_which_opens_the_page(site, tmp_path):
    images = site.painted()
    site.send({"type": "class.edit", "id": "c-red", "colour": "#aa0011"})
    answer = site.client.get(f"{site.base}/command").json()
    assert shlex.split(answer["command"].replace("\\\n", "")) == [
        *("hummingbird", "segment", "--checkpoint=rgb:8", f"--prompt={answer['prompt']}", "--images=FOLDER"),
        *("--out=DIR", "--config.prompt.classes=classes.json", "--config.neighbours=30"),
        *("--config.temperature=0.02", "--config.input_size=64"),
    ]
    check_reopened(site, Path(answer["prompt"]), images[0], tmp_path)


def test_the_command_makes_the_masks_that_the_page_shows(tmp_path, monkeypatch):
    site = Site(tmp_path / "work", encoder=hb.load_encoder("rgb:8")).open()
    images = site.painted()
    masks, _ = site.predict(*images)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FOLDER").mkdir()
    for seed in range(2):
        (tmp_path / "FOLDER" / f"{seed}.png").write_bytes(picture(seed))
    words = shlex.split(site.client.get(f"{site.base}/command").json()["command"].replace("\\\n", ""))
    assert cli.run([*words[1:], "--config.progress=false"]) == 0
    for seed, image in enumerate(images):
        np.testing.assert_array_equal(
            np.asarray(Image.open(tmp_path / "DIR" / "masks" / f"{seed}.png")), masks[image][0]
        )


def check_reopened(site, prompt, image, tmp_path):
    """A page with --prompt has the same classes and the same annotated image."""
    again = Site(tmp_path / "again", opening.build_opening(str(prompt))).open(empty=False)
    (found,) = again.state()["images"]
    kept = [[(x["value"], x["name"], x["colour"]) for x in each.state()["classes"]] for each in (again, site)]
    assert kept[0] == kept[1]
    labels = again.page.store.get(again.id).labels(found["id"])
    np.testing.assert_array_equal(labels, site.page.store.get(site.id).labels(image))


def test_an_empty_prompt_is_not_exported(site):
    for what in ("masks.zip", "prompt.npz", "command"):
        answer = site.client.get(f"{site.base}/{what}")
        assert answer.status_code == 400
        assert "nothing is annotated yet" in answer.json()["error"]


def test_a_folder_of_annotated_images_opens_with_its_own_ids(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(picture())
    mask = np.full((48, 64), 255, np.uint8)
    mask[:20], mask[30:] = 7, 11
    Image.fromarray(mask).save(tmp_path / "labels" / "a.png")
    site = Site(tmp_path / "work", opening.build_opening(str(tmp_path))).open(empty=False)
    state = site.state()
    assert [entry["value"] for entry in state["classes"]] == [7, 11]
    (image,) = state["images"]
    assert (image["name"], image["labelled"]) == ("a", True)
    np.testing.assert_array_equal(site.page.store.get(site.id).labels(image["id"]), mask)
    assert set(np.unique(site.predict(image["id"])[0][image["id"]][0])) == {7, 11}


def test_the_page_opens_on_scenes_with_strokes(tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "SIZE", 96)
    monkeypatch.setattr(opening, "CAMERAS", opening.CAMERAS[:2])
    site = Site(tmp_path, opening.build_opening(None)).open(empty=False)
    images = site.state()["images"]
    assert [len(image["strokes"]) > 2 for image in images] == [True, False, True, False]
    assert len(site.state()["classes"]) == 7
    assert len(site.predict(images[1]["id"])[1][0]["values"]) == 7


# ---------------------------------------------------------------- several pages
def test_a_reload_finds_everything(site):
    images = site.painted()
    before = site.state()
    again = Site(site.page.store.workdir)
    again.base = site.base
    assert again.state() == before
    assert again.predict(*images)[0].keys() == set(images)


def test_two_tabs_lose_no_stroke_and_hear_of_each_other(site):
    images = site.painted()
    revision = site.state()["revision"]
    site.paint(images[0], "c-red", [5, 5])
    site.paint(images[0], "c-blue", [9, 9])
    answer = site.client.get(f"{site.base}/events", params={"since": revision}).json()
    assert [event["stroke"]["class"] for event in answer["events"]] == ["c-red", "c-blue"]
    assert answer["revision"] == revision + 2
    orders = [stroke["order"] for stroke in site.state()["images"][0]["strokes"]]
    assert orders == sorted(orders)


def test_a_tab_that_waits_hears_of_changes_at_once(site):
    site.painted()
    timer = threading.Timer(0.2, lambda: site.add_class("green"))
    timer.start()
    revision = site.state()["revision"]
    answer = site.client.get(f"{site.base}/events", params={"since": revision, "wait": 20})
    assert [event["name"] for event in answer.json()["events"]] == ["green"]
    assert answer.elapsed.total_seconds() < 10
    timer.join()


def test_a_second_user_has_a_session_of_their_own(site):
    site.painted()
    other = Site(site.page.store.workdir).open()
    assert other.state()["images"] == []
    assert len(site.state()["images"]) == 2


# ---------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"hello", "not an image"),
        (picture()[:200], "broken"),
        (b"\xff\xd8\xff\xe0 no jpeg", "JPEG"),
    ],
)
def test_files_that_are_no_images_are_refused(site, data, message):
    answer = site.add_image(data, "bad.png")
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("bad.png")
    assert message in answer.json()["error"]
    assert site.state()["images"] == []


def test_uploads_are_bounded(site, monkeypatch):
    for name, value, message in (
        ("MOST_PIXELS", 100, "at most 0.0001 million"),
        ("MOST_IMAGES", 0, "at most 0 images"),
        ("MOST_BYTES", 50, "at most 50"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(store, name, value)
            answer = site.add_image(picture())
            assert answer.status_code == 400
            assert message in answer.json()["error"]
    with monkeypatch.context() as patch:
        patch.setattr(routes, "MOST_BYTES", 50)
        assert "more than 50 bytes" in site.add_image(picture()).json()["error"]


def test_a_removed_image_comes_back_with_its_strokes(site):
    images = site.painted()
    before, _ = site.predict(*images)
    site.send({"type": "image.remove", "id": images[0]})
    assert site.predict(images[1])[1][0]["values"] == []
    assert site.add_image(picture(0), "0.png").json()["id"] == images[0], "the same file again"
    again, _ = site.predict(*images)
    assert all((again[id][0] == before[id][0]).all() for id in images)


def test_the_page_cannot_add_images_by_events(site):
    event = {"type": "image.add", "id": "x", "name": "x", "height": 1, "width": 1}
    assert "server only" in site.send(event)[0]


@pytest.mark.parametrize(
    ("method", "path", "content", "message"),
    [
        ("GET", "/explain?image=x&y=a&x=1", None, "not an integer"),
        ("GET", "/explain?image=x&y=1&x=1", None, "does not exist"),
        ("GET", "/images/x/view", None, "does not exist"),
        ("POST", "/events", b"no json", "not JSON"),
        ("POST", "/events", b'{"events": 3}', "list of objects"),
        ("POST", "/predict", b'{"images": [{"id": "x"}]}', "not a number"),
        ("GET", "/events?since=1e9", None, "not an integer"),
    ],
)
def test_wrong_requests_get_one_line(site, method, path, content, message):
    answer = site.client.request(method, site.base + path, content=content)
    assert answer.status_code == 400
    assert message in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


def test_an_image_that_is_gone_is_named(site):
    images = site.painted()
    for path in (site.page.store.workdir / "sessions" / site.id / "images").glob("*.file"):
        path.unlink()
    _, heads = site.predict(*images)
    assert "cannot be read any more" in heads[-1]["error"]
