"""Bad files are refused with one line that says what is wrong and what to do; nothing is unpickled."""

from __future__ import annotations

import argparse
import json
import pathlib
import pickle
import zipfile

import flax.serialization
import numpy as np
import orbax.checkpoint as ocp
import pytest
from safetensors.numpy import save_file

from hummingbird import weights
from hummingbird.errors import UserError
from hummingbird.weights import files
from tests.weights import zoo
from tests.weights.small import timm_arrays
from tests.weights.upstream import relative_error, upstream


def refusal(path) -> str:
    with pytest.raises(UserError) as caught:
        weights.load(path)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text or str(path.parent) in text
    return text


def nested(arrays, joint="."):
    tree: dict = {}
    for name, x in arrays.items():
        *parents, leaf = name.split(joint)
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = x
    return tree


@pytest.mark.long
def test_every_container_gives_the_same_arrays(tmp_path):
    torch = upstream("torch")
    arrays = timm_arrays()
    flax_names = {name.replace(".", "/"): x for name, x in arrays.items()}
    save_file(arrays, tmp_path / "a.safetensors")
    np.savez(tmp_path / "b.npz", **arrays)
    torch.save({"model": {n: torch.from_numpy(x) for n, x in arrays.items()}, "epoch": 3}, tmp_path / "c.pth")
    torch.save(
        {n: torch.from_numpy(x) for n, x in arrays.items()}, tmp_path / "old.pth", _use_new_zipfile_serialization=False
    )
    (tmp_path / "d.msgpack").write_bytes(flax.serialization.msgpack_serialize(nested(arrays)))
    ocp.PyTreeCheckpointer().save(tmp_path / "orbax", nested(arrays))
    for name, joint, expected in [
        ("a.safetensors", "", arrays),
        ("b.npz", "", arrays),
        ("c.pth", "model.", arrays),
        ("old.pth", "", arrays),
        ("d.msgpack", "", flax_names),
        ("orbax", "", flax_names),
    ]:
        read = files.read(tmp_path / name).arrays
        assert read.keys() == {joint + n for n in expected}, name
        for key, x in expected.items():
            np.testing.assert_array_equal(read[joint + key], x)


def test_half_precision_is_widened_and_counters_are_left_out(tmp_path):
    torch = upstream("torch")
    half = {"a": torch.full((2, 2), 0.3).bfloat16(), "b": torch.full((2,), 0.3).half(), "steps": torch.arange(3)}
    torch.save(half, tmp_path / "half.pth")
    from safetensors.torch import save_file as save_torch

    save_torch(half, tmp_path / "half.safetensors")
    for name in ("half.pth", "half.safetensors"):
        read = files.read(tmp_path / name).arrays
        assert set(read) == {"a", "b"}
        assert {x.dtype for x in read.values()} == {np.dtype(np.float32)}
        np.testing.assert_array_equal(read["a"], half["a"].float().numpy())


def test_a_lfs_pointer_is_named_as_such(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    assert "git lfs pull" in refusal(path)
    assert "git lfs pull" in refusal(tmp_path)


@pytest.mark.parametrize("kind", ["safetensors", "npz", "pth", "old.pth", "msgpack"])
def test_a_cut_off_file_is_refused(kind, tmp_path):
    arrays = timm_arrays()
    path = tmp_path / f"dino.{kind}"
    if kind == "safetensors":
        save_file(arrays, path)
    elif kind == "npz":
        np.savez(path, **arrays)
    elif kind == "msgpack":
        path.write_bytes(flax.serialization.msgpack_serialize(nested(arrays)))
    else:
        torch = upstream("torch")
        content = {n: torch.from_numpy(x) for n, x in arrays.items()}
        torch.save(content, path, _use_new_zipfile_serialization=kind == "pth")
    files.read(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    assert "damaged" in refusal(path) or "cut off" in refusal(path)
    path.write_bytes(b"")
    assert "empty" in refusal(path)


def test_numpy_values_beside_the_weights_do_not_matter(tmp_path):
    torch = upstream("torch")
    tensors = {n: torch.from_numpy(x) for n, x in timm_arrays().items()}
    generator = ("MT19937", np.arange(624, dtype=np.uint32), 624, 0, 0.0)  # as np.random.get_state() gives it
    beside = {"rng": generator, "best": np.float64(1.5), "flag": np.bool_(True), "step": np.int32(3)}
    options = argparse.Namespace(lr=np.float32(0.1), sizes=np.arange(3), out=pathlib.Path("x"))
    torch.save({"model": tensors, "args": options, **beside}, tmp_path / "dino.pth")
    assert files.read(tmp_path / "dino.pth").arrays.keys() == {f"model.{n}" for n in tensors}
    torch.save({"model": tensors, "names": np.array([Trap()], dtype=object)}, tmp_path / "trap.pth")
    assert "could run code" in refusal(tmp_path / "trap.pth")


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    save_file(timm_arrays(), tmp_path / "dino.safetensors")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pathlib.Path, "open", refuse)
    assert "cannot be read (Permission denied); check its permissions" in refusal(tmp_path / "dino.safetensors")


class Trap:
    def __reduce__(self):
        return (print, ("this must never be printed",))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_pickle_that_is_not_weights_is_refused_and_not_run(tmp_path, capsys):
    torch = upstream("torch")
    for name, write in {
        "plain.pkl": lambda p: p.write_bytes(pickle.dumps(Trap())),
        "new.pth": lambda p: torch.save({"model": Trap()}, p),
        "old.pth": lambda p: torch.save({"model": Trap()}, p, _use_new_zipfile_serialization=False),
    }.items():
        write(tmp_path / name)
        assert "could run code" in refusal(tmp_path / name) or "damaged" in refusal(tmp_path / name)
    assert "never" not in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parity
def test_a_torchscript_archive_gives_its_arrays_without_its_program_being_run(tmp_path):
    """As OpenAI publishes CLIP: a scripted module with the image tower `visual`, in half precision."""
    torch = upstream("torch")
    published = zoo.ZOO["CLIP"](tmp_path)
    content = torch.load(published.path)
    model = torch.nn.Module()
    for name, x in content.items():
        *parents, leaf = name.split(".")
        at = model
        for parent in parents:
            if not hasattr(at, parent):
                at.add_module(parent, torch.nn.Module())
            at = getattr(at, parent)
        at.register_buffer(leaf, x.half())
    model.visual.register_buffer("crossed", torch.arange(12.0).reshape(3, 4).bfloat16()[:, 1:].T)
    torch.jit.script(model).save(tmp_path / "ViT-B-16.pt")
    read = files.read(tmp_path / "ViT-B-16.pt")
    assert read.arrays.keys() == {n for n, x in content.items() if x.ndim} | {"visual.crossed"}
    np.testing.assert_array_equal(read.arrays.pop("visual.crossed"), np.arange(12.0).reshape(3, 4)[:, 1:].T)
    for name, x in read.arrays.items():
        np.testing.assert_array_equal(x, content[name].half().float().numpy(), err_msg=name)
    del model.visual.crossed
    torch.jit.script(model).save(tmp_path / "ViT-B-16.pt")
    images = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
    ours = weights.load_foreign(tmp_path / "ViT-B-16.pt", family="clip")(images)
    assert relative_error(ours, published.features(images)) < 1e-2  # half precision


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_torchscript_archive_with_more_than_arrays_is_refused(tmp_path, capsys):
    torch = upstream("torch")
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "good.pt")
    good = zipfile.ZipFile(tmp_path / "good.pt")
    stored = good.read("good/data.pkl")
    for name, tree, said in (
        ("trap", pickle.dumps(Trap(), protocol=2), "print"),
        ("cut", stored[:-20], "damaged"),
        (
            "beyond",
            stored.replace(b"(K\x02K\x02t", b"(K\x02K\x7ft"),
            "damaged",
        ),
    ):
        assert tree != stored
        with zipfile.ZipFile(tmp_path / f"{name}.pt", "w") as bad:
            for member in good.namelist():
                bad.writestr(member, tree if member == "good/data.pkl" else good.read(member))
        assert said in refusal(tmp_path / f"{name}.pt")
    assert "never" not in capsys.readouterr().out


def test_pickled_arrays_in_an_npz_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.array([Trap()], dtype=object))
    assert "plain arrays" in refusal(tmp_path / "a.npz")


def test_missing_shards_are_counted_and_named(tmp_path):
    arrays = timm_arrays()
    names = sorted(arrays)
    files_of = {name: f"model-0000{1 + i % 3}-of-00003.safetensors" for i, name in enumerate(names)}
    for shard in sorted(set(files_of.values())):
        save_file({n: arrays[n] for n in names if files_of[n] == shard}, tmp_path / shard)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files_of}))
    assert weights.load(tmp_path, family="dino").family == "dino"
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    assert "1 of 3 shards are missing (model-00002-of-00003.safetensors)" in refusal(tmp_path)


@pytest.mark.parametrize("content", [b"hello world, this is text", b"\x89PNG\r\n\x1a\n", b"{}", b"\xde"])
def test_other_files_are_not_taken_for_weights(content, tmp_path):
    (tmp_path / "x.bin").write_bytes(content)
    assert "not a file of weights" in refusal(tmp_path / "x.bin")


def test_a_folder_without_weights_says_what_it_should_hold(tmp_path):
    assert "model.safetensors" in refusal(tmp_path)
    (tmp_path / "config.json").write_text("{not json")
    save_file(timm_arrays(), tmp_path / "model.safetensors")
    assert "not readable JSON" in refusal(tmp_path)


def test_a_path_that_does_not_exist_is_refused(tmp_path):
    assert "does not exist" in refusal(tmp_path / "nothing")


def test_a_file_without_floating_point_arrays_is_refused(tmp_path):
    save_file({"steps": np.arange(3)}, tmp_path / "a.safetensors")
    assert "no floating-point arrays" in refusal(tmp_path / "a.safetensors")


def test_the_json_files_of_the_form_that_is_read_describe_it():
    """LAION's repositories: both forms of a model side by side."""
    both = ["README.md", "config.json", "open_clip_config.json", "preprocessor_config.json"]
    assert files.descriptions(both, "model.safetensors") == ["config.json", "preprocessor_config.json"]
    assert files.descriptions(both, "open_clip_model.safetensors") == ["open_clip_config.json"]
    assert files.descriptions(both[2:], "model.safetensors") == ["preprocessor_config.json", "open_clip_config.json"]
    assert files.descriptions(["hummingbird.json", *both[1:]], "model.safetensors")[0] == "hummingbird.json"
