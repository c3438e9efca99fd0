"""The list of encoders that load by name: what it says is what timm and transformers say of them."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest

import hummingbird as hb
from hummingbird import cli, weights
from hummingbird.models.architecture import Architecture
from hummingbird.weights import hub, published
from hummingbird.weights.assemble import Found
from hummingbird.weights.families import FAMILIES
from hummingbird.weights.files import Origin, Source
from hummingbird.weights.foreign import backbone_of, check_shapes
from hummingbird.weights.published import MODELS, PublishedModel
from hummingbird.weights.recognize import recognize
from hummingbird.weights.settings import settings_of_config
from tests.weights.hf_zoo import SIZED, build, folder_of
from tests.weights.upstream import upstream
from tests.weights.zoo import IMAGENET

README = pathlib.Path(published.__file__).parent / "README.md"
TIMM = [model for model in MODELS if model.checkpoint.startswith("timm:")]
LARGE_CLIP = {"hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096, "patch_size": 14}
HF = {  # kind of model, and what differs from the defaults of its config
    "facebook/dinov2-base": ("Dinov2", {}),
    "openai/clip-vit-base-patch16": ("CLIPVision", {"patch_size": 16}),
    "openai/clip-vit-large-patch14": ("CLIPVision", LARGE_CLIP),
    "google/siglip2-base-patch16-naflex": ("Siglip2Vision", {}),
    "nvidia/C-RADIOv4-H": ("Radio", {}),
    "google/tipsv2-b14": ("Tipsv2Vision", {}),
}


def test_the_page_shows_the_list():
    """`hummingbird info --models` prints the table."""
    assert f"\n{published.markdown(MODELS)}\n" in README.read_text()


def test_every_entry_is_a_name_on_the_hub_of_a_known_family():
    assert len({model.checkpoint for model in MODELS}) == len(MODELS)
    for model in MODELS:
        assert hub.parse(model.checkpoint).revision is None
        assert model.family in FAMILIES
        assert len(model.mean) == len(model.std) == 3


def test_models_are_found_by_a_part_of_their_name(capsys):
    assert len(hb.list_models()) == len(MODELS)
    assert {model.dim for model in hb.list_models("dinov3 ViT-S")} == {384}
    assert [model.checkpoint for model in hb.list_models("facebook/*base")] == ["hf:facebook/dinov2-base"]
    assert cli.run(["info", "--models", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == len(MODELS)
    assert cli.run(["info", "--models", "satellite"]) == 0
    assert capsys.readouterr().out.count("\n") == 3
    assert cli.run(["info", "--models", "alexnet"]) == 2
    assert "'alexnet'" in capsys.readouterr().err
    assert cli.run(["info"]) == 2
    assert "--models" in capsys.readouterr().err


def shapes(model) -> dict[str, np.ndarray]:
    return {n: np.broadcast_to(np.float32(0), tuple(x.shape)) for n, x in model.state_dict().items() if x.ndim}


def assert_agrees(found: Found, model: PublishedModel) -> None:
    backbone = backbone_of(found.arch)
    assert (found.family, backbone.patch_size, backbone.dim) == (model.family, model.patch_size, model.dim)
    assert (found.arch.mean, found.arch.std) == (model.mean, model.std)


@pytest.mark.parity
@pytest.mark.slow
@pytest.mark.parametrize("model", [model for model in TIMM if model.dim < 4096], ids=lambda model: model.checkpoint)
def test_timm_knows_the_model_and_its_files_are_recognised_as_the_list_says(model):
    timm, name = upstream("timm"), model.checkpoint.removeprefix("timm:")
    stated = timm.get_pretrained_cfg(name)
    assert stated.hf_hub_id == f"timm/{name}"
    theirs = timm.create_model(name, device="meta")
    pixels = {"mean": list(stated.mean), "std": list(stated.std), "input_size": list(stated.input_size)}
    config = {"architecture": stated.architecture, "pretrained_cfg": pixels}
    path, origin = pathlib.Path("model.safetensors"), Origin(model.checkpoint, "0" * 40)
    found = recognize(Source(path, "safetensors", shapes(theirs), ".", {"config.json": config}, origin))
    check_shapes(path, found)
    assert_agrees(found, model)
    if hasattr(theirs, "blocks"):
        block = theirs.blocks[0]
        activations = {"GELU": "gelu", "GELUTanh": "gelu_tanh", "QuickGELU": "quick_gelu", "SiLU": "silu"}
        assert found.arch.activation == activations[type(block.mlp.act).__name__]
        assert (found.arch.epsilon, found.arch.heads) == (block.norm1.eps, block.attn.num_heads)


@pytest.mark.parity
@pytest.mark.slow
@pytest.mark.parametrize("name", HF)
def test_models_of_transformers_are_recognised_as_the_list_says(name, tmp_path):
    """Most of these models are the defaults of their configs; one layer is enough."""
    transformers, (kind, changes) = upstream("transformers"), HF[name]
    config = getattr(transformers, f"{kind}Config")(**changes, num_hidden_layers=1)
    getattr(transformers, f"{kind}Model")(config).save_pretrained(tmp_path)
    (model,) = hb.list_models(f"hf:{name}")
    assert_agrees(weights.load(tmp_path), model)


def test_every_model_of_transformers_in_the_list_is_compared():
    assert {model.checkpoint.removeprefix("hf:") for model in MODELS if model not in TIMM} == HF.keys()


@pytest.mark.parity
def test_data2vec_is_recognised_by_its_config(tmp_path):
    """Its architecture is that of BEiT in transformers, which parity is shown for; pixel statistics are its own."""
    settings = {"use_relative_position_bias": True, "use_mean_pooling": False}
    path = folder_of(build("Data2VecVision", **SIZED, **settings), tmp_path, IMAGENET)
    found = weights.load(path)
    assert isinstance(found.arch, Architecture)
    assert (found.family, found.arch.relative, found.arch.grid) == ("hf_data2vec", "bilinear", (4, 4))
    assert (found.arch.mean, found.arch.std) == IMAGENET


def activation_of(name: str) -> str | None:
    source = Source(pathlib.Path("x"), "safetensors", {}, ".", {"config.json": {"architecture": name}})
    return settings_of_config(source, "timm", "timm").activation


def test_timms_names_tell_the_activation():
    assert activation_of("vit_base_patch16_siglip_224") is None
    assert activation_of("vit_so400m_patch14_siglip_gap_384") is None
    assert activation_of("vit_large_patch16_siglip_384") is None
    assert activation_of("vit_large_patch16_siglip_512") == "gelu_tanh"
    assert activation_of("vit_so400m_patch16_siglip_gap_256") == "gelu_tanh"
    assert activation_of("vit_base_patch32_clip_quickgelu_224") == "quick_gelu"


def test_timms_names_tell_the_heads():
    """The largest SigLIP 2 has 16, a DINOv2 of its width 24."""
    for name, heads in (("vit_giantopt_patch16_siglip_gap_384", 16), ("vit_giant_patch14_dinov2", None)):
        source = Source(pathlib.Path("x"), "safetensors", {}, ".", {"config.json": {"architecture": name}})
        assert settings_of_config(source, "timm", "timm").heads == heads


@pytest.mark.parity
@pytest.mark.slow
def test_the_activation_of_every_siglip_is_timms():
    timm = upstream("timm")
    names = timm.list_models("vit_*siglip*")
    theirs = {name: type(timm.create_model(name, device="meta", depth=1).blocks[0].mlp.act).__name__ for name in names}
    assert len(names) > 20
    assert {name: activation_of(name) for name in names} == {
        name: "gelu_tanh" if kind == "GELUTanh" else None for name, kind in theirs.items()
    }
