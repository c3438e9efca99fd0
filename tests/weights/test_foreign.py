"""Recognition, choice of features, and folders that need nothing but themselves."""

from __future__ import annotations

import json
import logging
import re

import numpy as np
import pytest
from safetensors.numpy import save_file

from hummingbird import weights
from hummingbird.errors import UserError
from tests.weights.hf_zoo import HF_ZOO
from tests.weights.small import WIDTH, timm_arrays
from tests.weights.upstream import relative_error, upstream


@pytest.fixture
def dino(tmp_path):
    save_file(timm_arrays(), tmp_path / "dino_tiny8_pretrain.safetensors")
    return tmp_path / "dino_tiny8_pretrain.safetensors"


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (2, 24, 40, 3), dtype=np.uint8)


def test_an_imported_folder_needs_nothing_else_and_gives_the_same_features(dino, tmp_path, images):
    before = weights.load_foreign(dino)
    expected = before(images)
    said = weights.import_weights(dino, tmp_path / "imported")
    dino.unlink()
    assert sorted(p.name for p in (tmp_path / "imported").iterdir()) == ["hummingbird.json", "model.safetensors"]
    after = weights.load_foreign(tmp_path / "imported")
    np.testing.assert_array_equal(after(images), expected)
    assert after.fingerprint == before.fingerprint
    assert said["fingerprint"] == weights.describe(tmp_path / "imported")["fingerprint"]
    assert (said["kind"], said["family"], said["config"]["patch_size"]) == ("weights", "dino", 8)
    assert json.loads(json.dumps(said))["parameters"] == sum(x.size for x in timm_arrays().values()) - WIDTH


def test_an_import_never_writes_over_a_folder_and_leaves_nothing_half_written(dino, tmp_path):
    weights.import_weights(dino, tmp_path / "imported")
    with pytest.raises(UserError, match="exists"):
        weights.import_weights(dino, tmp_path / "imported")
    with pytest.raises(UserError, match="layers"):
        weights.import_weights(dino, tmp_path / "other", layers=(-2,))
    assert sorted(p.name for p in tmp_path.iterdir()) == [dino.name, "imported"]


def test_a_changed_imported_folder_is_refused(dino, tmp_path):
    weights.import_weights(dino, tmp_path / "imported")
    path = tmp_path / "imported" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"does not describe the arrays"):
        weights.load(tmp_path / "imported")


def test_arrays_that_fit_several_families_ask_which(tmp_path):
    save_file(timm_arrays(), tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"dino, ibot, mae, mocov3, augreg alike.*--family=NAME"):
        weights.load(tmp_path / "model.safetensors")
    assert weights.load(tmp_path / "model.safetensors", family="mae").arch.resize == "bicubic"


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("dino_deitsmall8_pretrain", "dino"),
        ("mae_pretrain_vit_base", "mae"),
        ("moco-v3-vit-s", "mocov3"),
        ("vit_base_patch16_224.augreg_in21k", "augreg"),
        ("ibot_vits_16", "ibot"),
        ("cribo_vits16", "dino"),
    ],
)
def test_the_file_name_decides_where_the_arrays_do_not(name, family, tmp_path):
    save_file(timm_arrays(), tmp_path / f"{name}.safetensors")
    found = weights.load(tmp_path / f"{name}.safetensors").family
    assert found == family or {found, family} == {"dino", "ibot"}  # these two are treated alike


def test_a_vit_without_biases_of_queries_keys_and_values_is_not_taken_for_eva(tmp_path):
    save_file(timm_arrays(blocks__0__attn__qkv__bias=None), tmp_path / "dino_vits8.safetensors")
    found = weights.load(tmp_path / "dino_vits8.safetensors")
    assert (found.family, found.arch.qkv_bias) == ("dino", False)


@pytest.mark.parametrize(("word", "what"), [("rope_ape", r"rotary positions \(RoPE\)"), ("rpn", "layer norms behind")])
def test_what_only_the_name_tells_is_refused(word, what, tmp_path):
    """timm's vit_small_patch16_rope_ape_224 has the arrays of a DeiT III, vit_base_patch16_rpn_224 of any ViT."""
    path = tmp_path / f"vit_small_patch16_{word}_224_dino.safetensors"
    save_file(timm_arrays(), path)
    with pytest.raises(UserError, match=f"{what}.* by its name, which family dino does not have"):
        weights.load(path)
    assert weights.load(path, "dino").family == "dino"


def test_a_wrong_family_that_is_forced_says_what_does_not_fit(dino):
    with pytest.raises(UserError, match=r"does not hold family clip"):
        weights.load(dino, family="clip")
    with pytest.raises(UserError, match=r"does not fit family dinov3.*missing: storage_tokens"):
        weights.load(dino, family="dinov3")
    with pytest.raises(UserError, match="is not of family dinov2"):
        weights.load(dino, family="dinov2")
    with pytest.raises(UserError, match="family 'dinov9' is not known: use one of dino, "):
        weights.load(dino, family="dinov9")


def test_a_file_that_fits_nothing_names_the_closest_family_and_the_faults(tmp_path):
    path = tmp_path / "dino.safetensors"
    arrays = timm_arrays(blocks__0__norm2__bias=None, surprise=np.ones(3, np.float32))
    save_file(arrays, path)
    with pytest.raises(UserError, match=r"closest is .*missing: blocks\.0\.norm2\.bias; unexpected: surprise"):
        weights.load(path)
    save_file(timm_arrays(blocks__0__mlp__fc2__bias=np.ones(9, np.float32)), path)
    with pytest.raises(UserError, match=r"wrong shape: block_00/mlp/down/bias \[9\] instead of \[64\]|\[64\]|\(64,\)"):
        weights.load(path)
    save_file({"a": np.ones((2, 2), np.float32)}, path)
    with pytest.raises(UserError, match="does not hold any known family"):
        weights.load(path)


def test_of_two_networks_in_a_file_the_moving_average_is_used_unless_another_is_chosen(tmp_path, images, caplog):
    """As timm does, whose training script saves both."""
    trained, average = timm_arrays(0), timm_arrays(1)
    arrays = {f"state_dict.{n}": x for n, x in trained.items()} | {f"state_dict_ema.{n}": x for n, x in average.items()}
    save_file(arrays, tmp_path / "dino.safetensors")
    for name, x in (("trained", trained), ("average", average)):
        save_file(x, tmp_path / f"dino_{name}.safetensors")
    with caplog.at_level(logging.INFO):
        found = weights.load_foreign(tmp_path / "dino.safetensors")(images)
    assert "'state_dict_ema.' is used, not 'state_dict.' (prefix= chooses)" in caplog.text
    np.testing.assert_array_equal(found, weights.load_foreign(tmp_path / "dino_average.safetensors")(images))
    for prefix in ("state_dict", "state_dict."):
        chosen = weights.load_foreign(tmp_path / "dino.safetensors", prefix=prefix)
        expected = weights.load_foreign(tmp_path / "dino_trained.safetensors")
        np.testing.assert_array_equal(chosen(images), expected(images))
    with pytest.raises(UserError, match=r"no array has prefix 'model'; there are state_dict\."):
        weights.load(tmp_path / "dino.safetensors", prefix="model")
    weights.import_weights(tmp_path / "dino.safetensors", tmp_path / "imported", prefix="state_dict")
    with pytest.raises(UserError, match="holds one network; leave the prefix out"):
        weights.load(tmp_path / "imported", prefix="state_dict")


def test_blocks_in_chunks_are_those_of_a_flat_file(tmp_path):
    """DINOv2's training with block_chunks saves blocks.CHUNK.LAYER."""
    flat = {n: x for n, x in timm_arrays().items() if not n.startswith("blocks.")}
    flat["mask_token"] = np.ones((1, WIDTH), np.float32)
    for i in range(4):
        layer = {n: x for n, x in timm_arrays(i).items() if n.startswith("blocks.")}
        layer |= {f"blocks.0.ls{n}.gamma": np.full(WIDTH, 0.1 * n, np.float32) for n in (1, 2)}
        flat |= {n.replace("blocks.0.", f"blocks.{i}."): x for n, x in layer.items()}
    chunked = {re.sub(r"^blocks\.(\d)", lambda m: f"blocks.{int(m[1]) // 2}.{m[1]}", n): x for n, x in flat.items()}
    assert "blocks.1.2.norm1.weight" in chunked
    found = []
    for name, arrays in (("flat", flat), ("chunked", chunked)):
        save_file({f"teacher.backbone.{n}": x for n, x in arrays.items()}, tmp_path / f"{name}.safetensors")
        found.append(weights.load(tmp_path / f"{name}.safetensors"))
    assert (found[1].family, found[1].arch) == ("dinov2", found[0].arch)
    assert found[1].arch.depth == 4
    for name, x in found[0].arrays.items():
        np.testing.assert_array_equal(found[1].arrays[name], x)


def test_a_rectangular_table_that_looks_square_with_its_cls_row_is_refused(tmp_path, images):
    """ViTPose's 8x6 patches and [CLS] are 49 rows, as many as 7x7 patches without [CLS] have."""
    table = np.random.default_rng(0).normal(size=(1, 49, WIDTH)).astype(np.float32)
    save_file(timm_arrays(pos_embed=table), tmp_path / "mae.safetensors")
    with pytest.raises(UserError, match=r"49 positions may be 7x7 patches, or \[CLS\] and a rectangle; give grid="):
        weights.load(tmp_path / "mae.safetensors")
    found = weights.load(tmp_path / "mae.safetensors", grid=(8, 6))
    assert (found.family, found.arch.grid) == ("mae", (8, 6))
    np.testing.assert_array_equal(found.arrays["positions"], table[0, 1:])
    square = weights.load(tmp_path / "mae.safetensors", grid=(7, 7))
    np.testing.assert_array_equal(square.arrays["positions"], table[0])


def test_positions_that_are_not_square_need_a_grid(tmp_path):
    path = tmp_path / "dino.safetensors"
    save_file(timm_arrays(pos_embed=np.ones((1, 16, WIDTH), np.float32)[:, :13]), path)
    with pytest.raises(UserError, match="13 positions are not those of a square image; give grid"):
        weights.load(path)
    assert weights.load(path, grid=(3, 4)).arch.grid == (3, 4)


def test_heads_that_cannot_be_known_are_asked_for(tmp_path):
    path = tmp_path / "dino.safetensors"
    arrays = {n: np.concatenate([x] * 3, -1)[..., :96] if x.shape[-1] == WIDTH else x for n, x in timm_arrays().items()}
    for name, x in arrays.items():
        if x.shape[0] == WIDTH:
            arrays[name] = np.concatenate([x] * 2)[:96]
        elif x.shape[0] == 3 * WIDTH:
            arrays[name] = np.concatenate([x] * 2)[:288]
    save_file({n: np.ascontiguousarray(x) for n, x in arrays.items()}, path)
    with pytest.raises(UserError, match="heads for width 96; give heads=N"):
        weights.load(path)
    assert weights.load(path, heads=3).arch.heads == 3


def test_a_patch_size_that_does_not_divide_the_image_is_refused(dino):
    encoder = weights.load_foreign(dino)
    with pytest.raises(UserError, match="patches of 8"):
        encoder(np.zeros((1, 30, 32, 3), np.uint8))


def test_normalisation_that_nobody_states_is_asked_for(tmp_path):
    save_file(timm_arrays(), tmp_path / "x.safetensors")
    with pytest.raises(UserError, match=r"give mean=.*std="):
        weights.load(tmp_path / "x.safetensors", family="timm")
    given = weights.load(tmp_path / "x.safetensors", family="timm", mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0))
    assert given.arch.mean == (0.1, 0.2, 0.3)


def test_families_that_share_arrays_give_different_features(dino, images):
    """Where a family is taken for another the numbers move: the question above is worth asking."""
    reference = weights.load_foreign(dino, family="dino")(images)
    for other in ("mae", "mocov3", "augreg"):
        assert relative_error(weights.load_foreign(dino, family=other)(images), reference) > 1e-3, other


def test_queries_keys_and_values_are_projections_of_the_normed_input(dino, images):
    """By hand in float64, for the only layer."""
    arrays = {n: x.astype(np.float64) for n, x in timm_arrays().items()}
    pixels = (images[:, :, :32] / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    square = np.concatenate([pixels, pixels])[:2, :24]  # 3 x 4 patches
    square = np.concatenate([square, square[:, :8]], 1)  # 4 x 4: positions as trained
    cut = square.reshape(2, 4, 8, 4, 8, 3).transpose(0, 1, 3, 5, 2, 4).reshape(2, 16, -1)
    x = cut @ arrays["patch_embed.proj.weight"].reshape(WIDTH, -1).T + arrays["patch_embed.proj.bias"]
    x = x + arrays["pos_embed"][:, 1:]
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    x = x * arrays["blocks.0.norm1.weight"] + arrays["blocks.0.norm1.bias"]
    qkv = x @ arrays["blocks.0.attn.qkv.weight"].T + arrays["blocks.0.attn.qkv.bias"]
    whole = np.concatenate([images[:, :24, :32], images[:, :8, :32]], 1)
    for i, kind in enumerate(("query", "key", "value")):
        ours = weights.load_foreign(dino, features=kind)(whole)
        expected = qkv[..., i * WIDTH : (i + 1) * WIDTH].reshape(2, 4, 4, WIDTH)
        assert relative_error(ours.astype(np.float64), expected) < 1e-5, kind


@pytest.mark.long
def test_layers_are_concatenated_in_the_order_asked_with_or_without_the_last_norm(tmp_path, images):
    arrays = timm_arrays()
    arrays |= {n.replace("blocks.0", "blocks.1"): x * 0.7 for n, x in timm_arrays(1).items() if "blocks.0" in n}
    path = tmp_path / "dino.safetensors"
    save_file(arrays, path)

    def features(**options):
        return weights.load_foreign(path, **options)(images)

    last, first = features(), features(layers=(0,))
    both = weights.load_foreign(path, layers=(0, -1))
    assert both.dim == 2 * WIDTH
    np.testing.assert_allclose(both(images), np.concatenate([first, last], -1), rtol=1e-4, atol=1e-5)
    raw = features(norm=False).astype(np.float64)
    normed = (raw - raw.mean(-1, keepdims=True)) / np.sqrt(raw.var(-1, keepdims=True) + 1e-6)
    normed = normed * arrays["norm.weight"] + arrays["norm.bias"]
    assert relative_error(last.astype(np.float64), normed) < 1e-5
    for bad in ((2,), (-3,), ()):
        with pytest.raises(UserError, match="layers 0 to 1"):
            features(layers=bad)
    with pytest.raises(UserError, match="use one of tokens, query, key, value"):
        features(features="keys")


def test_the_choice_of_features_is_imported_and_can_be_changed_later(dino, tmp_path):
    weights.import_weights(dino, tmp_path / "imported", features="key")
    assert weights.load(tmp_path / "imported").features.kind == "key"
    assert weights.load(tmp_path / "imported", features="tokens").features.kind == "tokens"


def test_bfloat16_computes_close_to_float32(dino, images):
    full, half = (weights.load_foreign(dino, dtype=d)(images) for d in ("float32", "bfloat16"))
    assert half.dtype == np.float32
    assert 0 < relative_error(half, full) < 0.1


def test_a_fingerprint_tells_apart_all_that_changes_the_features(dino):
    """A bank is known by its encoder's fingerprint: what differs here must not find the other's keys."""
    plain = weights.load_foreign(dino).fingerprint
    options = [
        {"features": "key"},
        {"features": "query"},
        {"norm": False},
        {"layers": (-1, 0)},
        {"heads": 2},
        {"family": "mae"},
        {"grid": (2, 8)},
        {"mean": (0.5, 0.5, 0.5)},
        {"dtype": "bfloat16"},
    ]
    found = [weights.load_foreign(dino, **chosen).fingerprint for chosen in options]
    assert len({plain, *found}) == 1 + len(options)
    assert weights.load_foreign(dino, layers=(0,), features="tokens", norm=True).fingerprint == plain


@pytest.mark.parity
@pytest.mark.parametrize(("name", "mean"), [("lvd1689m-73cec8be.pth", 0.485), ("sat493m-eadcf0ff.pth", 0.430)])
def test_dinov3_of_satellite_images_has_statistics_of_its_own(tmp_path, name, mean):
    upstream("transformers")
    path = HF_ZOO["DINOv3"](tmp_path).path.rename(tmp_path / f"dinov3_vitl16_pretrain_{name}")
    assert weights.load(path).arch.mean[0] == mean
