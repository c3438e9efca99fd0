"""Finds the image that an annotation names: by its path, or the end of it, since folders move."""

from __future__ import annotations

import re
import urllib.parse
from collections import defaultdict

from hummingbird.data.image_files import SUFFIXES
from hummingbird.data.names import printable
from hummingbird.data.store import Store
from hummingbird.errors import UserError

UPLOADED = re.compile(r"[0-9a-f]{8}-")  # what Label Studio puts before the name of an uploaded file


class Images:
    """The image files of a store, found by the names that annotations give them."""

    def __init__(self, store: Store):
        self._where = store.where
        self._by_end: dict[str, list[str]] = defaultdict(list)
        self.paths = [path for path in store.files() if path.lower().endswith(SUFFIXES)]
        for path in self.paths:
            parts = path.split("/")
            for start in range(len(parts)):
                self._by_end["/".join(parts[start:])].append(path)

    def find(self, named: str, beside: str = "") -> str | None:
        """Finds an image.

        Args:
          named: path or URL of the image; it may come from another machine.
          beside: path of the file that names it; an image in the same folder is preferred.

        Returns:
          The path in the store of the only file with the longest possible part of the name; None if there is none.

        Raises:
          UserError: several files end with that part.
        """
        folder = beside.rpartition("/")[0]
        for name in _readings(named):
            parts = name.split("/")
            for start in range(len(parts)):
                end = "/".join(parts[start:])
                found = self._by_end.get(end, [])
                preferred = f"{folder}/{end}" if folder else end
                if preferred in found:
                    return preferred
                if len(found) > 1:
                    both = " and ".join(map(printable, found[:2]))
                    raise UserError(f"{self._where}: {printable(named)} may be {both}; keep one, or rename them")
                if found:
                    return found[0]
        return None


def _readings(named: str) -> list[str]:
    """Returns what the name of an image may mean, the most literal first.

    Example:
      >>> _readings("/data/local-files/?d=photos/my%20cat.jpg")[1]
      'photos/my cat.jpg'
      >>> _readings("/data/upload/3/0123abcd-cat.jpg")[-1]
      'cat.jpg'
    """
    literal = named.replace("\\", "/")
    address = urllib.parse.urlsplit(literal)
    local = urllib.parse.parse_qs(address.query).get("d", [address.path])[0]
    plain = urllib.parse.unquote(local)
    last = UPLOADED.sub("", plain.rpartition("/")[2], count=1)
    return [
        "/".join(part for part in name.split("/") if part not in ("", ".", ".."))
        for name in dict.fromkeys((literal, plain, last))
    ]
