"""The command takes files of other projects: import, info, export, and evaluate with any choice of features."""

from __future__ import annotations

import json
import resource

import numpy as np
import pytest
from safetensors.numpy import save_file

from hummingbird import cli, config
from hummingbird.encoder import build_encoder, load_encoder
from hummingbird.errors import UserError
from tests.weights.small import WIDTH, timm_arrays


@pytest.fixture
def file(tmp_path):
    save_file(timm_arrays(), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_import_info_and_export_in_one_go(file, tmp_path, capsys):
    assert cli.run(["import", str(file), str(tmp_path / "in"), "--family=mae"]) == 0
    assert cli.run(["export", str(tmp_path / "in"), str(tmp_path / "out"), "--format=hf"]) == 0
    capsys.readouterr()
    assert cli.run(["info", str(tmp_path / "out"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {"kind", "step", "fingerprint", "parameters", "config", "versions"} <= said.keys()
    assert (said["family"], said["names"]) == ("mae", "hf_vit")


@pytest.mark.parametrize("command", ["import", "export"])
def test_a_full_disk_is_one_line_and_leaves_nothing(command, file, tmp_path, capsys):
    assert cli.run(["import", str(file), str(tmp_path / "in"), "--family=mae"]) == 0
    asked = {"import": [str(file), "--family=mae"], "export": [str(tmp_path / "in")]}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # files end there, as on a full disk
    try:
        status = cli.run([command, asked[command][0], str(tmp_path / "out"), *asked[command][1:]])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert status == 2
    assert "out cannot be written" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {file.name, "in"}


def test_import_keeps_the_features_that_were_asked_for(file, tmp_path, capsys):
    chosen = ["--family=mae", "--features=key", "--layers=-1,0"]
    assert cli.run(["import", str(file), str(tmp_path / "keys"), *chosen]) == 0
    assert cli.run(["import", str(file), str(tmp_path / "raw"), "--family=mae", "--no-norm"]) == 0
    images = np.random.default_rng(0).integers(0, 256, (1, 16, 24, 3), np.uint8)
    for name, options in (("keys", {"features": "key", "layers": (-1, 0)}), ("raw", {"norm": False})):
        imported, direct = load_encoder(str(tmp_path / name)), load_encoder(str(file), family="mae", **options)
        assert imported.dim == (2 * WIDTH if name == "keys" else WIDTH)
        np.testing.assert_array_equal(imported(images), direct(images))
    capsys.readouterr()
    assert cli.run(["info", str(tmp_path / "keys"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["features"] == {"kind": "key", "layers": [-1, 0], "norm": True}
    assert cli.run(["import", str(file), str(tmp_path / "far"), "--family=mae", "--layers=7"]) == 2
    assert "layers" in capsys.readouterr().err
    assert not (tmp_path / "far").exists()


def test_import_takes_what_a_file_does_not_say(tmp_path, capsys):
    """Each refusal names an argument; this is what the command line does with it."""
    table = np.random.default_rng(0).normal(size=(1, 49, WIDTH)).astype(np.float32)
    arrays = {f"{name}.{n}": x for name in ("student", "teacher") for n, x in timm_arrays(pos_embed=table).items()}
    save_file(arrays, tmp_path / "model.safetensors")
    src, dst = str(tmp_path / "model.safetensors"), str(tmp_path / "in")
    assert cli.run(["import", src, dst, "--family=mae"]) == 2
    assert "--grid of import" in capsys.readouterr().err
    chosen = ["--prefix=student", "--heads=2", "--grid=8,6", "--mean=0.4,0.5,0.6", "--std=0.2,0.3,0.25"]
    assert cli.run(["import", src, dst, "--family=mae", *chosen]) == 0
    capsys.readouterr()
    assert cli.run(["info", dst, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["prefix"] == "student."
    assert (said["config"]["heads"], said["config"]["grid"]) == (2, [8, 6])
    assert (said["config"]["mean"], said["config"]["std"]) == ([0.4, 0.5, 0.6], [0.2, 0.3, 0.25])


@pytest.mark.parametrize("bad", ["--layers=first", "--features=keys", "--norm=false"])
def test_choices_that_do_not_exist_are_usage_errors(bad, file, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.run(["import", str(file), str(tmp_path / "in"), bad])
    assert stopped.value.code == 2
    assert bad.split("=")[0] in capsys.readouterr().err


def test_info_takes_a_family_where_the_file_leaves_it_open(file, tmp_path, capsys):
    assert cli.run(["info", str(file)]) == 2
    assert "--family" in capsys.readouterr().err
    assert cli.run(["info", str(file), "--family=dino", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["family"] == "dino"
    assert cli.run(["info", str(file), "--family=dinosaur"]) == 2
    assert "dinosaur" in capsys.readouterr().err


def test_a_bad_file_ends_with_status_2_and_one_line(file, tmp_path, capsys):
    file.write_bytes(file.read_bytes()[:-100])
    for words in (["import", str(file), str(tmp_path / "in")], ["info", str(file)]):
        assert cli.run(words) == 2
        error = capsys.readouterr().err.strip()
        assert str(file) in error
        assert "\n" not in error
    assert not (tmp_path / "in").exists()


def test_evaluation_settings_choose_family_and_features(file):
    def encoder(**settings):
        resolved = config.resolve("evaluate", None, {f"encoder.{n}": v for n, v in settings.items()})
        return build_encoder(str(file), resolved.encoder)

    images = np.zeros((1, 16, 24, 3), np.uint8)
    with pytest.raises(UserError, match=r"config\.encoder\.family"):
        encoder()
    with pytest.raises(UserError, match="a grid of 8x6"):
        encoder(family="dino", grid=(8, 6))
    with pytest.raises(UserError, match="no array has prefix 'model'"):
        encoder(family="dino", prefix="model")
    plain, keys = encoder(family="dino"), encoder(family="dino", features="key", layers=(0, -1))
    assert plain(images).shape == (1, 2, 3, WIDTH)
    assert keys(images).shape == (1, 2, 3, 2 * WIDTH)
    resolved = config.resolve("evaluate", None, {"encoder.family": "dino"})
    with pytest.raises(UserError, match=r"encoder\.family is for files of other projects"):
        build_encoder("random:vit_ti16", resolved.encoder)
