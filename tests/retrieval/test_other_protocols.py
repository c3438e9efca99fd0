"""The protocols of DIP and CAPI, against transcriptions of their definitions in plain NumPy."""

import numpy as np
import PIL.Image
import pytest

import hummingbird as hb
from hummingbird import config
from hummingbird.errors import UserError
from hummingbird.retrieval import capacity, measure
from hummingbird.retrieval.evaluation import build_evaluation
from hummingbird.retrieval.index import build, device
from hummingbird.retrieval.shared_encoding import share_encoding
from hummingbird.retrieval.space import fit_space
from hummingbird.tasks import build_task
from hummingbird.tasks.pixel_labels import most_frequent
from tests import reference
from tests.retrieval.fakes import FakeSource, MeanColour

SIZE, PATCH = 64, MeanColour.patch_size
SMALL = {"input_size": SIZE, "batch_size": 4, "progress": False, "report.enabled": False}


class Uneven(MeanColour):
    """Features of very different lengths, so that cosine and L2 choose other neighbours."""

    std = (0.5, 0.5, 0.5)

    def __call__(self, images):
        features = super().__call__(images)
        return features * np.exp(4 * features[..., :1])


def squashed(source, filter):
    """Images [n, S, S, 3] and labels [n, S, S] of a source, resized by Pillow's `filter` and to the nearest pixel."""
    images, labels = [], []
    for i in range(len(source)):
        item = source[i]
        images.append(np.asarray(PIL.Image.fromarray(item["image"]).resize((SIZE, SIZE), filter)))
        mask = PIL.Image.fromarray(item["label"].astype(np.uint8))
        labels.append(np.asarray(mask.resize((SIZE, SIZE), PIL.Image.Resampling.NEAREST)))
    return np.stack(images), np.stack(labels).astype(int)


def in_patches(labels):
    """[n, S, S] -> [n * patches, pixels]."""
    side = SIZE // PATCH
    return labels.reshape(-1, side, PATCH, side, PATCH).transpose(0, 1, 3, 2, 4).reshape(-1, PATCH * PATCH)


def mean_iou(truth, prediction, classes):
    """The mean over classes in truth or prediction, void pixels (255) left out."""
    valid = truth != 255
    truth, prediction = truth[valid], prediction[valid]
    scores = [
        np.sum((truth == c) & (prediction == c)) / np.sum((truth == c) | (prediction == c))
        for c in classes
        if np.any((truth == c) | (prediction == c))
    ]
    return 100 * np.mean(scores)


def floor_squashed(source):
    """As `squashed`, with PyTorch's nearest: the pixel that a new pixel's left upper corner lies in."""
    images, _ = squashed(source, PIL.Image.Resampling.BILINEAR)
    labels = []
    for i in range(len(source)):
        label = source[i]["label"]
        rows, columns = (np.arange(SIZE) * side // SIZE for side in label.shape)
        labels.append(label[rows[:, None], columns])
    return images, np.stack(labels)


def distances(queries, keys, distance):
    if distance == "l2":
        return np.linalg.norm(queries[:, None] - keys[None], axis=-1)
    return -reference.unit(queries) @ reference.unit(keys).T


def test_dip_finds_neighbours_by_l2_weighs_them_by_cosine_and_averages_over_classes_that_occur():
    encoder, prompt, query = Uneven(), FakeSource(4), FakeSource(3, seed=1)
    settings = {**SMALL, "protocol": "dip", "retrieval.neighbours": 7, "retrieval.augmentation_epochs": 0}
    result = measure(encoder, settings, prompt, query)[0]

    images, labels = floor_squashed(prompt)
    keys = encoder(images).reshape(-1, 7).astype(np.float64)
    pixels = in_patches(np.where(labels == 255, 0, labels))  # void is class 0 in the bank
    values = np.stack([(pixels == c).mean(1) for c in range(4)], 1)
    images, truth = floor_squashed(query)
    queries = encoder(images).reshape(-1, 7).astype(np.float64)
    nearest = np.argsort(distances(queries, keys, "l2"), axis=1, kind="stable")[:, :7]
    assert (nearest[:, 0] != distances(queries, keys, "cosine").argmin(1)).mean() > 0.1, "the distance matters here"
    cosines = np.einsum("qd,qkd->qk", reference.unit(queries), reference.unit(keys[nearest]))
    votes = np.einsum("qk,qkc->qc", reference.softmax(cosines / 0.07), values[nearest])
    maps = votes.reshape(len(truth), SIZE // PATCH, SIZE // PATCH, 4)
    prediction = np.stack([reference.bilinear(x, SIZE, SIZE).argmax(-1) for x in maps])
    assert result["metrics"]["miou"] == pytest.approx(mean_iou(truth, prediction, range(4)), abs=0.02)
    assert result["protocol"]["temperature"] == 0.07
    assert result["index"]["kind"] == "exact"


@pytest.mark.parametrize(("distance", "void"), [("cosine", 4), ("l2", 4), ("l2", -1)])
def test_capi_lets_the_pixels_of_standardised_neighbours_vote(distance, void):
    encoder, prompt, query = Uneven(), FakeSource(4), FakeSource(3, seed=1)
    if void < 0:  # its id in the files is the lowest, as on ADE20K
        prompt.void_class = query.void_class = "other"
    settings = {**SMALL, "protocol": "capi", "retrieval.neighbours": 4, "retrieval.distance": distance}
    result = measure(encoder, settings, prompt, query)[0]

    images, labels = squashed(prompt, PIL.Image.Resampling.BICUBIC)
    keys = encoder(images).reshape(-1, 7).astype(np.float64)
    pixels = in_patches(np.where(labels == 255, void, labels)) + 1
    modes = np.array([np.bincount(row).argmax() for row in pixels])
    keys, pixels = keys[modes != void + 1], pixels[modes != void + 1]
    # The last feature is constant up to the encoder's factor; all have a spread.
    mean, deviation = keys.mean(0), keys.std(0)
    images, truth = squashed(query, PIL.Image.Resampling.BICUBIC)
    queries = encoder(images).reshape(-1, 7).astype(np.float64)
    far = distances((queries - mean) / deviation, (keys - mean) / deviation, distance)
    nearest = np.argsort(far, axis=1, kind="stable")[:, :4]
    voted = np.array([[np.bincount(column).argmax() for column in pixels[ids].T] for ids in nearest])
    side = SIZE // PATCH
    maps = voted.reshape(len(truth), side, side, PATCH, PATCH).transpose(0, 1, 3, 2, 4).reshape(truth.shape) - 1
    assert result["metrics"]["miou"] == pytest.approx(mean_iou(truth, maps, range(-1, 5)), abs=0.02)
    assert result["memory"]["length"] == len(keys)


def test_dip_scores_void_of_ade20k_as_a_class_of_its_own():
    source = FakeSource(1)
    source.void_class = "other"
    task = build_task(source, config.resolve("evaluate", overrides={"protocol": "dip"}))
    metrics = task.metrics()
    truth = np.array([[0, 0, 255, 255]], np.int32)
    metrics.add(truth, np.array([[0, 4, 4, 4]], np.int32))
    result = metrics.result()
    found = {name: iou for name, iou in result["per_class_iou"].items() if iou is not None}
    assert found == {"sky": 50, "other": pytest.approx(200 / 3)}
    assert result["miou"] == pytest.approx((50 + 200 / 3) / 2), "the mean of classes that occur"


def test_l2_search_by_inner_product_is_exact_in_another_space_too():
    rng = np.random.default_rng(0)
    keys = (rng.normal(size=(500, 6)) * rng.uniform(1, 9, (500, 1)) + 3).astype(np.float32)
    space = fit_space(keys, "l2", standardise=True)
    np.testing.assert_allclose(space.rows(keys).mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(space.rows(keys).std(0), 1, atol=1e-5)
    scores = space.rows(keys[:40]) @ space.keys(keys)[:, :-1].T + space.keys(keys)[:, -1]
    expected = distances(space.rows(keys[:40]).astype(np.float64), space.rows(keys).astype(np.float64), "l2")
    np.testing.assert_array_equal(scores.argmax(1), expected.argmin(1))
    np.testing.assert_array_equal(np.argsort(-scores)[:, :5], np.argsort(expected)[:, :5])


def test_evaluations_that_share_a_bank_do_not_share_an_index_of_another_distance():
    encoder, sources = Uneven(), (FakeSource(4), FakeSource(3, seed=1))
    settings = {**SMALL, "protocol": "capi", "retrieval.neighbours": 5}
    cosine, l2, plain = (
        config.resolve("evaluate", overrides={**settings, **changes})
        for changes in ({}, {"retrieval.distance": "l2"}, {"retrieval.distance": "l2", "retrieval.standardise": False})
    )
    shared = share_encoding(first := build_evaluation(encoder, cosine, *sources), [first.protocol])
    scores = []
    for one in (cosine, l2, plain):
        together = measure(encoder, one, *sources, encoded=shared)[0]["metrics"]
        assert together == measure(encoder, one, *sources)[0]["metrics"]
        scores.append(together["miou"])
    assert len(set(scores)) == 3


def test_unnormalised_keys_that_devices_cannot_hold_are_searched_exactly_on_the_host(monkeypatch):
    given = Uneven(), {**SMALL, "protocol": "dip", "retrieval.neighbours": 7}, FakeSource(4), FakeSource(3, seed=1)
    expected = measure(*given)[0]
    monkeypatch.setattr(device, "free_device_memory", lambda: 1000)
    monkeypatch.setattr(device.jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(build, "AUTO_SCANN_LENGTH", 1)  # ScaNN is for longer banks of unit vectors
    with pytest.warns(UserWarning, match="do not fit .*searching on the host instead"):
        found = measure(*given)[0]
    assert found["index"]["kind"] == "exact"
    assert found["metrics"] == expected["metrics"]


def test_devices_need_room_for_unnormalised_keys_in_float32(monkeypatch):
    monkeypatch.setattr(device, "free_device_memory", lambda: 20 * 10**9)
    settings = {"retrieval.index": "device", "retrieval.key_dtype": "bfloat16"}
    cosine, l2 = (
        config.resolve("evaluate", overrides={**settings, "retrieval.distance": distance}).retrieval
        for distance in ("cosine", "l2")
    )
    devices = device.jax.local_device_count()
    assert not capacity.device_shortage(10_000_000 * devices, 768, cosine)
    with pytest.raises(device.DeviceMemoryError, match="do not fit the memory"):
        capacity.check_room(10_000_000 * devices, 768, l2, None)


def test_the_most_frequent_label_is_the_lowest_on_ties():
    labels = np.random.default_rng(0).integers(0, 4, (30, 6, 5))
    expected = [[np.bincount(labels[q, :, p]).argmax() for p in range(5)] for q in range(30)]
    assert most_frequent(labels).tolist() == expected


def test_a_protocol_brings_defaults_that_settings_override():
    dip = config.resolve("evaluate", None, [("protocol", "dip")])
    assert (dip.input_size, dip.retrieval.temperature, dip.retrieval.distance) == (504, 0.07, "l2")
    own = config.resolve("evaluate", None, [("protocol", "dip"), ("retrieval.temperature", "0.02")])
    assert (own.input_size, own.retrieval.temperature) == (504, 0.02)
    assert config.replace(config.resolve("evaluate"), {"protocol": "dip"}) == dip
    assert config.resolve("evaluate", overrides=config.to_flat(own)) == own
    capi = config.resolve("evaluate", "pascal_voc", {"protocol": "capi"})
    assert (capi.input_size, capi.retrieval.sampling, capi.retrieval.standardise) == (224, "all", True)


def test_a_config_file_that_changes_what_a_protocol_sets_is_named_where_the_evaluation_starts(caplog):
    few = config.resolve("evaluate", "pascal_voc:few", {**SMALL, "protocol": "dip", "retrieval.augmentation_epochs": 0})
    result = measure(Uneven(), few, FakeSource(4), FakeSource(1))[0]
    said = ["protocol=dip sets input_size=504, retrieval.temperature=0.07; this evaluation has 64, 0.1"]
    assert result["warnings"] == [record.getMessage() for record in caplog.records] == said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"protocol": "capi", "retrieval.augmentation_epochs": 1}, "capi does not augment"),
        ({"protocol": "dip", "resize": "shorter"}, "dip squashes images"),
        ({"retrieval.distance": "l2", "retrieval.index": "scann"}, "scann searches L2-normalised keys only"),
        (
            {"protocol": "dip", "data.scenes": {"query_images": 1, "prompt_images": 1}, "data.task": "depth"},
            "dip is for",
        ),
    ],
)
def test_what_a_protocol_cannot_do_is_refused(changes, said):
    with pytest.raises(UserError, match=said):
        hb.evaluate(MeanColour(), "scenes", overrides=changes)


def test_banks_of_other_features_or_labels_are_not_mistaken_for_each_other(tmp_path):
    sources = FakeSource(3), FakeSource(2, seed=1)
    kept = {**SMALL, "retrieval.augmentation_epochs": 0, "retrieval.sampling": "all", "retrieval.neighbours": 5}
    kept["retrieval.bank"] = str(tmp_path / "bank")
    l2 = {**kept, "retrieval.distance": "l2"}
    first, again = (measure(MeanColour(), l2, *sources)[0]["metrics"] for _ in range(2))
    assert first == again
    with pytest.raises(UserError, match="was built with keys='raw', this evaluation has None"):
        measure(MeanColour(), kept, *sources)
    capi = {**kept, "protocol": "capi", "retrieval.bank": str(tmp_path / "pixels")}
    first, again = (measure(MeanColour(), capi, *sources)[0]["metrics"] for _ in range(2))
    assert first == again
