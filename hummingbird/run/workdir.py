"""Guards a workdir: a run never writes into another run's folder or into one that holds unrelated files."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping

import jax
from etils import epath

from hummingbird.config import declared
from hummingbird.config.schema import Value
from hummingbird.errors import UserError, first_line
from hummingbird.run import checkpoint, locks
from hummingbird.run.compiled import COMPILED
from hummingbird.run.files import write_json

CONFIG = "config.json"
LOCK = ".lock"
# A setting that the config of such a run always has.
MARKS = {"pretrain": "context.bank_length", "finetune": "decoder.name"}


def check(folder: epath.Path, config: Mapping[str, Value], kind: str = "pretrain") -> None:
    """Compares the config of the run in `folder`, if there is one, with this run's; writes nothing.

    Settings that were added since are not compared, so that old runs can be resumed. Nor is `data.*`, since a data set
    may move: the input pipeline compares fingerprints instead.

    Args:
      folder: the workdir; need not exist.
      config: this run's flat config.
      kind: of the config, a key of `MARKS`.

    Raises:
      UserError: the folder holds something else, or a run whose config differs in a key that may not change.
    """
    with _one_line(folder, "read"):
        if (folder / CONFIG).exists():
            saved = _read(folder / CONFIG, kind)
            # A setting that was added since had its default.
            fixed = {
                k: saved.get(k, s.default)
                for k, s in declared(kind).items()
                if not (s.resumable or k.startswith("data."))
            }
            changed = [k for k, value in fixed.items() if value != config[k]]
            if changed:
                shown = "; ".join(f"{k}: {fixed[k]!r} there, {config[k]!r} here" for k in changed)
                raise UserError(f"workdir {folder} holds a run with another config ({shown}); use another workdir")
        elif (
            folder.exists()
            and not checkpoint.steps(folder)
            and any(p.name not in (LOCK, COMPILED) for p in folder.iterdir())
        ):
            raise UserError(f"workdir {folder} is not empty and holds no run; use an empty or new folder")


@contextlib.contextmanager
def hold(folder: epath.Path) -> Iterator[None]:
    """Keeps every other run out of a workdir until the block ends or the process dies.

    Process 0 holds the lock for all processes of a run. A bucket has no locks: there, two runs in one workdir are not
    noticed.

    Args:
      folder: the workdir; made if missing, and removed again if the block fails before anything is written to it.

    Raises:
      UserError: another run holds the workdir, or it cannot be written.
    """
    if jax.process_index() or "://" in os.fspath(folder):
        yield
        return
    is_new = not folder.exists()
    with contextlib.ExitStack() as held:
        with _one_line(folder, "written"):
            busy, advice = f"workdir {folder}: another run is using it", "wait for it, or use another workdir"
            held.enter_context(locks.hold(folder / LOCK, busy, advice))
        try:
            yield
        except BaseException:
            if is_new and [p.name for p in folder.iterdir()] == [LOCK]:
                folder.rmtree()
            raise


def recorded(folder: epath.Path, key: str) -> Value:
    """Returns a setting of the run in `folder`; None if there is no run or it does not have the setting."""
    path = folder / CONFIG
    return _read(path).get(key) if path.exists() else None


def claim(folder: epath.Path, config: Mapping[str, Value]) -> None:
    """Makes the folder and writes config.json.

    Raises:
      UserError: it cannot be written.
    """
    with _one_line(folder, "written"):
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / CONFIG, config)


@contextlib.contextmanager
def _one_line(folder: epath.Path, verb: str) -> Iterator[None]:
    """Turns the exceptions of file systems and bucket clients into a UserError: "workdir ... cannot be `verb`"."""
    try:
        yield
    except ImportError as error:
        raise UserError(f"workdir {folder} needs the client of that bucket: {first_line(error)}") from error
    except OSError as error:
        raise UserError(f"workdir {folder} cannot be {verb}: {error.strerror or first_line(error)}") from error
    except Exception as error:  # clients raise types of their own for wrong credentials and names
        if "://" not in os.fspath(folder) or isinstance(error, UserError):
            raise
        raise UserError(f"workdir {folder} cannot be {verb}: {first_line(error)}") from error


def _read(path: epath.Path, kind: str = "pretrain") -> dict[str, Value]:
    """Reads the flat config at `path`; UserError if it is not a config of this kind."""
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is not a config of this project ({first_line(error)}); use another workdir") from error
    found = [name for name, key in MARKS.items() if isinstance(content, dict) and key in content]
    if kind not in found:
        what = f"belongs to `hummingbird {found[0]}`" if found else "is not a config of this project"
        raise UserError(f"{path} {what}; use another workdir")
    return {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}  # JSON has no tuples
