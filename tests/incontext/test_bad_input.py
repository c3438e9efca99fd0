"""Bad input ends in one line, and leaves the prompt as it was."""

import numpy as np
import pytest

import hummingbird as hb
from hummingbird.errors import UserError
from tests.incontext.test_prompt import VOID, Fourier, filled, scene

IMAGE, LABEL = scene(0)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (np.full_like(LABEL, VOID), "no pixel is annotated"),
        (np.full_like(LABEL, -1), "no pixel is annotated"),
        (LABEL[:-1], r"its shape is \[44, 61\], expected \[45, 61\]"),
        (np.full_like(LABEL, 3), r"class ids \[3\] are not among 0 \(red\), 1 \(green\), 2 \(blue\), and not 255"),
        (LABEL / 2, "float64, expected integer class ids"),
    ],
)
def test_a_label_that_does_not_fit_is_refused(label, message):
    prompt = filled(1)
    with pytest.raises(UserError, match=message):
        prompt.add(IMAGE, label)
    with pytest.raises(UserError, match=message):
        prompt.relabel("scene 0", label)
    assert list(prompt) == ["scene 0"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": ["a", "b", "a"]}, "'a' is named twice"),
        ({"classes": ["a"]}, "at least two"),
        ({"classes": {0: "a", 255: "b"}}, "255 is the id of class 'b'"),
        ({"task": "sound"}, "'sound' is not one of segmentation, depth"),
        ({"task": "depth", "classes": ["a", "b"]}, "task=depth has none"),
        ({"neighbours": 0}, "neighbours: 0 is not accepted"),
        ({"resize": "crop"}, "one of squash, shorter, none"),
        ({"colour": 1}, "unknown config key colour"),
    ],
)
def test_settings_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        hb.Prompt(Fourier(), **arguments)


def test_ids_have_to_exist_and_to_be_free():
    prompt = filled(2)
    with pytest.raises(UserError, match="'scene 0' is taken"):
        prompt.add(IMAGE, LABEL, id="scene 0")
    for call in (prompt.remove, lambda id: prompt.relabel(id, LABEL), lambda id: prompt[id]):
        with pytest.raises(UserError, match="'x' is not in the prompt; it holds scene 0, scene 1"):
            call("x")


def test_one_class_is_a_warning_when_it_is_predicted():
    prompt = hb.Prompt(Fourier(), classes=["red", "green", "blue"], input_size=64)
    prompt.add(IMAGE, np.where(LABEL == 1, 1, VOID))
    with pytest.warns(UserWarning, match="annotated pixels of one class only, green"):
        assert (prompt.predict(IMAGE).labels == 1).all()


def test_features_that_are_not_numbers_are_refused():
    class Broken(Fourier):
        def __call__(self, images):
            return np.full_like(super().__call__(images), np.nan)

    with pytest.raises(UserError, match="64 patch features of an image are NaN"):
        hb.Prompt(Broken(), input_size=64).add(IMAGE, LABEL)


def test_a_pixel_has_to_lie_in_the_image():
    with pytest.raises(UserError, match=r"pixel \(45, 0\) lies outside of the image of 45x61 pixels"):
        filled(1).explain(IMAGE, 45, 0)


def test_features_of_another_encoder_are_refused(tmp_path):
    class Other(Fourier):
        fingerprint = "other"

    prompt, other = filled(1), hb.Prompt(Other(), input_size=64)
    with pytest.raises(UserError, match="encoded with another encoder"):
        prompt.predict(other.encode(IMAGE))
    prompt.save(tmp_path / "prompt.npz")
    with pytest.raises(UserError, match="made with encoder fourier patch=8, not other patch=8"):
        hb.Prompt.load(tmp_path / "prompt.npz", Other())


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"text"])
def test_what_is_no_prompt_is_not_loaded(tmp_path, content):
    path = tmp_path / "prompt.npz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"prompt.npz is not a prompt, or damaged"):
        hb.Prompt.load(path, Fourier())
    with pytest.raises(UserError, match=r"gone.npz does not exist"):
        hb.Prompt.load(tmp_path / "gone.npz", Fourier())


def test_a_prompt_that_cannot_be_written_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "prompt.npz"
    filled(1).save(path)
    before = path.read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(UserError, match=r"prompt.npz cannot be written: No space left on device; nothing was changed"):
        filled(2).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
