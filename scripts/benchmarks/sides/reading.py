"""What it takes to start on a data set and to keep reading it: lists, requests, latency, cores."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import time
import urllib.request
from collections.abc import Callable, Iterator

import fsspec
import numpy as np
from etils.epath import backend

from hummingbird import config as settings
from hummingbird.config import PretrainConfig
from hummingbird.data import array_record_files, feed, images, index, places
from hummingbird.data.pipeline import build_batches
from hummingbird.data.sources import build_image_source

ROOT = pathlib.Path(__file__).resolve().parents[3]
SHARDS = 16  # folders or archives that entries are divided among
LATENCY = 0.02  # seconds of a request
BATCH = 32


class Server:
    """A bucket on loopback, in a process of its own."""

    def __init__(self, address: str):
        self._address = address

    def ask(self, question: str) -> int:
        """Asks for `requests` or sets `latency=SECONDS`; returns the number of requests so far."""
        with urllib.request.urlopen(f"{self._address}/control?{question}") as answer:
            return int(json.load(answer)["requests"])

    def settle(self) -> None:
        """Waits for a second without requests, so that what a closed pipeline still reads ahead disturbs nothing."""
        before = -1
        while before != (before := self.ask("")):
            time.sleep(1)


@contextlib.contextmanager
def loopback_bucket() -> Iterator[Server]:
    """Directs all clients of gs:// to a server on loopback."""
    sys.path.append(str(ROOT))  # the tests are no part of the package
    from tests import gcs

    command = [sys.executable, "-m", "tests.gcs"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        address = process.stdout.readline().strip()
        os.environ.update(gcs.variables(address))
        backend._FileSystemSpecBackend._get_filesystem.cache_clear()
        fsspec.get_filesystem_class("gcs").clear_instance_cache()
        try:
            yield Server(address)
        finally:
            process.kill()


def timed(work: Callable[[], object]) -> float:
    """Returns the seconds that `work()` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def config_for(root: str, **changes: object) -> PretrainConfig:
    """Returns a pretraining config for the images under `root`."""
    given = {"data.name": "images", "data.root": root, "batch_size": BATCH, "context.bank_length": 0, **changes}
    return settings.resolve("pretrain", overrides=given)


def make_folder(folder: pathlib.Path, entries: int, content: bytes) -> None:
    """Writes `entries` equal files into `SHARDS` folders."""
    for shard in range(SHARDS):
        (folder / f"n{shard:08d}").mkdir(parents=True)
        for i in range(entries // SHARDS):
            (folder / f"n{shard:08d}" / f"n{shard:08d}_{i}.JPEG").write_bytes(content)


def make_tars(folder: pathlib.Path, entries: int, content: bytes) -> None:
    """Writes the same entries into `SHARDS` archives."""
    folder.mkdir(parents=True)
    for shard in range(SHARDS):
        with tarfile.open(folder / f"n{shard:08d}.tar", "w") as tar:
            for i in range(entries // SHARDS):
                member = tarfile.TarInfo(f"n{shard:08d}_{i}.JPEG")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def measure_lists(folder: pathlib.Path, entries: int, content: bytes) -> dict[str, dict[str, float]]:
    """Returns the seconds of making lists and of starting with them, and the requests that both take."""
    make_folder(folder / "files", entries, content)
    make_tars(folder / "tars", entries, content)
    os.environ["HUMMINGBIRD_CACHE"] = str(folder / "cache")
    found: dict[str, dict[str, float]] = {}
    for name in ("files", "tars"):
        root = str(folder / name)
        place = places.locate(config_for(root).data)
        listing = timed(lambda place=place: images.find_index(place, renew=True, keep=True))
        starting = timed(lambda root=root: build_image_source(config_for(root)))
        found[f"local {name}"] = {"list": listing, "start": starting}
    records, source = str(folder / "records"), build_image_source(config_for(str(folder / "tars")))
    writing = timed(lambda: array_record_files.write(source, records))
    found["local arrayrecord"] = {"convert": writing, "start": timed(lambda: build_image_source(config_for(records)))}
    with loopback_bucket() as server:
        for path in sorted((folder / "tars").glob("*.tar")):
            backend.fsspec_backend.fs("gs://data").put_file(str(path), f"gs://data/tars/{path.name}")
        server.ask(f"latency={LATENCY}")
        before = server.ask("requests")
        config = config_for("gs://data/tars")
        listing = timed(lambda: images.find_index(places.locate(config.data), renew=True, keep=True))
        listed = server.ask("requests")
        start = timed(lambda: build_image_source(config))
        started = server.ask("requests")
    found["bucket tars"] = {
        "list": listing,
        "list_requests": listed - before,
        "start": start,
        "start_requests": started - listed,
    }
    return found


def measure_mapping(folder: pathlib.Path, entries: int) -> dict[str, float]:
    """Returns what an index of that many images in 21,841 archives takes: seconds and MiB, on disk and in memory."""
    groups, each = 21_841, entries // 21_841
    names = [f"n00000000_{i}.JPEG".encode() for i in range(each)]
    column = np.full(each, 220, np.uint32)
    made = [index.Group(f"n{g:08d}", f"n{g:08d}.tar", names, column, column) for g in range(groups)]
    path = folder / "mapped.index"
    packing = timed(lambda: index.pack(made, np.arange(groups, dtype=np.int32), "group", {}).save(str(path)))
    before = resident()
    start = time.perf_counter()
    mapped = index.load(str(path))
    loading = time.perf_counter() - start
    for number in range(0, len(mapped), 100):
        mapped.span(number)
    return {
        "entries": len(mapped),
        "pack_seconds": packing,
        "load_seconds": loading,
        "file_mib": path.stat().st_size / 2**20,
        "memory_mib": resident() - before,
    }


def resident() -> float:
    """Returns the memory of this process that is in use, in MiB, mapped files among it."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def rate(config: PretrainConfig, batches: int, warm: int = 9) -> float:
    """Returns the images per second that the pipeline of a config makes, once what it reads ahead is used up."""
    with contextlib.closing(build_batches(config, 0)) as feeding:
        for _ in range(warm):
            next(feeding)
        return BATCH * batches / timed(lambda: [next(feeding) for _ in range(batches)])


def measure_latency(folder: pathlib.Path, photographs: list[bytes], batches: int, rounds: int) -> dict[str, float]:
    """Returns images per second from tars in a bucket without and with latency, the best of interleaved rounds."""
    folder.mkdir(parents=True)
    with tarfile.open(folder / "photographs.tar", "w") as tar:
        for i, content in enumerate(photographs):
            member = tarfile.TarInfo(f"{i:05d}.jpg")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    best = {"0 ms": 0.0, "20 ms": 0.0}
    with loopback_bucket() as server:
        client = backend.fsspec_backend.fs("gs://data")
        client.put_file(str(folder / "photographs.tar"), "gs://data/photographs/photographs.tar")
        config = config_for("gs://data/photographs", **{"data.cache": 0})
        for _ in range(rounds):
            for name, seconds in (("0 ms", 0.0), ("20 ms", LATENCY)):
                server.ask(f"latency={seconds}")
                best[name] = max(best[name], rate(config, batches))
                server.settle()
    return best


def measure_cores(root: str, batches: int, rounds: int) -> dict[str, float]:
    """Returns images per second with one thread on one core and with two on two, the best of interleaved rounds."""
    if feed.cores() < 2:
        return {}
    allowed, best = os.sched_getaffinity(0), {"1": 0.0, "2": 0.0}
    for _ in range(rounds):
        for count in (1, 2):
            os.sched_setaffinity(0, sorted(allowed)[:count])
            try:
                config = config_for(root, **{"data.threads": count, "data.cache": 0})
                best[str(count)] = max(best[str(count)], rate(config, batches))
            finally:
                os.sched_setaffinity(0, allowed)
    return best
