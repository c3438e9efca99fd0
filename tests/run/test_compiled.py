"""Compiled programs are kept in the workdir, but not on CPUs and not if JAX has a cache."""

import jax
import pytest
from etils import epath

from hummingbird.run.compiled import keep_compiled


@pytest.fixture
def settings():
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_enable_xla_caches")
    before = {name: getattr(jax.config, name) for name in names}
    jax.config.update("jax_compilation_cache_dir", None)
    yield jax.config
    for name, value in before.items():
        jax.config.update(name, value)


def test_a_restart_on_an_accelerator_finds_compiled_programs_in_the_workdir(settings, monkeypatch, tmp_path):
    keep_compiled(epath.Path(tmp_path))
    assert not settings.jax_compilation_cache_dir  # these are CPUs
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    keep_compiled(epath.Path(tmp_path))
    assert settings.jax_compilation_cache_dir == str(tmp_path / "compiled")
    assert settings.jax_persistent_cache_enable_xla_caches != "none"
    keep_compiled(epath.Path(tmp_path / "other"))
    assert settings.jax_compilation_cache_dir == str(tmp_path / "compiled")


def test_in_a_bucket_only_jax_keeps_what_it_compiled(settings, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    keep_compiled(epath.Path("gs://bucket/run"))
    assert settings.jax_compilation_cache_dir == "gs://bucket/run/compiled"
    assert settings.jax_persistent_cache_enable_xla_caches == "none"
