"""The command takes files of other projects: import, info, export, and evaluate with any choice of features."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from hummingbird import cli, config
from hummingbird.encoder import build_encoder
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
    plain, keys = encoder(family="dino"), encoder(family="dino", features="key", layers=(0, -1))
    assert plain(images).shape == (1, 2, 3, WIDTH)
    assert keys(images).shape == (1, 2, 3, 2 * WIDTH)
    resolved = config.resolve("evaluate", None, {"encoder.family": "dino"})
    with pytest.raises(UserError, match=r"encoder\.family is for files of other projects"):
        build_encoder("random:vit_ti16", resolved.encoder)
