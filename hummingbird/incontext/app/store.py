"""Sessions on disk: a journal of events and the images, in one folder each, so that a killed server loses nothing.

    WORKDIR/sessions/ID/journal.jsonl           one event a line, appended before the page gets its answer
    WORKDIR/sessions/ID/images/IMAGE.file       the image: the file that was opened, or a smaller copy
    WORKDIR/sessions/ID/images/IMAGE.view.jpg   what the page draws on, and a small one for the overview
    WORKDIR/sessions/ID/images/IMAGE.tile.jpg
    WORKDIR/sessions/ID/images/IMAGE.mask.png   the mask that the image came with, if it did

An image with a side of more than `LARGEST` pixels is worked on in a smaller copy, and its masks are exported at its own
size: an encoder sees 512 pixels of it in any case, and a page that holds labels of 50 million pixels is slow.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import pathlib
import re
import secrets
import threading
from collections.abc import Callable, Iterable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from hummingbird.data.image_files import decode_image, image_size
from hummingbird.data.label_files import IGNORE
from hummingbird.errors import UserError, first_line
from hummingbird.incontext.app.session import SERVER_ONLY, Event, Picture, Session
from hummingbird.incontext.app.strokes import paint
from hummingbird.run.files import write_bytes
from hummingbird.tasks.drawing import fit, resize

MOST_BYTES = 40_000_000  # of an uploaded file
MOST_PIXELS = 50_000_000  # of an image
MOST_IMAGES = 300  # in a session
LARGEST = 2048  # longest side that is worked on, pixels
TILE = 448  # of the pictures of the overview


class SessionFolder:
    """A session with its folder.

    Attributes:
      id: in the address of the page.
      folder: see the module.
      state: the session.
      lock: held while the state changes or is read as a whole.
    """

    def __init__(self, folder: pathlib.Path):
        self.id, self.folder, self.state = folder.name, folder, Session()
        self.lock = threading.RLock()
        self._log: list[Event] = []
        self._listeners: list[Callable[[], None]] = []
        self._replay()

    def _replay(self) -> None:
        """Applies the events of the journal; a last line that a crash cut short is dropped."""
        path = self.folder / "journal.jsonl"
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        if lines and not lines[-1].endswith(b"\n"):
            write_bytes(path, b"".join(lines[:-1]))
            lines.pop()
        for number, line in enumerate(lines, 1):
            try:
                done = self.state.apply(json.loads(line))
            except (UserError, ValueError) as error:
                raise UserError(f"{path}, line {number}: {first_line(error)}; move the file away") from error
            if done is not None:
                self._log.append(done)

    # ------------------------------------------------------------ events
    def append(self, events: Iterable[Event], from_page: bool = False) -> list[str]:
        """Applies events and writes them to the journal.

        Args:
          events: in order.
          from_page: refuse those that only the server may send.

        Returns:
          For each event "", or why it was refused.

        Raises:
          UserError: the journal cannot be written; events up to there are kept.
        """
        answers: list[str] = []
        with self.lock:
            for event in events:
                try:
                    if from_page and event.get("type") in SERVER_ONLY:
                        raise UserError(f"event: {event.get('type')} comes from the server only")
                    done = self.state.apply(event)
                    if done is not None:
                        self._log.append(done)
                        self._write(done)
                    answers.append("")
                except UserError as error:
                    answers.append(str(error))
        self.notify()
        return answers

    def _write(self, event: Event) -> None:
        try:
            with open(self.folder / "journal.jsonl", "ab") as file:
                file.write(json.dumps(event, allow_nan=False).encode() + b"\n")
        except OSError as error:
            raise UserError(
                f"{self.folder} cannot be written ({error.strerror}): what you paint is kept only while the server runs"
            ) from error

    def since(self, revision: int) -> list[Event]:
        """Returns the events after a revision."""
        with self.lock:
            return self._log[max(revision, 0) :]

    def notify(self) -> None:
        """Wakes all who wait for events."""
        for listener in list(self._listeners):
            listener()

    @contextlib.contextmanager
    def listening(self, listener: Callable[[], None]):
        """Calls `listener` after each change, from any thread, until the block ends."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    # ------------------------------------------------------------ images
    def add_image(
        self, data: bytes, name: str, mask: UInt8[np.ndarray, "H W"] | None = None, example: bool = False
    ) -> str:
        """Adds an image and returns its id; the same file again is the same image, and restored if it was removed.

        Args:
          data: an encoded image.
          name: of its file.
          mask: class values, `IGNORE` where void.
          example: the image comes with a new session.

        Raises:
          UserError: not a readable image, too large, or too many.
        """
        if len(data) > MOST_BYTES:
            raise UserError(f"{name} has {len(data):,} bytes; at most {MOST_BYTES:,} are accepted")
        new = hashlib.sha256(data + (b"" if mask is None else mask.tobytes())).hexdigest()[:20]
        known = self.state.pictures.get(new)
        if known is not None:
            if known.removed:
                self.append([{"type": "image.remove", "key": secrets.token_hex(8), "id": new, "removed": False}])
            return new
        if len(self.state.shown()) >= MOST_IMAGES:
            raise UserError(
                f"{name}: a session holds at most {MOST_IMAGES} images; remove some, or use `hummingbird segment`"
            )
        width, height = image_size(data, name)
        if width * height > MOST_PIXELS:
            raise UserError(f"{name} has {width} x {height} pixels; at most {MOST_PIXELS / 1e6:g} million are accepted")
        pixels = decode_image(data, name, lenient=True)
        full, pixels = pixels.shape[:2], fit(pixels, LARGEST, smooth=True)
        if mask is not None and mask.shape != full:
            raise UserError(
                f"{name}: its mask has {mask.shape[1]} x {mask.shape[0]} pixels, it has {full[1]} x {full[0]}"
            )
        height, width = pixels.shape[:2]
        files = {
            ".file": data if pixels.shape[:2] == full else encode_picture(pixels, "PNG"),
            ".view.jpg": encode_picture(pixels, "JPEG"),
            ".tile.jpg": encode_picture(fit(pixels, TILE, smooth=True), "JPEG"),
        }
        if mask is not None:
            files[".mask.png"] = encode_picture(resize(mask, height, width, smooth=False), "PNG")
        for suffix, content in files.items():
            write_bytes(self._path(new, suffix), content)
        sizes = {"height": height, "width": width, "full_height": full[0], "full_width": full[1]}
        event = {"type": "image.add", "key": new, "id": new, "name": name, **sizes}
        refused = self.append([{**event, "labelled": mask is not None, "example": example}])[0]
        if refused:
            raise UserError(refused)
        return new

    def picture(self, image: str) -> Picture:
        """Returns an image of the session; UserError if there is none of this id."""
        if image not in self.state.pictures:
            raise UserError(f"image {image[:64]} does not exist in this session")
        return self.state.pictures[image]

    def file(self, image: str, suffix: str) -> pathlib.Path:
        """Returns the path of a file of an image; see the module. Raises UserError as `picture` does."""
        return self._path(self.picture(image).id, suffix)

    def pixels(self, image: str) -> UInt8[np.ndarray, "H W 3"]:
        """Decodes an image. Raises UserError if its file is gone."""
        picture = self.picture(image)
        try:
            data = self.file(image, ".file").read_bytes()
        except OSError as error:
            raise UserError(f"{picture.name}: its file cannot be read any more ({error.strerror})") from error
        return decode_image(data, picture.name, lenient=True)

    def labels(self, image: str) -> UInt8[np.ndarray, "H W"]:
        """Returns the class values of the pixels of an image, `IGNORE` where nothing is annotated."""
        with self.lock:
            picture, values = self.picture(image), self.state.values()
            strokes = list(picture.strokes.values())
        labels = self.mask(image)
        labels[~np.isin(labels, list(values.values()))] = IGNORE
        paint(labels, strokes, values)
        return labels

    def mask(self, image: str) -> UInt8[np.ndarray, "H W"]:
        """Returns the mask that an image came with, `IGNORE` everywhere if there was none."""
        picture = self.picture(image)
        if not picture.labelled:
            return np.full((picture.height, picture.width), IGNORE, np.uint8)
        with Image.open(self._path(image, ".mask.png")) as opened:
            return np.array(opened, np.uint8)

    def _path(self, image: str, suffix: str) -> pathlib.Path:
        return self.folder / "images" / f"{image}{suffix}"


class Store:
    """All sessions of a server.

    Args:
      workdir: where they are kept; made if missing.
    """

    def __init__(self, workdir: str | os.PathLike[str]):
        self.workdir = pathlib.Path(workdir)
        self._open: dict[str, SessionFolder] = {}
        self._lock = threading.Lock()

    def create(self) -> SessionFolder:
        """Makes an empty session. Raises UserError if the workdir cannot be written."""
        folder = self.workdir / "sessions" / secrets.token_hex(12)
        try:
            (folder / "images").mkdir(parents=True)
        except OSError as error:
            raise UserError(f"{self.workdir} cannot be written ({error.strerror}); name another --workdir") from error
        return self.get(folder.name)

    def get(self, id: str) -> SessionFolder:
        """Returns a session, read from disk if it is not in memory.

        Raises:
          UserError: there is no session of this id, or its journal is damaged.
        """
        with self._lock:
            if id not in self._open:
                folder = self.workdir / "sessions" / id
                if not re.fullmatch(r"[0-9a-f]{24}", id) or not folder.is_dir():
                    raise UserError("this session does not exist on this server; start a new one")
                self._open[id] = SessionFolder(folder)
            return self._open[id]

    def wake(self) -> None:
        """Wakes all who wait for events, so that the server can end."""
        for session in list(self._open.values()):
            session.notify()


def encode_picture(pixels: UInt8[np.ndarray, "H W *C"], format: str) -> bytes:
    """Encodes an array as a picture; PNG quickly rather than small."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format, quality=92, compress_level=1)
    return buffer.getvalue()
