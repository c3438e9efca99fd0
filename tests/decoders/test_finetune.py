"""Decoders fitted from end to end on tiny rendered scenes, from the command line and in Python."""

import dataclasses
import json

import numpy as np
import pytest
from etils import epath

import hummingbird
from hummingbird import cli, config
from hummingbird.commands.plan_decoder import plan_decoder
from hummingbird.data.interface import Unreadable
from hummingbird.decoders.finetune import build_batches, finetune
from hummingbird.decoders.program import build_program
from hummingbird.decoders.results import seconds_of_steps
from hummingbird.decoders.setup import build_setup
from hummingbird.encoder import load_encoder
from hummingbird.errors import UserError
from hummingbird.run import workdir
from tests.decoders.small import SCENES, finetune_config, vit


@pytest.fixture(autouse=True)
def without_curves(monkeypatch):
    monkeypatch.setattr("hummingbird.run.curves.write", lambda workdir: True)  # which takes seconds


@pytest.fixture(scope="module")
def encoder():
    return load_encoder("rgb:8")


@pytest.mark.long
def test_the_command_trains_scores_and_says_what_it_did(tmp_path, capsys):
    overrides = [f"--config.{key}={value}" for key, value in SCENES.items() if key != "report.enabled"]
    run = tmp_path / "run"
    words = ["finetune", "--config=finetune/linear", "--checkpoint=rgb:8", f"--workdir={run}", *overrides]
    assert cli.run(words) == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    result = json.loads((run / "metrics.json").read_text())
    assert printed["miou"] == result["metrics"]["miou"]
    assert (
        result["decoder"] | {"name": "bn_linear", "train_encoder": False, "iterations": 4, "batch": 4}
        == (result["decoder"])
    )
    assert result["queries"] == {"images": 3}
    assert (run / "report.html").exists()
    capsys.readouterr()
    assert cli.run(["info", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "hummingbird decoder checkpoint"
    assert cli.run(words) == 0  # a finished run is scored again
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == printed
    other = ["--checkpoint=rgb:4" if word.startswith("--checkpoint") else word for word in words]
    assert cli.run(other) == 2
    assert "raw RGB patches of 8 px" in capsys.readouterr().err


@pytest.mark.long
def test_training_helps(tmp_path, encoder):
    few = {"optimizer.learning_rate": 0.02, "optimizer.warmup": 0.0}
    scores = [
        finetune(finetune_config(**few, total_steps=steps), encoder, tmp_path / str(steps)).result["metrics"]
        for steps in (1, 60)
    ]
    assert scores[1]["pixel_accuracy"] > scores[0]["pixel_accuracy"] + 5


@pytest.mark.long
def test_images_that_are_held_out_are_scored_apart_and_steps_are_timed(tmp_path, encoder):
    result = finetune(finetune_config(**{"data.held_out": 0.4}), encoder, tmp_path / "run").result
    assert (result["held_out"]["images"], result["protocol"]["training_images"]) == (2, 4)
    assert set(result["held_out"]["metrics"]) == set(result["metrics"])
    assert 0 < result["seconds"]["steps"] < result["seconds"]["train"]
    with pytest.raises(UserError, match=r"data\.held_out: 0\.5 leaves no image to train on"):
        finetune(finetune_config(**{"data.held_out": 0.5, "data.max_images": 1}), encoder, tmp_path / "none")


def test_steps_cost_what_the_log_says_also_after_a_pause(tmp_path):
    lines = [(1, None), (4, 0.5), (5, None), (7, 2.0)]  # steps 1 and 5 compiled
    text = [json.dumps({"step": n} | ({} if s is None else {"seconds_per_step": s})) for n, s in lines]
    (tmp_path / "metrics.jsonl").write_text("\n".join(text))
    assert seconds_of_steps(epath.Path(tmp_path)) == {"steps": pytest.approx(7 * (3 * 0.5 + 2 * 2.0) / 5)}
    (tmp_path / "metrics.jsonl").write_text(text[0])
    assert seconds_of_steps(epath.Path(tmp_path)) == {}


def test_a_head_that_does_not_fit_the_labels_is_refused_before_anything_is_written(tmp_path, encoder):
    with pytest.raises(UserError, match=r"decoder.name: depth_bins does not predict segmentation; use linear or"):
        finetune(finetune_config(**{"decoder.name": "depth_bins"}), encoder, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.long
def test_depth_is_predicted_in_metres(tmp_path, encoder):
    settings = config.resolve("finetune", "finetune/depth", SCENES)
    metrics = finetune(settings, encoder, tmp_path / "run").result["metrics"]
    assert np.isfinite(metrics["rmse"])
    assert 0 < metrics["rmse"] < 20
    scale, offset = build_setup(settings, encoder).values  # of depths, where `regression` starts
    assert 0 < scale < offset < 20


@pytest.mark.parametrize(
    ("checkpoint", "changes", "message"),
    [
        ("rgb:8", {"decoder.layers": (3, 5)}, "layers [3, 5]: the encoder has layers 0 to 0"),
        ("rgb:8", {"decoder.name": "upernet"}, "a grid of raw pixels has no layers to choose from"),
        (
            "rgb:8",
            {"decoder.inference": "slide", "decoder.window": 4},
            "decoder.window: 4 pixels are less than a patch",
        ),
        ("rgb:8", {"decoder.drop_path": 0.1}, "decoder.drop_path changes a trained encoder"),
        (
            "rgb:8",
            {"decoder.train_encoder": True, "decoder.cache_features": 1},
            "decoder.cache_features is for frozen",
        ),
        ("rgb:8", {"micro_batches": 3}, "micro_batches: 3 does not divide batch_size 4"),
        ("rgb:8", {"data.fractions": (0.5,)}, "data.fractions: a decoder is trained on one part at a time"),
        ("rgb:8", {"augment.scale": (2.0, 1.0)}, "augment.scale: 2.0 is above 1.0"),
    ],
)
def test_settings_that_fit_nothing_are_refused_by_a_line_before_anything_is_written(
    tmp_path, checkpoint, changes, message
):
    with pytest.raises(UserError) as raised:
        finetune(finetune_config(**changes), checkpoint, tmp_path / "run")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


class Labelled:
    """Images whose labels are all alike."""

    task, classes, ignore, fingerprint = "segmentation", ["a", "b"], 255, "x"

    def __init__(self, value):
        self.value = value

    def __len__(self):
        return 3

    def __getitem__(self, index):
        image = np.full((40, 32, 3), 40 * index, np.uint8)
        return {"image": image, "label": np.full((40, 32), self.value, np.int32), "name": str(index)}


def test_labels_that_nothing_can_be_learned_from_are_refused_by_a_line(tmp_path, encoder):
    with pytest.raises(UserError, match=r"3 of the 3 training images were read and none has a label"):
        finetune(finetune_config(), encoder, tmp_path / "run", (Labelled(255), Labelled(0)))
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match=r"label of image 0: class ids \[7\] are neither 0..1 nor void"):
        finetune(finetune_config(), encoder, tmp_path / "run", (Labelled(7), Labelled(0)))
    assert not (tmp_path / "run").exists()


class Damaged(Labelled):
    """Images of which one is lost."""

    def __getitem__(self, index):
        if index == 1 and self.lost:
            raise Unreadable("image 1 is lost")
        return super().__getitem__(index)


def test_a_lost_image_is_replaced_also_where_features_are_cached(encoder, caplog):
    source = Damaged(1)
    source.lost = False
    settings = finetune_config(**{"decoder.cache_features": 1, "data.workers": 1})  # workers cannot share the cache
    setup = build_setup(settings, encoder, (source, source))
    source.lost = True
    made = build_program(settings, setup.encoder.backbone, setup.encoder.params, setup.task, 3)
    batches = build_batches(setup, made)
    assert 1 not in next(batches)["index"]
    assert batches.broken == {1: "image 1 is lost"}
    batches.close()


def test_an_encoder_with_nan_is_refused_by_a_line(tmp_path):
    scale = {**vit().params["norm"], "scale": np.full(32, np.nan, np.float32)}
    broken = dataclasses.replace(vit(), params={**vit().params, "norm": scale})
    with pytest.raises(UserError, match=r"encoder a tiny ViT: its parameter norm/scale is not finite"):
        finetune(finetune_config(), broken, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match=r"encoder function: patch_size is None; set it"):
        finetune(finetune_config(), lambda images: images, tmp_path / "run")


class Mine:
    """The raw pixels of patches, by NumPy: what `rgb:8` is in JAX."""

    patch_size, name, scale = 8, "mine", 1.0
    __hash__ = None  # as of some users' classes

    def __call__(self, images):
        assert images.dtype == np.uint8
        count, height, width, _ = images.shape
        patches = images.reshape(count, height // 8, 8, width // 8, 8, 3).swapaxes(2, 3)
        pixels = patches.reshape(count, height // 8, width // 8, -1).astype(np.float32)
        return self.scale * (2 * pixels / 255 - 1)


@pytest.mark.long
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="encoded each time", marks=pytest.mark.slow),
        pytest.param({"decoder.cache_features": 1, "decoder.inference": "slide"}, id="cached"),
    ],
)
def test_a_plain_callable_is_fitted_as_the_same_encoder_in_jax_is(tmp_path, encoder, changes):
    settings = finetune_config(input_size=28, **changes)  # padded to 32
    one, other = (finetune(settings, x, tmp_path / name) for name, x in (("mine", Mine()), ("rgb", encoder)))
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    agreement = np.mean(one.predict(image) == other.predict(image))
    assert agreement > 0.99
    for name in ("miou", "pixel_accuracy"):
        assert one.result["metrics"][name] == pytest.approx(other.result["metrics"][name], abs=0.5)
    assert (one.result["encoder"]["name"], one.result["encoder"]["dim"]) == ("mine", 192)


def test_a_plain_callable_that_cannot_serve_is_refused_by_a_line(tmp_path):
    broken = Mine()
    broken.scale = np.nan
    for made, changes, line in (
        (broken, {}, r"encoder mine: its features of image .* are NaN or infinite"),
        (Mine(), {"decoder.train_encoder": True}, r"decoder.train_encoder: encoder mine is a plain callable"),
        (Mine(), {"decoder.name": "upernet"}, r"upernet takes layers .* encoder mine is a plain callable"),
    ):
        with pytest.raises(UserError, match=line):
            finetune(finetune_config(**changes), made, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def huge():
    """An encoder with finite parameters that overflows."""
    norm = {**vit().params["norm"], "scale": np.full(32, 3e38, np.float32)}
    return dataclasses.replace(vit(), params={**vit().params, "norm": norm})


@pytest.mark.parametrize(
    ("passes", "line"),
    [
        pytest.param(
            0,
            r"step 1: the loss .*\. The features of encoder a tiny ViT are not finite for image",
            marks=pytest.mark.slow,
        ),
        (1, r"the encoder's features of image .* are NaN or infinite"),
    ],
)
def test_an_encoder_that_overflows_is_named_with_an_image(tmp_path, passes, line):
    with pytest.raises(UserError, match=line):
        finetune(finetune_config(**{"decoder.cache_features": passes}), huge(), tmp_path)


@pytest.mark.long
def test_a_decoder_in_one_line_predicts_images_of_any_size(encoder):
    fitted = hummingbird.decoders.fit(encoder, finetune_config(**{"decoder.inference": "slide", "decoder.flip": True}))
    assert fitted.predict(np.zeros((40, 60, 3), np.uint8)).shape == (40, 60)
    assert fitted.result["protocol"]["stride"] == 21


def test_a_decoder_is_no_encoder(tmp_path, encoder):
    finetune(finetune_config(total_steps=1), encoder, tmp_path)
    with pytest.raises(UserError, match=r"holds a decoder, not an encoder; .* \(raw RGB patches of 8 px\)"):
        load_encoder(str(tmp_path))
    with pytest.raises(UserError, match=r"config.json belongs to `hummingbird finetune`; use another workdir"):
        workdir.check(tmp_path, {}, "pretrain")


def test_a_plan_compiles_the_step_of_a_decoder():
    assert [config.kind_of(name) for name in ("finetune/linear:ade20k", "pretrain/demo")] == ["finetune", "pretrain"]
    found = plan_decoder(finetune_config(), None, "rgb:8")
    assert (found["encoder"], found["bank_length"]) == ("rgb:8 + bn_linear at 32 px", 0)
    assert found["parameters"] == 2 * 192 + 15 * 193
    assert found["peak_bytes"] > 0
