"""What the launchers install is what the commands in the documents import; tests/test_bucket.py trains with it."""

import ast
import functools
import subprocess
import sys

import pytest

from tests.extras import Hiding, installed
from tests.test_imports import tracked

# {extra: modules that no line imports by name: the clients that fsspec and tensorboardX need for gs://}
CLIENTS = {"tpu": {"gcsfs", "google.cloud.storage"}, "gcs": {"gcsfs", "google.cloud.storage"}}
# {package: the extra that brings it}; every other import belongs to the dependencies
OPTIONAL = {
    "huggingface_hub": "hub",
    "tokenizers": "text",
    "torch": "torch",
    "av": "video",
    **dict.fromkeys(("anyio", "starlette", "uvicorn"), "app"),
}


@functools.cache
def imported() -> set[str]:
    """Returns the modules that the package imports from outside, at the top of a file or inside a function."""
    found: set[str] = set()
    for path in tracked("hummingbird/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module)
    return {name for name in found if name.partition(".")[0] != "hummingbird"}


@pytest.mark.long
@pytest.mark.parametrize("extra", ["tpu", "cuda13", "gcs", "hub", "text", "video", "app"])
def test_every_import_is_found_with_the_extra_alone(extra):
    hiding = Hiding(installed([extra]))
    expected = {name for name in imported() if OPTIONAL.get(name.partition(".")[0], extra) == extra}
    missing = {name for name in expected | CLIENTS.get(extra, set()) if hiding.hides(name)}
    assert not missing


def test_the_extra_for_pods_brings_the_compiler_and_the_buckets_client():
    assert {"libtpu", "gcsfs", "google-cloud-storage"} <= installed(["tpu"])
    assert not {"libtpu", "gcsfs"} & installed([])


@pytest.mark.process
def test_a_bucket_without_its_client_ends_in_one_line(repository):
    command = [sys.executable, "-m", "tests.extras", "hub", "pretrain", "--config=pretrain/demo:tiny"]
    result = subprocess.run([*command, "--workdir=gs://none/run"], cwd=repository, capture_output=True, text=True)
    assert result.returncode == 2, result.stderr
    assert "needs the client of that bucket" in result.stderr
