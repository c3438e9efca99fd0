"""Starting a new run from existing parameters: what is taken, what is refused, and that it is not resuming."""

import json
import logging

import flax.traverse_util
import jax
import numpy as np
import pytest

from hummingbird.errors import UserError
from hummingbird.models.architecture import Architecture
from hummingbird.models.backbone import Features
from hummingbird.models.positions import resize_positions
from hummingbird.models.vit import ViT
from hummingbird.run import checkpoint
from hummingbird.run.saver import Saver
from hummingbird.weights import load, warm_start
from hummingbird.weights.folders import Weights, fresh_folder, write_own
from tests import tiny

SIZES = {"patch_size": 8, "width": 32, "depth": 2, "heads": 2, "mlp_dim": 64, "grid": (4, 4), "cls": False}
VIT = ViT(Architecture(**SIZES))


def state_of(vit, head=4):
    """Shapes of the parameters of both networks by name, as a train state has them."""
    params = jax.eval_shape(vit.init, jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))["params"]
    network = {"encoder": params, "predictor": {"kernel": jax.ShapeDtypeStruct((32, head), np.float32)}}
    return checkpoint.to_arrays({"online": network, "target": network, "step": jax.ShapeDtypeStruct((), np.int32)})


def arrays_of(state, seed=0):
    rng = np.random.default_rng(seed)
    return {n: rng.normal(size=x.shape).astype(x.dtype) for n, x in state.items()}


def run_folder(path, arrays, step=7):
    """A step folder of a run with these arrays."""

    class State:
        pass

    saved = {n: jax.numpy.asarray(x) for n, x in arrays.items()} | {"step": jax.numpy.int32(step)}
    state = State()
    state.step = saved["step"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "to_arrays", lambda _: saved)
        with Saver(path, config={"encoder.heads": 2}, keep=1) as saver:
            saver.save(state, {})
    return path


def imported(path, **changes):
    """A folder as `hummingbird import` makes it, of a transformer like ours."""
    import safetensors.numpy

    arch = Architecture(**{**SIZES, **changes})
    shapes = jax.eval_shape(ViT(arch).init, jax.random.key(1), np.zeros((1, 32, 32, 3), np.float32))["params"]
    arrays = arrays_of(flax.traverse_util.flatten_dict(shapes, sep="/"), seed=1)
    with fresh_folder(path) as folder:
        safetensors.numpy.save_file(arrays, folder / "model.safetensors")
        write_own(
            folder, Weights("mae", "hummingbird", "", arch, arrays, Features(), "x.pth", "pytorch"), "hummingbird"
        )
    return arrays


@pytest.mark.long
def test_both_networks_of_a_run_are_taken_and_what_does_not_fit_is_logged(tmp_path, caplog):
    old = arrays_of(state_of(VIT, head=8))
    run_folder(tmp_path / "old", old)
    with caplog.at_level(logging.INFO):
        given = warm_start.read(str(tmp_path / "old"), VIT, state_of(VIT, head=4))
    assert set(given.arrays) == {n for n in old if ".encoder." in n}  # the heads have another size
    for name, x in given.arrays.items():
        np.testing.assert_array_equal(x, old[name])
    assert given.record["step"] == 7
    assert given.record["not_taken"] == given.record["drawn"] == ["online.predictor.kernel", "target.predictor.kernel"]
    assert "not taken" in caplog.text
    same = warm_start.read(str(tmp_path / "old"), VIT, state_of(VIT, head=8))
    assert "online.predictor.kernel" in same.arrays
    assert not same.record["drawn"]


def test_an_imported_encoder_starts_both_networks(tmp_path):
    arrays = imported(tmp_path / "mae")
    given = warm_start.read(str(tmp_path / "mae"), VIT, state_of(VIT))
    for name, x in arrays.items():
        for network in ("online", "target"):
            np.testing.assert_array_equal(given.arrays[f"{network}.encoder.{name.replace('/', '.')}"], x)
    assert given.record["drawn"] == ["online.predictor.kernel", "target.predictor.kernel"]


def test_layers_are_stacked_for_a_run_that_scans_them(tmp_path):
    arrays = imported(tmp_path / "mae")
    scanned = VIT.clone(scan_layers=True)
    given = warm_start.read(str(tmp_path / "mae"), scanned, state_of(scanned))
    stack = given.arrays["target.encoder.blocks.mlp.up.kernel"]
    np.testing.assert_array_equal(stack, np.stack([arrays[f"block_0{i}/mlp/up/kernel"] for i in range(2)]))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"width": 64}, r"encoder\.\S+ is \[.*\] there, \[.*\] in this run"),
        ({"depth": 1}, r"encoder\.block_01\.\S+ is not there"),
        ({"patch_size": 4}, "patch_size 4, this run's 8"),
        ({"heads": 4}, "heads 4, this run's 2"),
        ({"activation": "quick_gelu"}, "activation quick_gelu"),
        ({"layer_scale": True}, r"encoder\.block_00\.scale1 has no place"),
        ({"registers": 2, "cls": True}, r"encoder\.registers has no place"),
    ],
)
def test_another_encoder_is_refused_naming_the_first_array_that_does_not_fit(tmp_path, changes, said):
    imported(tmp_path / "other", **changes)
    with pytest.raises(UserError, match=said):
        warm_start.read(str(tmp_path / "other"), VIT, state_of(VIT))


def test_positions_of_another_input_size_are_resized_as_the_encoder_would(tmp_path, caplog):
    arrays = imported(tmp_path / "smaller", grid=(2, 2))
    with caplog.at_level(logging.INFO):
        given = warm_start.read(str(tmp_path / "smaller"), VIT, state_of(VIT))
    expected = resize_positions(arrays["positions"], (2, 2), (4, 4), VIT.arch.resize)
    for network in ("online", "target"):
        np.testing.assert_allclose(given.arrays[f"{network}.encoder.positions"], expected, rtol=1e-6)
        np.testing.assert_array_equal(given.arrays[f"{network}.encoder.norm.scale"], arrays["norm/scale"])
    assert "of 2 x 2 patches are resized to 4 x 4" in caplog.text


def test_a_class_token_without_a_place_is_left_out_and_recorded(tmp_path):
    imported(tmp_path / "mae", cls=True)
    given = warm_start.read(str(tmp_path / "mae"), VIT, state_of(VIT))
    assert given.record["not_taken"] == ["online.encoder.cls", "target.encoder.cls"]


def test_a_path_without_anything_is_named(tmp_path):
    with pytest.raises(UserError, match=r"--init_from=.*none does not exist"):
        warm_start.read(str(tmp_path / "none"), VIT, state_of(VIT))


def test_parameters_of_another_dtype_are_never_cast(tmp_path):
    old = arrays_of(state_of(VIT))
    old["online.encoder.norm.scale"] = old["online.encoder.norm.scale"].astype(np.float16)
    run_folder(tmp_path / "old", old)
    with pytest.raises(UserError, match=r"norm\.scale is float16, float32 in this run"):
        warm_start.read(str(tmp_path / "old"), VIT, state_of(VIT))


@pytest.mark.long
def test_a_run_starts_at_step_0_from_them_says_so_and_resumes_without_them(tmp_path, caplog):
    first = tiny.pretrain(tmp_path / "first")
    changes = {"init_from": str(tmp_path / "first")}

    def stop(step, state, model, batch):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), caplog.at_level(logging.INFO):
        tiny.pretrain(tmp_path / "second", stop, **changes)
    assert "a new run from step 0 with the parameters of" in caplog.text
    _, manifest, arrays = checkpoint.load_newest(tmp_path / "second")
    before = checkpoint.to_arrays(jax.device_get(first))
    for name, x in arrays.items():
        if name.startswith(("online.", "target.")):
            np.testing.assert_array_equal(x, before[name])
    assert manifest["step"] == 0
    means = [n for n in arrays if n.startswith("online_stats.") and n.endswith(".mean")]
    assert means
    assert not any(arrays[n].any() for n in means)
    assert not np.array_equal(arrays["bank.keys"], before["bank.keys"])
    assert manifest["init_from"]["taken"] == sum(n.startswith(("online.", "target.")) for n in before)
    with caplog.at_level(logging.INFO):
        tiny.pretrain(tmp_path / "second", init_from="elsewhere")
    assert "--init_from=elsewhere is ignored" in caplog.text
    newest = checkpoint.load_newest(tmp_path / "second")[1]
    assert newest["step"] == 4
    assert newest["init_from"] == manifest["init_from"]
    assert newest["config"]["init_from"] == changes["init_from"]
    assert json.loads((tmp_path / "second" / "config.json").read_text())["init_from"] == changes["init_from"]


def test_a_run_starts_from_the_shipped_encoder():
    weights = load("shipped:photographs")
    vit = ViT(weights.arch)
    given = warm_start.read("shipped:photographs", vit, state_of(vit))
    assert all(name.split(".")[1] == "encoder" for name in given.arrays)
    assert len(given.arrays) == 2 * len(weights.arrays)
