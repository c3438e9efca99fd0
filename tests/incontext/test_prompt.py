"""The growing prompt: what it predicts, and what changes it."""

import numpy as np
import pytest

import hummingbird as hb
from hummingbird.errors import UserError

VOID = 255


class Fourier:
    """A nonlinear function of the mean colour of each patch; counts the images that it encodes."""

    patch_size, name, fingerprint = 8, "fourier", "fourier"

    def __init__(self):
        self.encoded = 0

    def __call__(self, images):
        self.encoded += len(images)
        b, h, w, _ = images.shape
        mean = images.reshape(b, h // 8, 8, w // 8, 8, 3).mean((2, 4)) / 255
        angles = mean @ np.random.default_rng(0).normal(0, 4, (3, 16))
        return np.concatenate([np.sin(angles), np.cos(angles)], -1).astype(np.float32)


def scene(seed, height=45, width=61):
    """A smooth image, and the class of each pixel by its brightest channel; a fifth is void."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (6, 8, 3))
    image = np.kron(small, np.ones((8, 8, 1)))[:height, :width].astype(np.uint8)
    label = image.argmax(2)
    label[rng.random(label.shape) < 0.2] = VOID
    return image, label


def filled(count=3, **settings):
    prompt = hb.Prompt(Fourier(), classes=["red", "green", "blue"], input_size=64, **settings)
    for i in range(count):
        prompt.add(*scene(i), id=f"scene {i}")
    return prompt


def same(a, b):
    (share, similarity), other = a.confidence, b.confidence
    parts = (a.labels, b.labels), (share, other.share), (similarity, other.similarity)
    return all(np.array_equal(x, y) for x, y in parts)


def test_a_prompt_is_a_collection_of_ids():
    prompt = filled(2)
    assert len(prompt) == 2
    assert list(prompt) == ["scene 0", "scene 1"]
    assert "scene 1" in prompt
    assert repr(prompt) == "Prompt(fourier, 3 classes, 2 images, 128 keys)"


def test_removing_an_image_is_as_if_it_had_never_been_added():
    prompt, query = filled(3), scene(9)[0]
    prompt.remove("scene 1")
    other = filled(1)
    other.add(*scene(2))
    assert same(prompt.predict(query), other.predict(query))


def test_relabelling_equals_a_fresh_prompt_and_does_not_encode():
    prompt, query = filled(2), scene(9)[0]
    image, label = scene(1)
    strokes = np.full_like(label, VOID)
    strokes[4:9] = label[4:9]
    before = prompt.encoder.encoded
    prompt.relabel("scene 1", strokes)
    assert prompt.encoder.encoded == before
    other = filled(1)
    other.add(image, strokes)
    assert same(prompt.predict(query), other.predict(query))


def test_an_encoded_query_is_answered_without_encoding():
    prompt = filled()
    encoded = prompt.encode(scene(9)[0])
    before, first = prompt.encoder.encoded, prompt.predict(encoded)
    assert same(first, prompt.predict(encoded))
    assert prompt.encoder.encoded == before
    assert same(first, prompt.predict(scene(9)[0]))


def test_a_saved_prompt_answers_as_before(tmp_path):
    prompt, query = filled(), scene(9)[0]
    prompt.palette = {1: (9, 200, 9)}
    prompt.save(tmp_path / "prompt.npz")
    loaded = hb.Prompt.load(tmp_path / "prompt.npz", Fourier())
    assert list(loaded) == list(prompt)
    assert loaded.classes == prompt.classes
    assert loaded.encoder.encoded == 0
    assert loaded.palette == {1: (9, 200, 9)}
    assert same(prompt.predict(query), loaded.predict(query))


def test_the_neighbours_of_a_pixel_sum_to_its_vote():
    prompt, query = filled(), scene(9)[0]
    labels, confidence = prompt.predict(query)
    neighbours = prompt.explain(query, 17, 30)
    assert sum(x.weight for x in neighbours) == pytest.approx(1)
    votes = [sum(x.weight * x.label.get(c, 0) for x in neighbours) for c in range(3)]
    assert np.argmax(votes) == labels[17, 30]
    assert max(votes) == pytest.approx(confidence.share[17, 30], abs=1e-6)


def test_an_empty_prompt_says_so():
    with pytest.raises(UserError, match="the prompt is empty"):
        filled(0).predict(scene(0)[0])


def test_depth_votes_and_agreement_are_those_of_the_neighbours():
    prompt = hb.Prompt(Fourier(), task="depth", input_size=64, neighbours=5, temperature=0.1)
    depth = scene(0)[0][..., 0] / 100.0 + 1
    depth[::7] = 0
    prompt.add(scene(0)[0], depth)
    found, confidence = prompt.predict(scene(9)[0])
    assert found.dtype == np.float32
    assert depth[depth > 0].min() <= found.min() <= found.max() <= depth.max()
    assert 0 <= confidence.share.min() <= confidence.share.max() <= 1
    neighbours = prompt.explain(scene(9)[0], 20, 20)
    assert sum(x.weight * x.label[0] for x in neighbours) == pytest.approx(found[20, 20], rel=1e-5)


@pytest.mark.parametrize(("task", "channels"), [("regression", 1), ("regression", 2), ("normals", 3)])
def test_maps_of_values_are_predicted_with_their_channels(task, channels):
    prompt = hb.Prompt(Fourier(), task=task, input_size=64)
    values = scene(0)[0][..., :channels] / 255.0
    values[0] = np.nan
    prompt.add(scene(0)[0], values if channels > 1 else values[..., 0])
    found, _ = prompt.predict(scene(0)[0])
    assert found.shape == (45, 61, channels)[: 2 if channels == 1 else 3]
    assert np.isfinite(found).all()


@pytest.mark.parametrize("classes", [None, {7: "road", 26: "car"}])
def test_predictions_have_the_ids_of_the_labels(classes):
    prompt = hb.Prompt(Fourier(), classes, input_size=64)
    label = np.where(scene(0)[1] == 0, 7, np.where(scene(0)[1] == 1, 26, VOID))
    prompt.add(scene(0)[0], label)
    assert set(np.unique(prompt.predict(scene(0)[0]).labels)) == {7, 26}
    assert list(prompt.classes) == [7, 26]
    assert set(prompt.explain(scene(0)[0], 3, 3)[0].label) <= {7, 26}


def test_labels_of_other_numbers_of_channels_are_refused():
    prompt = hb.Prompt(Fourier(), task="regression", input_size=64)
    prompt.add(scene(0)[0], scene(0)[0] / 255.0)
    with pytest.raises(UserError, match="2 channels, those before it have 3"):
        prompt.add(scene(1)[0], scene(1)[0][..., :2] / 255.0)
    assert list(prompt) == ["1"]


def test_labels_are_painted_in_the_colours_of_the_palette():
    prompt = filled(1)
    prompt.palette = {1: (9, 200, 9)}
    painted = prompt.paint(np.array([[0, 1], [2, VOID]]))
    assert painted[0, 1].tolist() == [9, 200, 9]
    assert len({tuple(colour) for colour in painted.reshape(4, 3).tolist()}) == 4
    depth = hb.Prompt(Fourier(), task="depth", input_size=64)
    depth.add(scene(0)[0], np.ones((45, 61)))
    assert depth.paint(depth.predict(scene(0)[0]).labels).shape == (45, 61, 3)
