"""What every test shares: eight virtual CPU devices, a persistent compilation cache, the small real data sets."""

import functools
import gc
import os
import sys
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.shards import shard

ROOT = Path(__file__).resolve().parent.parent

# Before anything imports jax. Eight devices in one process let a test ask whether a result depends on their number.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Tests wait for XLA's compiler, not for what it compiles: without LLVM's optimisation, without the MLIR emitters of
# fusions and in one piece, a train step compiles in an eighth of the CPU seconds (25 -> 11 -> 4.5 -> 3.2) and runs half
# as fast.
XLA_FLAGS = {
    "xla_force_host_platform_device_count": 8,
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": "true",
    "xla_cpu_use_fusion_emitters": "false",
    "xla_cpu_parallel_codegen_split_count": 1,
}
for flag, value in XLA_FLAGS.items():  # processes that tests start inherit them
    if flag not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --{flag}={value}".strip()
# Absolute, so that programs which a test starts in another folder share it too.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".jax_cache"))
# Programs that compile in milliseconds too: an empty cache costs the same, a full one saves a sixth of --fast.
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
if "PYTEST_XDIST_WORKER" in os.environ:
    # Each worker has its share of the cores: more threads than cores only wait for one another.
    share = max(1, (os.cpu_count() or 1) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, str(share))


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of small real data sets beside the checkout (or in HUMMINGBIRD_TEST_DATA); skips without it."""
    folder = Path(os.environ.get("HUMMINGBIRD_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("the small real data sets are not there: put them in ../shared/data or set HUMMINGBIRD_TEST_DATA")
    return folder


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declares --shard, by which CI splits the suite over runners."""
    parser.addoption("--shard", metavar="K/N", help="run the K-th of N parts of the tests")


@pytest.hookimpl(trylast=True)  # after tests were deselected by their marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keeps the tests of one shard, and orders them so that one of two workers, not both, prepares what is slow.

    Each worker begins with its half of the list and in the end steals from the other's. The first half begins with the
    tests that share a training program, the second one with those that load PyTorch, timm and transformers.
    """
    if config.getoption("--shard"):
        chosen = shard(config.getoption("--shard"))
        config.hook.pytest_deselected(items=[item for item in items if not chosen(item.nodeid)])
        items[:] = [item for item in items if chosen(item.nodeid)]
    training, parity, others = list[pytest.Item](), list[pytest.Item](), list[pytest.Item]()
    for item in items:
        trains = hasattr(getattr(item, "module", None), "tiny")
        (parity if item.get_closest_marker("parity") else training if trains else others).append(item)
    half = max(0, len(items) // 2 - len(training))
    items[:] = [*training, *others[:half], *parity, *others[half:]]


def pytest_collection_finish() -> None:
    """Spares tests what passes through all modules or all parameters again and again while JAX traces."""
    gc.freeze()  # else the garbage collector passes through all modules
    gc.set_threshold(50_000, 20)
    if "flax" in sys.modules:
        _infer_shapes_once()


def _infer_shapes_once() -> None:
    """Lets Flax infer the shape that an initializer gives once, instead of at every use of the parameter.

    It compares that shape with the parameter's, and here still does; tracing initializers anew takes a seventh to
    a quarter of the time of tests that trace networks.
    """
    import jax
    from flax.core.scope import Scope

    declare = Scope.param

    @functools.cache
    def shape(init: Callable[..., jax.Array], *arguments: Hashable) -> tuple[int, ...]:
        return jax.eval_shape(lambda: init(jax.random.key(0), *arguments)).shape

    def param(self: Scope, name: str, init: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        value = self.get_variable("params", name)
        fixed = (tuple(x) if isinstance(x, list) else x for x in arguments)
        if isinstance(value, jax.Array) and options == {"unbox": True} and value.shape == shape(init, *fixed):
            self.reserve(name, "params")
            return value
        return declare(self, name, init, *arguments, **options)  # which says what is wrong

    Scope.param = param


# Set while a test without the marker `process` runs.
_no_processes = False


def _refuse_processes(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "subprocess.Popen" or not _no_processes:
        return
    program = os.path.realpath(os.fsdecode(arguments[0] or arguments[1][0]))
    if program == os.path.realpath(sys.executable) or Path(program).is_relative_to(ROOT / "scripts"):
        pytest.fail(f"this test starts {program}: mark it with pytest.mark.process, so that --fast leaves it out")


sys.addaudithook(_refuse_processes)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Lets only marked tests start Python or a script of this checkout, or compile programs: --fast stays fast."""
    global _no_processes
    _no_processes = item.get_closest_marker("process") is None
    marked = any(item.get_closest_marker(name) for name in ("process", "program"))
    os.environ["TINY_PROGRAMS"] = "any" if marked else "shared"
    try:
        return (yield)
    finally:
        _no_processes = False
