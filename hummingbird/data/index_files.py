"""Where index files are kept: beside the data, else in a cache of this host; each made once and used by all."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from hummingbird.data.fetch import filesystem, is_remote
from hummingbird.data.index import FORMAT, Index, load
from hummingbird.errors import UserError, first_line

log = logging.getLogger(__name__)

FOLDER = ".hummingbird"  # beside the data; hidden, so that it is never taken for data
WORTH = 20_000  # images from which a run keeps their list without being asked to


class Described(NamedTuple):
    """What an index is made of.

    Attributes:
      root: folder of the archives or files, local or in a bucket.
      key: what decides which images there are: name of the data set, split, archives.
      stamp: what changes when the files change, as far as that is cheap to know: sizes of archives.
    """

    root: str
    key: Mapping[str, Any]
    stamp: Mapping[str, Any]

    @property
    def file_name(self) -> str:
        digest = hashlib.sha256(json.dumps([FORMAT, self.key], sort_keys=True).encode()).hexdigest()[:12]
        return f"{self.key['name']}-{digest}.index"

    @property
    def beside(self) -> str:
        """Path of the index beside the data."""
        return f"{self.root}/{FOLDER}/{self.file_name}"

    @property
    def cached(self) -> pathlib.Path:
        """Path of the index in the cache of this host, which depends on the stamp too."""
        cache = os.environ.get("HUMMINGBIRD_CACHE") or os.path.expanduser("~/.cache/hummingbird")
        text = json.dumps([self.root, self.stamp], sort_keys=True)
        return pathlib.Path(cache) / "index" / f"{hashlib.sha256(text.encode()).hexdigest()[:12]}-{self.file_name}"


def find_or_make(what: Described, make: Callable[[], Index], renew: bool = False, keep: bool | None = None) -> Index:
    """Returns the index of a data set: the one that is kept, if it is still true, or a new one.

    Args:
      what: the data set.
      make: lists it.
      renew: list it again, whatever is kept.
      keep: whether to keep a new index; None: if it is large.
    """
    if not renew:
        found = _find(what)
        if found is not None:
            return found
    start = time.perf_counter()
    index = make()
    seconds = time.perf_counter() - start
    if not (len(index) >= WORTH if keep is None else keep):
        return index
    path = _keep(what, index)
    log.info("listed %s images in %.0f s; the list is kept in %s", f"{len(index):,}", seconds, path)
    return load(_fetched(what, path) if is_remote(path) else path)


def is_true(index: Index, what: Described) -> bool:
    """Returns whether an index still describes the files, as far as that is cheap to know."""
    if index.facts.get("stamp") != what.stamp:
        return False
    changed = index.facts.get("changed") or {}  # {local folder: when something was added to it or removed}
    try:
        return all(os.stat(f"{what.root}/{folder}").st_mtime_ns == moment for folder, moment in changed.items())
    except OSError:
        return False


def _find(what: Described) -> Index | None:
    """Returns the kept index if there is one and it is true."""
    local = [str(what.cached)] if is_remote(what.root) else [what.beside, str(what.cached)]
    for path in local:
        if os.path.exists(path):
            index = _load(path)
            if index and is_true(index, what) and (path != str(what.cached) or _is_newest(what, path)):
                return index
    if is_remote(what.root):
        try:
            path = _fetched(what, what.beside)
        except OSError:
            return None
        index = _load(path)
        if index and is_true(index, what):
            return index
    return None


def _is_newest(what: Described, cached: str) -> bool:
    """Returns whether the cached index has the size of the one in the bucket, or the bucket has none."""
    if not is_remote(what.root):
        return True
    try:
        return int(filesystem(what.beside).info(what.beside)["size"]) == os.path.getsize(cached)
    except FileNotFoundError:
        return True


def _load(path: str) -> Index | None:
    try:
        return load(path)
    except UserError as error:
        log.warning("%s", error)
        return None


def _fetched(what: Described, path: str) -> str:
    """Copies an index from a bucket to the cache of this host, whole or not at all. Raises OSError."""
    what.cached.parent.mkdir(parents=True, exist_ok=True)
    part = f"{what.cached}.{os.getpid()}.part"
    try:
        filesystem(path).get_file(path, part)
        os.replace(part, what.cached)
    except OSError:
        raise
    except Exception as error:  # a client's own type
        raise OSError(first_line(error)) from error
    finally:
        if os.path.exists(part):
            os.unlink(part)
    return str(what.cached)


def _keep(what: Described, index: Index) -> str:
    """Writes an index beside the data, else into the cache; returns its path."""
    try:
        if is_remote(what.root):
            what.cached.parent.mkdir(parents=True, exist_ok=True)
            index.save(str(what.cached))
            filesystem(what.beside).put_file(str(what.cached), what.beside)
        else:
            os.makedirs(os.path.dirname(what.beside), exist_ok=True)
            changed = index.facts.get("changed")
            if changed and "" in changed:  # by the line above
                changed[""] = os.stat(what.root).st_mtime_ns
            index.save(what.beside)
        return what.beside
    except Exception as error:  # read-only, or the type of a bucket's client
        log.info("%s cannot be written (%s)", what.beside, first_line(error))
    try:
        what.cached.parent.mkdir(parents=True, exist_ok=True)
        index.save(str(what.cached))
    except OSError as error:
        raise UserError(
            f"the list of images can be kept neither in {what.beside} nor in {what.cached} ({error.strerror}); set"
            " HUMMINGBIRD_CACHE to a folder that can be written"
        ) from error
    return str(what.cached)
