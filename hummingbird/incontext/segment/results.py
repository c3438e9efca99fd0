"""The folder of results: what this command wrote there, what is left to do, and what it must not touch.

`segment.json` holds the settings and the names of all results; it is written before any of them. `journal.jsonl` gets a
line for each finished image or frame, after its files. Files are replaced atomically. A run that is killed therefore
leaves whole files, and the same command resumes: what has a line is kept, what has none is made again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence

from hummingbird.data.names import shorten, side_file
from hummingbird.errors import UserError, first_line
from hummingbird.incontext.segment.inputs import Input
from hummingbird.run import locks
from hummingbird.run.files import Json, write_bytes, write_json

MANIFEST, JOURNAL, LOCK = "segment.json", "journal.jsonl", ".lock"
FORMAT = 1
# Folders of results. The files in them are named after their inputs.
MASKS, OVERLAYS, CONFIDENCE, DEPTH, COLOURED, PICTURES = (
    "masks",
    "overlays",
    "confidence",
    "depth",
    "coloured",
    "pictures",
)
FOLDERS = (MASKS, OVERLAYS, CONFIDENCE, DEPTH, COLOURED, PICTURES)
PAGES = ("index.html", "summary.csv")
PART = re.compile(r"\.\d+\.part$")  # the end of a file that is being written
WHOLE = -1  # number of the "frame" of an image, or of a whole video


@dataclasses.dataclass(frozen=True)
class Entry:
    """A line of the journal: a finished image, a frame, or (`WHOLE`) a finished video.

    Attributes:
      source: key of the input.
      frame: its number, or `WHOLE`.
      stamp: of the input's file.
      files: checksums of the files that were written, by path in the folder.
      facts: what the summary shows.
    """

    source: str
    frame: int
    stamp: str
    files: Mapping[str, int]
    facts: Mapping[str, Json]


@contextlib.contextmanager
def writing(out: str) -> Iterator[None]:
    """Turns errors of the file system into one line."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise UserError(
            f"--out={out} cannot be written ({reason}); what is finished is kept, and the same command resumes"
        ) from error


@contextlib.contextmanager
def hold(out: str) -> Iterator[None]:
    """Keeps other runs out of the folder while the block runs. Raises UserError: it is in use or cannot be written."""
    if os.path.exists(out) and not os.path.isdir(out):
        raise UserError(f"--out={out} is a file; give a folder")
    is_new = not os.path.exists(out)
    with contextlib.ExitStack() as held:
        with writing(out):
            busy = f"--out={out}: another run is writing there"
            held.enter_context(locks.hold(os.path.join(out, LOCK), busy, "wait for it, or name another folder"))
        try:
            yield
        except BaseException:
            if is_new and os.listdir(out) == [LOCK]:
                shutil.rmtree(out)
            raise


class Results:
    """The folder of results of one run.

    Args:
      out: the folder.

    Attributes:
      names: of the results by `Input.key`, as earlier runs gave them.

    Raises:
      UserError: it holds other files, or a manifest that cannot be read.
    """

    def __init__(self, out: str):
        self.out, self._root = out, pathlib.Path(out)
        self._last: dict[tuple[str, int], tuple[str, Entry]] = {}  # identity and entry
        self._identity = ""
        self._manifest = self._read_manifest()
        self.names: dict[str, str] = dict(self._manifest.get("names", {}))
        if self._manifest:
            self._read_journal()

    # ---------------------------------------------------------------- reading
    def _read_manifest(self) -> dict:
        path = self._root / MANIFEST
        if path.exists():
            try:
                found = json.loads(path.read_text())
                if isinstance(found, dict) and found.get("format") == FORMAT:
                    return found
            except (OSError, ValueError):
                pass
            raise UserError(
                f"{path} is not a file of this version of hummingbird segment; name another folder by --out"
            )
        others = (
            sorted(name.name for name in self._root.iterdir() if not side_file(name.name))
            if self._root.is_dir()
            else []
        )
        if others:
            raise UserError(
                f"--out={self.out} holds files that hummingbird segment did not write ({shorten(others)}); name an"
                " empty or new folder"
            )
        return {}

    def _read_journal(self) -> None:
        path = self._root / JOURNAL
        if not path.exists():
            return
        identity, kept = "", 0
        data = path.read_bytes()
        for line in data.splitlines(keepends=True):
            try:
                found = json.loads(line) if line.endswith(b"\n") else None
            except ValueError:
                found = None
            if found is None:  # cut off when the disk was full or the process killed
                break
            kept += len(line)
            if "identity" in found:
                identity = str(found["identity"])
                continue
            entry = Entry(found["source"], found["frame"], found["stamp"], found["files"], found["facts"])
            self._last[entry.source, entry.frame] = (identity, entry)
        self._identity = identity
        if kept < len(data):
            os.truncate(path, kept)

    # ---------------------------------------------------------------- planning
    def plan(self, inputs: Sequence[Input], identity: Mapping[str, Json], about: Mapping[str, Json]) -> None:
        """Claims the names of all results, before anything is written.

        Args:
          inputs: what is segmented.
          identity: all that decides the results; if it has changed, they are made again.
          about: more for the manifest.

        Raises:
          UserError: a result would replace a file that this command did not write, or one that was changed since.
        """
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
        claimed = set(self.names.values())
        foreign = [path for x in inputs if x.name not in claimed for path in self._files_of(x) if path.exists()]
        foreign += [self._root / name for name in PAGES if not self._manifest and (self._root / name).exists()]
        if foreign:
            shown = shorten([str(path.relative_to(self._root)) for path in foreign])
            raise UserError(
                f"--out={self.out}: {shown} would be replaced, which this command did not write; move it, or name"
                " another folder"
            )
        if self._identity != digest:
            self._refuse_changed(digest)
        self.names |= {x.key: x.name for x in inputs}
        self._remove_parts()
        with writing(self.out):
            write_json(
                self._root / MANIFEST,
                {
                    "format": FORMAT,
                    "made_by": "hummingbird segment",
                    "identity": identity,
                    **about,
                    "names": self.names,
                },
            )
            if self._identity != digest:
                self._append({"identity": digest})
        self._identity = digest

    def _files_of(self, x: Input) -> Iterator[pathlib.Path]:
        for folder in FOLDERS:
            place = self._root / folder
            yield from (place / f"{x.name}{suffix}" for suffix in (("", ".mp4") if x.has_frames else (".png", ".jpg")))

    def _remove_parts(self) -> None:
        """Removes what a process left that was killed while it wrote a result."""
        claimed = set(self.names.values())
        for folder in FOLDERS:
            place = self._root / folder
            for part in place.rglob("*.part"):
                whole = PART.sub("", part.relative_to(place).as_posix())
                if {os.path.splitext(whole)[0], whole, os.path.dirname(whole)} & claimed:
                    part.unlink(missing_ok=True)

    def _refuse_changed(self, digest: str) -> None:
        changed = []
        for identity, entry in self._last.values():
            if identity == digest:
                continue
            for path, checksum in entry.files.items():
                file = self._root / path
                if file.exists() and zlib.crc32(file.read_bytes()) != checksum:
                    changed.append(path)
        if changed:
            raise UserError(
                f"--out={self.out}: {shorten(changed)} was changed after this command wrote it, and other settings"
                " would replace it; move it, or name another folder"
            )

    def entry(self, x: Input, frame: int = WHOLE) -> Entry | None:
        """Returns what an earlier run finished under the same settings, if its files are still there."""
        identity, found = self._last.get((x.key, frame), ("", None))
        if found is None or identity != self._identity or found.stamp != x.stamp:
            return None
        return found if all((self._root / path).exists() for path in found.files) else None

    def entries(self, x: Input) -> list[Entry]:
        """Returns the finished frames of a video in order, or the finished image."""
        numbers = sorted(frame for source, frame in self._last if source == x.key and (frame >= 0) == x.has_frames)
        found = [self.entry(x, number) for number in numbers]
        return [entry for entry in found if entry is not None]

    # ---------------------------------------------------------------- writing
    def path(self, name: str) -> pathlib.Path:
        """Returns the path of a result."""
        return self._root / name

    def write(self, x: Input, frame: int, files: Mapping[str, bytes], facts: Mapping[str, Json]) -> None:
        """Writes the files of an image or frame, by path in the folder, then its line in the journal."""
        with writing(self.out):
            for name, content in files.items():
                write_bytes(self._root / name, content)
        self.finish(x, frame, {name: zlib.crc32(content) for name, content in files.items()}, facts)

    def finish(self, x: Input, frame: int, files: Mapping[str, int], facts: Mapping[str, Json]) -> None:
        """Writes the line of an image, a frame or a video; its files are there, with these checksums."""
        entry = Entry(x.key, frame, x.stamp, files, facts)
        with writing(self.out):
            self._append(dataclasses.asdict(entry))
        self._last[entry.source, entry.frame] = (self._identity, entry)

    def write_page(self, name: str, content: str) -> None:
        """Writes the table or the page."""
        with writing(self.out):
            write_bytes(self._root / name, content.encode())

    def _append(self, line: Mapping[str, Json]) -> None:
        with (self._root / JOURNAL).open("a") as file:
            file.write(json.dumps(line) + "\n")
