"""Starting the page: the encoder, the port, the extra."""

import importlib.util
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


@pytest.mark.parametrize(
    ("arguments", "name", "size", "note"),
    [
        ([], "shipped:photographs", 256, "comes with the package"),
        (["--checkpoint=rgb:16"], "raw RGB patches", 512, "raw colours"),
        (["--checkpoint=rgb:16", "--input_size=64"], "raw RGB patches", 64, "raw colours"),
    ],
)
def test_without_a_checkpoint_the_page_takes_the_shipped_encoder(tmp_path, monkeypatch, arguments, name, size, note):
    pages = []
    monkeypatch.setattr(server, "run", lambda app, page, listening: pages.append(page))
    assert cli.run(["serve", "--port=0", f"--workdir={tmp_path}", *arguments]) == 0
    assert name in pages[0].about.name
    assert note in pages[0].about.note
    assert pages[0].engine.input_size == size


def test_the_address_holds_the_token_where_others_can_reach_it():
    assert server.page_address("127.0.0.1", 7860, "") == "http://127.0.0.1:7860/"
    assert server.page_address("::1", 7860, "") == "http://[::1]:7860/"
    assert server.page_address("0.0.0.0", 1, "abc") == f"http://{socket.gethostname()}:1/?token=abc"


@pytest.mark.parametrize("prompt", ["missing", "missing.npz"])
def test_a_prompt_that_is_not_there_is_one_line(tmp_path, prompt, capsys):
    assert cli.run(["serve", "--port=0", f"--workdir={tmp_path}", f"--prompt={tmp_path / prompt}"]) == 2
    assert "does not exist" in capsys.readouterr().err
