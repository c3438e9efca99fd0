"""Evaluation of whole images, from a config to the files that it writes."""

import json

import numpy as np
import pytest
from PIL import Image

import hummingbird as hb
from hummingbird import cli, retrieval
from hummingbird import config as configs
from hummingbird.errors import UserError
from hummingbird.models.architecture import build_architecture
from hummingbird.retrieval.progress import Clock
from hummingbird.retrieval.recognition.inputs import build_encoding
from hummingbird.retrieval.recognition.prepare import Preparation
from hummingbird.retrieval.report import read_runs
from hummingbird.weights.own import frozen_vit, random_params
from tests.data.test_image_sets import picture, write

SCENES = {"data.scenes.prompt_images": 60, "data.scenes.query_images": 20, "data.scenes.size": 32}
SMALL = {**SCENES, "input_size": 32, "batch_size": 16, "progress": False, "images.crop": "squash"}


class Colours:
    """Encodes a patch as its mean colour."""

    patch_size, name, fingerprint, calls = 8, "colours", "colours-1", 0

    def __call__(self, images):
        self.calls += len(images)
        b, h, w, _ = images.shape
        return images.reshape(b, h // 8, 8, w // 8, 8, 3).mean(axis=(2, 4), dtype=np.float32) - 127


def evaluate(encoder=None, workdir=None, **changes):
    return hb.evaluate(encoder or Colours(), "images:scenes", workdir=workdir, overrides={**SMALL, **changes})


def test_the_result_holds_scores_of_each_classifier_and_every_choice(tmp_path):
    result = evaluate(workdir=tmp_path, **{"images.shots": 3, "images.draws": 2, "features.pca": 2})
    assert json.loads((tmp_path / "metrics.json").read_text()) == json.loads(json.dumps(result))
    metrics = result["metrics"]
    assert (result["task"], result["dataset"]) == ("classification", "scenes")
    assert metrics["accuracy"] == metrics["knn_top1"]
    assert {"weighted_knn_k10_top5", "few_shot_knn_top1", "few_shot_knn_top1_std"} <= metrics.keys()
    assert len(metrics["per_class_accuracy"]) == 10
    chosen = result["protocol"]
    assert (chosen["pooling"], chosen["pca"], chosen["few_shot_pca"], chosen["metric"]) == ("mean", 2, 2, "top1")
    assert (chosen["shots"], chosen["draws"], chosen["train_images"]) == (3, 2, 60)
    page = (tmp_path / "report.html").read_text()
    for heading in ("Image classification on scenes", "Scores by classifier", "Nearest images", "Confusion matrix"):
        assert heading in page
    assert "Accuracy by class" in page
    assert "Intersection" not in page.replace('Intersection over union by class">', "")


def test_finished_evaluations_are_shown_side_by_side(tmp_path):
    for name, changes in {"a": {}, "b": {"features.pca": 2}}.items():
        evaluate(workdir=tmp_path / name, **changes)
    assert cli.run(["report", str(tmp_path / "a"), str(tmp_path / "b"), f"--out={tmp_path / 'page.html'}"]) == 0
    page = (tmp_path / "page.html").read_text()
    assert page.count("Nearest images: ") == 2
    assert "What differs" in page
    assert "features.pca" in page
    assert read_runs([tmp_path / "a"])[0].images["queries"][0]["neighbours"]


def test_features_of_a_cache_are_not_encoded_again(tmp_path):
    encoder, cache = Colours(), {"images.cache": str(tmp_path)}
    first = evaluate(encoder, **cache)
    calls = encoder.calls
    second = evaluate(encoder, **cache, **{"images.neighbours": 20})
    assert calls > 0
    assert encoder.calls == calls
    assert first["metrics"] == second["metrics"]
    evaluate(encoder, **cache, **{"images.crop": "centre"})  # something else
    assert encoder.calls == 2 * calls


def test_encoding_resumes_where_it_was_interrupted(tmp_path, monkeypatch):
    monkeypatch.setattr("hummingbird.retrieval.recognition.cache.COMMIT", 1)
    whole = evaluate()

    class Stops(Colours):
        def __call__(self, images):
            if self.calls >= 32:
                raise KeyboardInterrupt
            return super().__call__(images)

    with pytest.raises(KeyboardInterrupt):
        evaluate(Stops(), **{"images.cache": str(tmp_path)})
    encoder = Colours()
    assert evaluate(encoder, **{"images.cache": str(tmp_path)})["metrics"] == whole["metrics"]
    assert encoder.calls == 16 * (2 + 2)  # of four batches to train on two were left


def test_damaged_features_are_refused(tmp_path):
    evaluate(**{"images.cache": str(tmp_path)})
    file = next(tmp_path.glob("*/units.npy"))
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)
    with pytest.raises(UserError, match=r"units.npy is damaged; delete"):
        evaluate(**{"images.cache": str(tmp_path)})


def test_the_batch_size_does_not_change_the_scores():
    assert evaluate(batch_size=7)["metrics"] == evaluate(batch_size=64)["metrics"]


@pytest.mark.long
def test_a_vit_with_a_cls_token_is_pooled_by_it_and_others_by_the_mean():
    settings = {"width": 32, "depth": 1, "heads": 2, "patch_size": 8, "cls_token": True}
    arch = build_architecture({"name": "vit_ti8", **settings}, 32)
    encoder = frozen_vit(arch, random_params(arch), "tiny")
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    resolved = hb.config.resolve("evaluate", "evaluate/images:scenes", {**SMALL})
    pooled = lambda encoder, name: build_encoding(encoder, configs.replace(resolved, {"images.pooling": name}), Clock())
    assert pooled(encoder, "auto").pooling == "cls"
    assert pooled(hb.load_encoder("rgb:8"), "auto").pooling == "mean"
    both = pooled(encoder, "cls_mean").vectors(images, [], [])
    np.testing.assert_allclose(both[:, :32], encoder.cls(images), rtol=1e-5)
    np.testing.assert_allclose(both[:, 32:], encoder(images).mean(axis=(1, 2)), rtol=1e-5, atol=1e-6)


def test_an_attentive_probe_attends_to_all_patches():
    probe = {"images.classifiers": ("attentive",), "images.pooling": "patches", "images.attentive.steps": 20}
    result = evaluate(**probe, **{"images.attentive.heads": 3, "images.attentive.learning_rates": (1e-3,)})
    assert 0 <= result["metrics"]["attentive_top1"] <= 100
    with pytest.raises(
        UserError, match=r"images.classifiers: attentive attends to patches; set images.pooling=patches"
    ):
        evaluate(**{**probe, "images.pooling": "mean"})
    with pytest.raises(UserError, match=r"images.crop: pooling=patches needs images of one size"):
        evaluate(**probe, **{"images.crop": "aspect"})


def test_preparations_follow_torchvision_and_keep_the_aspect():
    image = np.random.default_rng(0).integers(0, 256, (60, 100, 3), dtype=np.uint8)
    assert Preparation("centre", 32, 8)(image, "x").shape == (32, 32, 3)
    assert Preparation("squash", 32, 8)(image, "x").shape == (32, 32, 3)
    assert Preparation("aspect", 64, 8)(image, "x").shape == (40, 64, 3)
    box = Preparation("squash", 32, 8)(image, "x", (10, 20, 42, 52))
    np.testing.assert_array_equal(box, image[20:52, 10:42])


def test_the_central_crop_is_torchvisions():
    """Resize(37), whose longer side is truncated, and CenterCrop(32), whose corner is rounded to even."""
    for (height, width), size, corner in (((60, 101), (62, 37), (15, 2)), ((97, 50), (37, 71), (2, 20))):
        image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        resized = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
        left, upper = corner
        expected = resized[upper : upper + 32, left : left + 32]
        np.testing.assert_array_equal(Preparation("centre", 32, 8)(image, "x"), expected)


# ---------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images.neighbours": 61}, "images.neighbours: 61 is more than the training images; there are 60"),
        ({"images.shots": 1}, "images.neighbours: 20 is more than the training images; images.shots=1 of"),
        (
            {"images.vote_neighbours": (100, 70)},
            "images.vote_neighbours: 70 is more than the training images; there are",
        ),
        ({"images.shots": 7}, "images.shots: 7 images of each class are needed, and class 'barrel' "),
        ({"images.pooling": "qkv"}, "images.pooling: qkv needs a training run"),
        ({"images.pooling": "cls"}, "images.pooling: this encoder gives patch features alone"),
        ({"images.classifiers": ("knn", "knn")}, "images.classifiers: give at least one value, each once"),
        ({"retrieval.index": "scann"}, "retrieval.index: whole images are searched exactly"),
        ({"data.fractions": (0.5,)}, "data.fractions is for dense labels"),
    ],
)
def test_settings_that_cannot_work_are_refused_in_one_line(tmp_path, changes, message):
    with pytest.raises(UserError, match=message) as raised:
        evaluate(workdir=tmp_path, **changes)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "metrics.json").exists()


def test_one_class_and_unreadable_images_are_refused(tmp_path):
    small = {"input_size": 16, "images.neighbours": 2, "images.classifiers": ("knn",), "progress": False}
    write(tmp_path, {"train/a": 3, "train/b": 3, "test/a": 2, "test/b": 2})
    run = lambda **more: retrieval.evaluate(Colours(), "images", root=tmp_path, overrides={**small, **more})
    assert 0 <= run()["metrics"]["accuracy"] <= 100
    (tmp_path / "test/b/1.png").write_bytes(picture(0)[:60])
    with pytest.raises(UserError, match=r"test/b/1.png is a broken PNG"):
        run()
    (tmp_path / "list.txt").write_text("train/a/0.png a\ntrain/a/1.png a\n")
    with pytest.raises(UserError, match="there is one class only, 'a'; nothing to classify"):
        run(**{"data.prompt": "list.txt", "data.query": "list.txt"})


def test_an_encoder_without_a_fingerprint_has_no_cache(tmp_path):
    encoder = Colours()
    encoder.fingerprint = None
    with pytest.raises(UserError, match=r"images.cache: the encoder has no `fingerprint`"):
        evaluate(encoder, **{"images.cache": str(tmp_path)})


def test_features_that_are_not_finite_are_refused():
    class Broken(Colours):
        def __call__(self, images):
            return super().__call__(images) * np.nan

    with pytest.raises(UserError, match=r"features of 16 image\(s\) are NaN or infinite: scene-0-"):
        evaluate(Broken())


# ---------------------------------------------------------------- gradients
@pytest.mark.slow
def test_gradients_stand_beside_the_features(tmp_path):
    encoder = hb.load_encoder("random:vit_ti8")
    more = {"features.projection": "tensor", "features.rank": 1, "features.dim": 16, "images.classifiers": ("knn",)}
    few = {"data.scenes.prompt_images": 24, "data.scenes.query_images": 10, "images.cache": str(tmp_path)}
    plain = evaluate(encoder, **few)
    both = evaluate(encoder, **more, **few, **{"features.gradients": ("kl",)})
    assert plain["encoder"]["dim"] == 192
    assert both["encoder"]["dim"] == 16 + 192
    assert both["protocol"]["gradients"] == ["kl"]
    assert len(list(tmp_path.glob("*/features.json"))) == 4
    units = np.load(next(x for x in tmp_path.glob("*/units.npy") if np.load(x).shape == (24, 208)))
    np.testing.assert_allclose(np.linalg.norm(units[:, :16], axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(units[:, 16:], axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images.pooling": "cls_mean"}, "gradients are for cls and mean"),
        ({"features.projection": "none"}, "features.projection: whole images need dense or tensor"),
        ({}, "gradient"),
    ],
)
def test_gradients_that_cannot_be_taken_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        evaluate(**{"features.gradients": ("kl",), **changes})
