"""Networks of stages: any stage's map, folders that stand alone, and what they cannot give."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from hummingbird import weights
from hummingbird.errors import UserError
from tests.weights.conv_zoo import original, timm_model
from tests.weights.stage_zoo import maps as swin_maps
from tests.weights.stage_zoo import timm_resnet, timm_swin
from tests.weights.upstream import relative_error, upstream
from tests.weights.zoo import IMAGENET, pixels, save

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (1, 32, 64, 3), dtype=np.uint8)


def convnext_maps(model, images):
    with upstream("torch").no_grad():
        found = model.forward_intermediates(pixels(images, IMAGENET), intermediates_only=True)
    return [x.permute(0, 2, 3, 1) for x in found]


def resnet_maps(model, images):
    return convnext_maps(model, images)[1:]  # the first one is the stem's


@pytest.mark.parametrize(
    ("build", "maps"),
    [(timm_model, convnext_maps), (lambda: timm_swin(second=False), swin_maps), (timm_resnet, resnet_maps)],
    ids=["ConvNeXt", "Swin", "ResNet"],
)
def test_an_earlier_stage_gives_a_finer_grid(build, maps, images, tmp_path):
    model = build()
    path = save(tmp_path / "model.pth", model.state_dict())
    theirs = maps(model, images)
    for stage, ours in enumerate(weights.load_foreign(path).layers(images, tuple(range(4)), norm=False)):
        assert relative_error(ours, theirs[stage].numpy()) < 1e-4
        encoder = weights.load_foreign(path, layers=(stage,))
        assert (encoder.patch_size, encoder.dim) == (4 * 2**stage, theirs[stage].shape[-1])


@pytest.mark.parametrize(
    ("build", "names", "chosen"),
    [
        (timm_model, ("model", "model_ema"), "model_ema."),
        (lambda: timm_swin(second=False), ("student", "teacher"), "teacher."),
        (timm_resnet, ("encoder_k", "encoder_q"), "encoder_q."),
    ],
    ids=["ConvNeXt", "Swin", "ResNet"],
)
def test_of_several_networks_that_of_evaluation_is_used_and_the_log_says_so(build, names, chosen, tmp_path, caplog):
    state = build().state_dict()
    path = save(tmp_path / "checkpoint.pth", dict.fromkeys(names, state))
    with caplog.at_level("INFO"):
        assert weights.load(path).prefix == chosen
    assert f"{chosen!r} is used, not" in caplog.text
    assert weights.load(path, prefix=names[0]).prefix.startswith(names[0])


def test_the_halves_of_a_swin_transformer_meet_at_its_last_projection(images, tmp_path):
    path = save(tmp_path / "swin.pth", timm_swin(second=False).state_dict())
    encoder = weights.load_foreign(path, layers=(0,))

    @jax.jit
    def halves(params, images):
        last, (kernel, bias) = encoder.body(params, images), encoder.projection(params)
        projected = last.attended @ kernel + bias
        return encoder.apply(params, images), encoder.tail(params, last), encoder.tail(params, last, projected)

    whole, *tails = halves(encoder.params, images)
    for tokens in tails:
        assert encoder.split(tokens).cls is None
        assert relative_error(np.asarray(tokens).reshape(whole.shape), np.asarray(whole)) < 1e-5


def test_the_windows_of_a_second_swin_are_read_from_its_name_or_asked_for(tmp_path):
    state = timm_swin(second=True).state_dict()
    found = weights.load(save(tmp_path / "swinv2_tiny_window4to6_64.pth", state)).arch
    assert (found.windows, found.pretrained) == ((6,) * 4, (4, 4, 4, 2))
    with pytest.raises(UserError, match="nothing says how large its windows are"):
        weights.load(save(tmp_path / "model.pth", state))


def test_what_a_swin_or_resnet_does_not_have_is_refused(tmp_path):
    swin = save(tmp_path / "swin.pth", timm_swin(second=False).state_dict())
    resnet = save(tmp_path / "resnet.pth", timm_resnet().state_dict())
    for path, options, message in (
        (swin, {"features": "key"}, "a Swin transformer has stages of different grids"),
        (swin, {"heads": 2}, "a Swin transformer takes no heads"),
        (resnet, {"features": "key"}, "a ResNet has no attention, and stages of different grids"),
        (resnet, {"family": "swin"}, "does not hold family swin"),
    ):
        with pytest.raises(UserError, match=message):
            weights.load(path, **options)
    with pytest.raises(UserError, match="is a resnetblur by name"):
        weights.load(resnet.rename(tmp_path / "resnetblur50-84f4748f.pth"))
    state = timm_resnet().state_dict()
    del state["layer2.0.bn2.running_var"]
    with pytest.raises(UserError, match=r"family resnet; missing: stage_1_block_0/conv2\.normalization\.running_var"):
        weights.load(save(tmp_path / "resnet.pth", state))
    state = {n: x for n, x in timm_resnet().state_dict().items() if not n.startswith("layer2.")}
    with pytest.raises(UserError, match="family resnet; missing: stage_1_block_0/"):
        weights.load(save(tmp_path / "resnet.pth", state))
    state = {n: x for n, x in timm_swin(second=False).state_dict().items() if not n.startswith("layers.1.")}
    with pytest.raises(UserError, match="do not make one swin encoder; missing: shrink_1/kernel"):
        weights.load(save(tmp_path / "swin.pth", state))
    state = timm_swin(second=False).state_dict() | {"surprise": state["norm.bias"]}
    del state["layers.1.blocks.0.mlp.fc1.bias"]
    with pytest.raises(UserError, match=r"unexpected: surprise; missing: blocks\.2\.mlp\.fc1\.bias"):
        weights.load(save(tmp_path / "swin.pth", state))


def test_an_imported_convnext_stands_alone(images, tmp_path):
    (tmp_path / "in").mkdir()
    path = original(tmp_path / "in").path
    expected = weights.load_foreign(path)(images)
    said = weights.import_weights(str(path), str(tmp_path / "out"))
    np.testing.assert_array_equal(weights.load_foreign(tmp_path / "out")(images), expected)
    assert said["config"]["widths"] == (8, 16, 24, 32)
    with pytest.raises(UserError, match="ConvNeXt, which is only written as `hummingbird`"):
        weights.export_weights(str(tmp_path / "out"), str(tmp_path / "timm"), format="timm")
    weights.export_weights(str(tmp_path / "out"), str(tmp_path / "own"), format="hummingbird")
    assert weights.describe(tmp_path / "own")["fingerprint"] == said["fingerprint"]


def test_the_largest_convnext_has_an_epsilon_of_its_own(tmp_path):
    """timm's ConvNeXt-XXL, OpenCLIP's largest, is the one that is 384 wide at first."""
    for width, epsilon in ((384, 1e-5), (8, 1e-6)):
        state = timm_model(dims=(width, 8, 8, 8)).state_dict()
        assert weights.load(save(tmp_path / "model.pth", state)).arch.epsilon == epsilon


def test_what_a_convnext_does_not_have_is_refused(tmp_path):
    path = original(tmp_path).path
    for options, message in (
        ({"features": "key"}, "has no attention"),
        ({"layers": (0, 1)}, "has no attention, and stages of different grids"),
        ({"layers": (4,)}, "layers 0 to 3"),
        ({"family": "dino"}, "does not hold family dino"),
    ):
        with pytest.raises(UserError, match=message):
            weights.load(path, **options)
    state = upstream("torch").load(path)["model"]
    del state["stages.0.0.pwconv1.bias"]
    save(path, state | {"surprise": state["norm.bias"]})
    with pytest.raises(UserError, match="unexpected: surprise"):
        weights.load(path)
    save(path, state)
    with pytest.raises(UserError, match="missing: stage_0_block_0/up/bias"):
        weights.load(path)
    with pytest.raises(UserError, match="patches of 32"):
        weights.load_foreign(original(tmp_path).path)(np.zeros((1, 48, 32, 3), np.uint8))
