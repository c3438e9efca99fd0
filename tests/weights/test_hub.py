"""Weights named by their place on the hub: what is downloaded, when, and what is said where that does not work."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from safetensors.numpy import save

from hummingbird import cli, weights
from hummingbird.encoder import load_encoder
from hummingbird.errors import UserError
from hummingbird.models.architecture import Architecture
from hummingbird.models.vit import ViT
from hummingbird.retrieval.evaluate import describe_encoder
from hummingbird.weights import hub, warm_start
from hummingbird.weights.random_sequences import random_arrays
from hummingbird.weights.sequences import load_sequence_model
from tests.weights import small_hub
from tests.weights.small import WIDTH, timm_arrays

huggingface_hub = pytest.importorskip("huggingface_hub")
NAME = "hf:org/tiny"
CONFIG = {"architecture": "vit_tiny", "pretrained_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}
IMAGES = np.random.default_rng(0).integers(0, 256, (1, 16, 24, 3), np.uint8)


def content(seed: int = 0) -> dict[str, bytes]:
    """A repository as timm's are: two forms of the same weights, and files that no encoder needs."""
    decoys = dict.fromkeys(("README.md", "pytorch_model.bin", "onnx/model.onnx", "onnx/config.json"), b"of no use")
    return {"config.json": json.dumps(CONFIG).encode(), "model.safetensors": save(timm_arrays(seed)), **decoys}


def sharded() -> dict[str, bytes]:
    arrays = list(timm_arrays().items())
    parts = {"model-1-of-2.safetensors": dict(arrays[:9]), "model-2-of-2.safetensors": dict(arrays[9:])}
    table = {name: file for file, part in parts.items() for name in part}
    index = {"model.safetensors.index.json": json.dumps({"weight_map": table}).encode()}
    return {**content(), **index, **{file: save(part) for file, part in parts.items()}}


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A hub with one model, which the client of this process uses, with an empty cache."""
    constants = pytest.importorskip("huggingface_hub.constants")
    for name in ("HF_TOKEN", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with small_hub.serve() as (address, server):
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        server.repositories["org/tiny"] = small_hub.Repository(content())
        yield server


@pytest.fixture
def offline(monkeypatch):
    """A function after which the client may not use the network (HF_HUB_OFFLINE=1)."""
    constants = pytest.importorskip("huggingface_hub.constants")
    return lambda: monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def test_the_tokenizer_comes_with_an_encoder_of_text(served, offline):
    vocabulary = {"vocab.txt": b"[PAD]\n[UNK]", "tokenizer_config.json": b"{}"}
    weights_of = {"model.safetensors": save(random_arrays("bert_tiny"))}
    served.repositories["org/tiny"] = small_hub.Repository({**vocabulary, **weights_of})
    model = load_sequence_model(NAME)
    assert served.downloads() == ["model.safetensors", "vocab.txt"]
    assert (model.folder / "vocab.txt").read_bytes() == vocabulary["vocab.txt"]
    offline()
    assert load_sequence_model(NAME).fingerprint == model.fingerprint


def refusal(name: str) -> str:
    with pytest.raises(UserError) as caught:
        weights.load(name)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(name)
    return str(caught.value)


def test_only_the_files_that_are_needed_are_downloaded(served):
    encoder = load_encoder(NAME)
    assert served.downloads() == ["config.json", "model.safetensors"]
    assert encoder(IMAGES).shape == (1, 2, 3, WIDTH)
    assert encoder.std == (0.25,) * 3
    assert (encoder.name, encoder.source) == ("org/tiny (timm)", NAME)
    assert encoder.commit == served.repositories["org/tiny"].commit
    facts = describe_encoder(encoder, encoder.dim)
    assert (facts["source"], facts["commit"]) == (encoder.source, encoder.commit)


def test_shards_are_downloaded_by_their_list(served, offline):
    served.repositories["org/tiny"].files = {n: x for n, x in sharded().items() if n != "model.safetensors"}
    arrays = weights.load(NAME).arrays
    assert served.downloads() == ["config.json", *sorted(set(sharded()) - set(content()))]
    offline()
    assert weights.load(NAME).arrays.keys() == arrays.keys()
    folder = hub.fetch(NAME)[0].parent
    (folder / "model-2-of-2.safetensors").unlink()
    assert "not in the cache" in refusal(NAME)


def test_the_second_time_nothing_is_downloaded_and_offline_nothing_is_requested(served, offline):
    first = load_encoder(NAME)
    done = len(served.requests)
    assert load_encoder(NAME).fingerprint == first.fingerprint
    assert served.downloads() == ["config.json", "model.safetensors"]
    assert all("/api/" in request for request in served.requests[done:])  # whether `main` is still that commit
    served.requests.clear()
    offline()
    again = load_encoder(NAME)
    assert (again.fingerprint, again.commit) == (first.fingerprint, first.commit)
    assert not served.requests


def test_a_cache_that_lacks_a_json_file_does_not_count(served, offline):
    """Without it, weights may be recognised as others."""
    (hub.fetch(NAME)[0].parent / "config.json").unlink()
    served.repositories["org/other"] = small_hub.Repository(content())
    huggingface_hub.hf_hub_download("org/other", "model.safetensors")  # as another program leaves it
    offline()
    assert "not in the cache" in refusal(NAME)
    assert "not in the cache" in refusal("hf:org/other")


def test_without_a_network_the_cache_is_used(served, caplog):
    first = load_encoder(NAME)
    served.broken = True
    with caplog.at_level("INFO", logger="hummingbird"):
        assert load_encoder(NAME).commit == first.commit
    assert "out of reach (it answers with status 503)" in caplog.text


def test_the_encoder_is_known_by_the_content_of_its_files(served, tmp_path):
    before = load_encoder(NAME)
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes(content()[name])
    local = load_encoder(str(tmp_path / "model.safetensors"))
    assert before.fingerprint == local.fingerprint
    assert (local.source, local.commit) == ("model.safetensors", None)
    served.repositories["org/tiny"].files = content(seed=1)
    after = load_encoder(NAME)
    assert after.fingerprint != before.fingerprint
    assert after.commit != before.commit
    served.requests.clear()
    assert load_encoder(f"{NAME}@{before.commit}").fingerprint == before.fingerprint
    assert not served.requests


def test_timm_names_and_single_files_are_found(served):
    served.repositories["timm/vit_tiny.x"] = small_hub.Repository(content())
    served.repositories["org/files"] = small_hub.Repository(
        {f"{n}/dino.safetensors": save(timm_arrays()) for n in "ab"}
    )
    assert weights.load("timm:vit_tiny.x").source == "timm:vit_tiny.x"
    assert weights.load("hf:org/files/a/dino.safetensors").family == "dino"  # its name says so, as on disk
    assert "no weights that can be read; it holds a/dino.safetensors" in refusal("hf:org/files")
    assert "no file c.pth" in refusal("hf:org/files/c.pth")
    served.repositories["org/files"].files |= {"a.npz": b"", "b.pth": b""}
    assert "several files of weights (a.npz, b.pth); choose one with hf:org/files/FILE" in refusal("hf:org/files")


def test_what_cannot_be_had_is_one_line(served, offline, monkeypatch):
    served.repositories["org/gated"] = small_hub.Repository(content(), gated=True)
    served.repositories["org/private"] = small_hub.Repository(content(), private=True)
    assert "has to be requested; do so on http://127.0.0.1" in refusal("hf:org/gated")
    assert "does not exist or is private" in refusal("hf:org/private")
    assert "does not exist or is private; check the name (timm: NAME.TAG)" in refusal("timm:vit_tiny")
    assert "org/tiny has no revision v9" in refusal(f"{NAME}@v9")
    for wrong in ("hf:tiny", "hf:org/", "hf:org/tiny@", "hf:org/ti ny", "timm:", "hf:org/a--b..c"):
        assert "is not a name on the hub" in refusal(wrong)
    served.broken = True
    assert "the hub is out of reach (it answers with status 503)" in refusal(NAME)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # nobody listens
    assert "the hub is out of reach (" in refusal(NAME)
    offline()
    assert "out of reach (HF_HUB_OFFLINE is set)" in refusal(NAME)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "needs the extra `hub`: pip install" in refusal(NAME)


def test_a_gated_repository_opens_to_those_who_have_access(served, monkeypatch, capfd):
    served.repositories["org/gated"] = small_hub.Repository(content(), gated=True)
    refusal("hf:org/gated")
    assert not capfd.readouterr().err  # no progress bar
    monkeypatch.setenv("HF_TOKEN", "good")
    weights.load("hf:org/gated")
    monkeypatch.delenv("HF_TOKEN")
    served.requests.clear()
    weights.load("hf:org/gated")  # what is in the cache stays open
    assert served.requests == ["GET /api/models/org/gated"]


def test_a_full_disk_is_one_line(served, tmp_path):
    (tmp_path / "cache").write_text("a file where the cache should be")
    assert "cannot be stored in" in refusal(NAME)


def test_commands_take_the_names(served, tmp_path, capsys):
    assert cli.run(["info", NAME, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    commit = served.repositories["org/tiny"].commit
    assert (said["path"], said["source"], said["commit"]) == (NAME, NAME, commit)
    assert cli.run(["import", NAME, str(tmp_path / "in")]) == 0
    imported = load_encoder(str(tmp_path / "in"))
    assert (imported.source, imported.commit) == (NAME, commit)
    assert cli.run(["export", NAME, str(tmp_path / "out"), "--format=hf"]) == 0
    assert commit in (tmp_path / "out" / "README.md").read_text()
    capsys.readouterr()
    assert cli.run(["info", f"{NAME}@v9"]) == 2
    assert capsys.readouterr().err.strip().splitlines() == [
        f"hummingbird: error: {NAME}@v9: org/tiny has no revision v9; give a branch, tag or commit"
    ]


def test_a_run_starts_from_them(served):
    vit = ViT(Architecture(patch_size=8, width=WIDTH, depth=1, heads=1, mlp_dim=2 * WIDTH, grid=(4, 4)))
    shapes = jax.eval_shape(vit.init, jax.random.key(0), np.zeros((1, 8, 8, 3), np.float32))["params"]
    flat = jax.tree.leaves_with_path(shapes)
    wanted = {"online.encoder." + ".".join(key.key for key in keys): leaf for keys, leaf in flat}
    given = warm_start.read(NAME, vit, wanted)
    assert given.arrays.keys() == wanted.keys()
    assert (given.record["path"], given.record["commit"]) == (NAME, served.repositories["org/tiny"].commit)


@pytest.mark.process
def test_the_environment_chooses_hub_cache_and_network(tmp_path):
    """HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE, as users set them; huggingface_hub reads them when it is imported."""
    environment = {**os.environ, "HF_HOME": str(tmp_path), "NO_PROXY": "127.0.0.1"}
    program = "import sys; from hummingbird.weights import hub; print(hub.fetch(sys.argv[1])[1].commit)"
    with small_hub.serve() as (address, server):
        server.repositories["org/tiny"] = small_hub.Repository(content())
        for offline in ("0", "1"):
            variables = {**environment, "HF_ENDPOINT": address, "HF_HUB_OFFLINE": offline}
            command = [sys.executable, "-c", program, NAME]
            ended = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
            assert ended.stdout.strip() == server.repositories["org/tiny"].commit
            assert bool(server.requests) == (offline == "0")
            server.requests.clear()
