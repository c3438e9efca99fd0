"""Weights by their name on the Hugging Face Hub: `hf:ORG/NAME`, `hf:ORG/NAME/FILE` or `timm:NAME.TAG`.

`@REVISION` behind the name chooses a branch, tag or commit; the default is the newest commit of `main`. huggingface_hub
(the extra `hub`) keeps the files in its own cache. Only what the encoder needs is downloaded: one form of the weights
and the JSON files that describe it. What is in the cache needs no network: of a commit nothing is requested, of a
branch only which commit it is, and not even that where the hub is out of reach.
"""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import logging
import os
import pathlib
import posixpath
import re
from collections.abc import Iterator

from hummingbird.errors import UserError, first_line
from hummingbird.weights import files

log = logging.getLogger(__name__)

OWNERS = {"hf": "", "timm": "timm/"}  # kind of name -> what precedes it in the name of the repository
TIMEOUT = 10.0  # seconds until the hub counts as out of reach


class UnreachableError(Exception):
    """The hub does not answer, or may not be asked."""


@dataclasses.dataclass(frozen=True)
class Address:
    """A name on the hub in its parts.

    Attributes:
      name: as the user gave it.
      repository: "ORG/NAME".
      file: path in the repository; empty: the weights that it holds.
      revision: branch, tag or commit; None: the default branch.
      beside: names of files to take as well, where the folder of the weights has them.
    """

    name: str
    repository: str
    file: str
    revision: str | None
    beside: tuple[str, ...] = ()


def is_hub(path: str | os.PathLike[str]) -> bool:
    """Returns whether a checkpoint is named by its place on the hub.

    Example:
      >>> is_hub("hf:facebook/dinov2-base"), is_hub("runs/dino")
      (True, False)
    """
    kind, colon, _ = str(path).partition(":")
    return bool(colon) and kind in OWNERS


def parse(name: str) -> Address:
    """Splits a name on the hub.

    Example:
      >>> parse("timm:vit_small_patch16_224.dino@main").repository
      'timm/vit_small_patch16_224.dino'

    Raises:
      UserError: it is not one.
    """
    kind, _, rest = name.partition(":")
    place, at, revision = rest.partition("@")
    owner, *parts = (OWNERS[kind] + place).split("/")
    if not parts or not all(re.fullmatch(r"[\w.-]+", part) for part in (owner, *parts)) or bool(at) != bool(revision):
        raise UserError(
            f"{name} is not a name on the hub; expected hf:ORG/NAME, hf:ORG/NAME/FILE or timm:NAME.TAG, and @REVISION"
            " behind it to choose a branch, tag or commit"
        )
    return Address(name, f"{owner}/{parts[0]}", "/".join(parts[1:]), revision or None)


def read(name: str) -> files.Source:
    """Downloads what is not in the cache yet, and reads the arrays.

    Raises:
      UserError: as `fetch` and `files.read` raise.
    """
    path, origin = fetch(name)
    return dataclasses.replace(files.read(path), origin=origin)


def fetch(name: str, beside: tuple[str, ...] = ()) -> tuple[pathlib.Path, files.Origin]:
    """Returns the file of weights (or list of shards) of a name on the hub in the cache, and its commit.

    Args:
      name: `hf:ORG/NAME`, for example.
      beside: names of files to download as well, where the folder of the weights has them.

    Raises:
      UserError: the name is malformed; the extra `hub` is not installed; the repository, revision or file is not there
        or not accessible; it holds no weights, or several; the hub is out of reach and the cache lacks them.
    """
    address = dataclasses.replace(parse(name), beside=beside)
    pinned = re.fullmatch(r"[0-9a-f]{40}", address.revision or "")
    try:
        path, folder = (_cached(address) if pinned else None) or _download(address)
    except UnreachableError as reason:
        cached = _cached(address)
        if cached is None:
            raise UserError(
                f"{name} is not in the cache, and the hub is out of reach ({reason}); run the command once with a"
                " network, or download the files elsewhere and give their folder"
            ) from reason
        log.info("%s is taken from the cache: the hub is out of reach (%s)", name, reason)
        path, folder = cached
    log.info("%s: %s of commit %s", name, path.relative_to(folder), folder.name)
    return path, files.Origin(name, folder.name)


def _download(address: Address) -> tuple[pathlib.Path, pathlib.Path]:
    """Downloads the weights; returns their file, and the folder of their commit in the cache."""
    with _translated(address):
        from huggingface_hub import HfApi

        info = HfApi().model_info(address.repository, revision=address.revision, timeout=TIMEOUT)
    if info.gated:
        if cached := _cached(dataclasses.replace(address, revision=info.sha)):
            return cached
        with _translated(address):
            HfApi().auth_check(address.repository)  # before a progress bar is drawn
    return _gather(address, [sibling.rfilename for sibling in info.siblings or ()])


def _cached(address: Address) -> tuple[pathlib.Path, pathlib.Path] | None:
    """Returns what `_download` does; None unless the cache holds it all.

    The cache has to know what the repository holds: without a JSON file that belongs to them, weights may be recognised
    as others.
    """
    try:
        with _translated(address):
            from huggingface_hub import get_cached_repo_tree

            listed = get_cached_repo_tree(address.repository, revision=address.revision)
        return _gather(address, [file.path for file in listed], offline=True)
    except UnreachableError:
        return None


def _gather(address: Address, names: list[str], offline: bool = False) -> tuple[pathlib.Path, pathlib.Path]:
    """Chooses among the files of a repository and has them in the cache; returns as `_download`."""
    found = _chosen(address, names)
    folder = _snapshot(address, found, offline)
    if found[0].endswith(files.SHARDED):
        shards, _ = files.shards_of(folder / found[0])
        _snapshot(address, [posixpath.join(posixpath.dirname(found[0]), shard) for shard in shards], offline)
    return folder / found[0], folder


def _chosen(address: Address, names: list[str]) -> list[str]:
    """Returns the file of weights among `names`, then the JSON files that describe it.

    Raises:
      UserError: there is none, or several.
    """
    top = [name for name in names if "/" not in name]
    choices = [name for name in names if name == address.file] if address.file else files.candidates(top)
    if not choices:
        held = f"; it holds {', '.join(names[:5])}" if names else ""
        what = f"no file {address.file}" if address.file else "no weights that can be read"
        raise UserError(f"{address.name}: the repository {address.repository} has {what}{held}")
    if len(choices) > 1:
        raise UserError(
            f"{address.name}: the repository holds several files of weights ({', '.join(choices[:5])}"
            f"{', ...' if len(choices) > 5 else ''}); choose one with hf:{address.repository}/FILE"
        )
    folder, file = posixpath.split(choices[0])
    beside = [posixpath.basename(name) for name in names if posixpath.dirname(name) == folder]
    kept = [*files.descriptions(beside, file), *(name for name in address.beside if name in beside)]
    return [choices[0], *(posixpath.join(folder, name) for name in kept)]


def _snapshot(address: Address, names: list[str], offline: bool) -> pathlib.Path:
    """Returns the folder of the commit in the cache once it holds these files."""
    with _translated(address):
        from huggingface_hub import snapshot_download

        folder = snapshot_download(
            address.repository,
            revision=address.revision,
            allow_patterns=[glob.escape(name) for name in names],
            local_files_only=offline,
        )
    return pathlib.Path(folder)


@contextlib.contextmanager
def _translated(address: Address) -> Iterator[None]:
    """Turns errors of huggingface_hub into lines for the user, or UnreachableError."""
    name, repository = address.name, address.repository
    try:
        from huggingface_hub import constants, errors
    except ImportError as error:
        raise UserError(
            f"{name} needs the extra `hub`: pip install 'hummingbird-incontext[hub]', or download the files and give"
            " their folder"
        ) from error
    try:
        yield
    except errors.GatedRepoError as error:
        raise UserError(
            f"{name}: access to {repository} has to be requested; do so on {constants.ENDPOINT}/{repository}, then log"
            " in with `hf auth login` or set HF_TOKEN"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(
            f"{name}: the repository {repository} does not exist or is private; check the name"
            f"{' (timm: NAME.TAG)' if name.startswith('timm:') else ''}, or log in with `hf auth login` or HF_TOKEN"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UserError(
            f"{name}: {repository} has no revision {address.revision}; give a branch, tag or commit"
        ) from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status >= 500 or status in (408, 429):
            raise UnreachableError(f"it answers with status {status}") from error
        raise UserError(f"{name}: the hub refuses {repository} ({first_line(error)})") from error
    except errors.HFValidationError as error:
        raise UserError(f"{name} is not a name on the hub ({first_line(error)})") from error
    except errors.OfflineModeIsEnabled as error:
        raise UnreachableError("HF_HUB_OFFLINE is set") from error
    except errors.LocalEntryNotFoundError as error:
        raise UnreachableError(first_line(error)) from error
    except OSError as error:
        raise UserError(f"{name} cannot be stored in {constants.HF_HUB_CACHE} ({first_line(error)})") from error
    except Exception as error:  # those of the HTTP client, which is not the same in all versions
        raise UnreachableError(first_line(error)) from error
