"""Starting the page: the encoder, the port, the extra."""

import importlib.util
import os
import socket

import pytest

from hummingbird import cli
from hummingbird.errors import UserError
from hummingbird.incontext.app import server


def test_a_port_in_use_is_one_line(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert cli.run(["serve", f"--port={port}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"--port={port} on 127.0.0.1 cannot be used (Address already in use); give another" in line


def test_a_missing_extra_is_one_line(monkeypatch, capsys):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "uvicorn" else real(name))
    assert cli.run(["serve", "--port=0"]) == 2
    assert capsys.readouterr().err == (
        "hummingbird: error: serve needs uvicorn: pip install 'hummingbird-incontext[app]'\n"
    )


@pytest.mark.parametrize(("port", "host"), [(70000, "127.0.0.1"), (0, "203.0.113.7")])
def test_addresses_that_are_not_ours_are_refused(port, host):
    with pytest.raises(UserError, match="--port"):
        server.take_port(host, port)


def test_without_a_checkpoint_the_newest_demo_is_used_else_raw_pixels(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert server.choose_checkpoint(None) == ("rgb:16", "pixels")
    assert server.choose_checkpoint("random:vit_ti16") == ("random:vit_ti16", "given")
    for name, age in (("old", 100), ("new", 0)):
        step = tmp_path / "runs" / "demo" / name / "checkpoints" / "3"
        step.mkdir(parents=True)
        os.utime(tmp_path / "runs" / "demo" / name, (1e9 - age, 1e9 - age))
    monkeypatch.setattr("hummingbird.run.checkpoint.is_training", lambda path: path.endswith(("old", "new")))
    assert server.choose_checkpoint(None) == ("runs/demo/new", "demo")
    assert all(server.NOTES[key] for key in ("demo", "pixels"))


def test_the_address_holds_the_token_where_others_can_reach_it():
    assert server.page_address("127.0.0.1", 7860, "") == "http://127.0.0.1:7860/"
    assert server.page_address("::1", 7860, "") == "http://[::1]:7860/"
    assert server.page_address("0.0.0.0", 1, "abc") == f"http://{socket.gethostname()}:1/?token=abc"


@pytest.mark.parametrize("prompt", ["missing", "missing.npz"])
def test_a_prompt_that_is_not_there_is_one_line(tmp_path, prompt, capsys):
    assert cli.run(["serve", "--port=0", f"--workdir={tmp_path}", f"--prompt={tmp_path / prompt}"]) == 2
    assert "does not exist" in capsys.readouterr().err
