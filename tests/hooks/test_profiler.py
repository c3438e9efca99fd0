"""A trace holds the configured steps and ends up in the workdir."""

import gzip
import json

import jax
import jax.numpy as jnp
import pytest
from etils import epath

from hummingbird.hooks.profiler import Trace


def events(folder):
    (file,) = folder.rglob("*.trace.json.gz")
    return {event.get("name") for event in json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]}


@pytest.mark.parametrize("first", [1, 4], ids=["from the start", "resumed in the middle"])
def test_the_configured_steps_are_traced(tmp_path, state, model, batch, first):
    hook = Trace(epath.Path(tmp_path / "profile"), start=3, steps=3)
    for step in range(first, 9):
        with jax.profiler.TraceAnnotation(f"of step {step}"):
            jnp.ones(3).sum().block_until_ready()
        hook(step, state, model, batch)
    hook.close()
    traced = {name for name in events(tmp_path / "profile") if str(name).startswith("of step")}
    assert traced == ({f"of step {step}" for step in (3, 4, 5)} if first == 1 else {"of step 5"})
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))


def test_a_run_that_ends_early_keeps_its_trace(tmp_path, state, model, batch):
    hook = Trace(epath.Path(tmp_path), start=2, steps=100)
    hook(1, state, model, batch)
    hook.close()
    assert list(tmp_path.rglob("*.xplane.pb"))
