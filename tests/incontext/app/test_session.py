"""Sessions: what events do, and that nothing of them is lost on disk."""

import itertools

import numpy as np
import pytest
from PIL import Image

from hummingbird.errors import UserError
from hummingbird.incontext.app.session import Session
from hummingbird.incontext.app.store import Store
from tests.incontext.app.site import picture

KEYS = itertools.count()
STROKE = {"id": "s1", "tool": "brush", "class": "a", "size": 4, "points": [1, 1, 9, 9]}


def event(type, **fields):
    return {"type": type, "key": f"k{next(KEYS)}", **fields}


def filled():
    session = Session()
    session.apply(event("class.add", id="a", name="sky"))
    session.apply(event("class.add", id="b", name="tree"))
    session.apply(event("image.add", id="i", name="x.png", height=10, width=20, full_height=10, full_width=20))
    return session


def test_classes_get_values_that_are_never_used_again():
    session = filled()
    session.apply(event("class.remove", id="a"))
    assert session.apply(event("class.add", id="c", name="sky"))["value"] == 2
    assert session.values() == {"b": 1, "c": 2}


def test_a_class_named_twice_is_refused_whatever_its_case():
    session = filled()
    for wrong in (event("class.add", id="c", name=" SKY "), event("class.edit", id="b", name="Sky")):
        with pytest.raises(UserError, match="there is a class"):
            session.apply(wrong)
    session.apply(event("class.edit", id="a", name="Sky"))
    assert session.classes["a"].name == "Sky"


def test_a_removed_class_comes_back_with_its_strokes_unless_its_name_is_taken():
    session = filled()
    session.apply(event("stroke.add", image="i", stroke=STROKE))
    session.apply(event("class.remove", id="a"))
    with pytest.raises(UserError, match="class of this stroke was removed"):
        session.apply(event("stroke.add", image="i", stroke={**STROKE, "id": "s2"}))
    session.apply(event("class.remove", id="a", removed=False))
    assert session.pictures["i"].strokes.keys() == {"s1"}
    session.apply(event("class.remove", id="a"))
    session.apply(event("class.edit", id="b", name="sky"))
    with pytest.raises(UserError, match="there is a class sky"):
        session.apply(event("class.remove", id="a", removed=False))


def test_an_event_counts_once_however_often_it_is_sent():
    session, stroke = filled(), event("stroke.add", image="i", stroke=STROKE)
    assert session.apply(stroke)["revision"] == 4
    assert session.apply(stroke) is None
    assert (session.revision, session.effective) == (4, 4)
    session.apply(event("class.edit", id="a", colour="#102030"))
    assert (session.revision, session.effective) == (5, 4), "a colour changes no prediction"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (event("class.add", id="c", name=" "), "needs a name"),
        (event("class.edit", id="a", colour="red"), "#rrggbb"),
        (event("class.edit", id="zz", name="x"), "does not exist"),
        (event("stroke.add", image="j", stroke=STROKE), "does not exist"),
        (event("stroke.add", image="i", stroke="x"), "missing"),
        (event("settings", neighbours=0), "between 1 and 200"),
        (event("settings", temperature="hot"), "not a number"),
        (event("explode"), "unknown"),
        ({"type": "settings"}, "key"),
    ],
)
def test_wrong_events_are_refused_and_change_nothing(wrong, message):
    session = filled()
    with pytest.raises(UserError, match=message):
        session.apply(wrong)
    assert session.revision == 3


def test_a_killed_server_finds_everything_again(tmp_path):
    session = Store(tmp_path).create()
    image = session.add_image(picture(), "dir/photo.png")
    events = [event("class.add", id="a", name="sky"), event("stroke.add", image=image, stroke=STROKE)]
    assert session.append([*events, event("settings", neighbours=7)]) == ["", "", ""]
    again = Store(tmp_path).get(session.id)
    assert again.state.revision == 4
    assert again.since(0) == session.since(0)
    assert again.state.settings.neighbours == 7
    np.testing.assert_array_equal(again.labels(image), session.labels(image))
    assert (again.labels(image) == 0).any()


def test_a_last_line_that_a_crash_cut_short_is_dropped(tmp_path):
    session = Store(tmp_path).create()
    session.append([event("class.add", id="a", name="sky")])
    journal = session.folder / "journal.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"type": "class.a')
    assert Store(tmp_path).get(session.id).state.revision == 1
    assert journal.read_bytes() == whole
    journal.write_bytes(b"no json\n" + whole)
    with pytest.raises(UserError, match="line 1"):
        Store(tmp_path).get(session.id)


def test_an_image_is_stored_once_and_its_mask_lies_below_the_strokes(tmp_path):
    session = Store(tmp_path).create()
    session.append([event("class.add", id="a", name="sky"), event("class.add", id="b", name="tree")])
    mask = np.full((48, 64), 1, np.uint8)
    mask[:10] = 9  # of no class
    image = session.add_image(picture(), "x.png", mask)
    assert session.add_image(picture(), "y.png", mask) == image
    session.append([event("stroke.add", image=image, stroke=STROKE)])
    labels = session.labels(image)
    assert (labels[5, 5], labels[5, 40], labels[40, 40]) == (0, 255, 1)
    assert len(session.state.pictures) == 1


def test_a_large_image_is_worked_on_in_a_smaller_copy(tmp_path, monkeypatch):
    monkeypatch.setattr("hummingbird.incontext.app.store.LARGEST", 32)
    session = Store(tmp_path).create()
    image = session.add_image(picture(), "x.png", np.zeros((48, 64), np.uint8))
    found = session.picture(image)
    assert (found.height, found.width, found.full_height, found.full_width) == (24, 32, 48, 64)
    assert session.pixels(image).shape == (24, 32, 3)
    assert session.mask(image).shape == (24, 32)
    assert Image.open(session.file(image, ".view.jpg")).size == (32, 24)


@pytest.mark.parametrize("id", ["0" * 24, "..", "../../etc", "x"])
def test_only_sessions_that_exist_are_opened(tmp_path, id):
    with pytest.raises(UserError, match="does not exist"):
        Store(tmp_path).get(id)
