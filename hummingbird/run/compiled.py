"""Keeps the compiled programs of a run in its workdir, so that a restart, on whatever host, does not compile again."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import os

import jax
from etils import epath

COMPILED = "compiled"


def keep_compiled(workdir: epath.Path) -> None:
    """Makes JAX keep compiled programs in a folder of the workdir, which may be in a bucket.

    Not on CPUs, which compile a step quickly and differ in their instructions from host to host, and not if JAX has a
    cache already (`JAX_COMPILATION_CACHE_DIR`). `JAX_ENABLE_COMPILATION_CACHE=false` turns caches off.
    """
    if jax.default_backend() == "cpu" or jax.config.values["jax_compilation_cache_dir"]:
        return
    folder = os.fspath(workdir / COMPILED)
    jax.config.update("jax_compilation_cache_dir", folder)
    if "://" in folder:  # XLA's own caches on GPUs, of what it tried out, can only be files
        jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
