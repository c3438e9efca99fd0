"""Finds the images and videos to segment, and gives each a name among the results."""

from __future__ import annotations

import dataclasses
import functools
import glob
import os
from collections import Counter
from collections.abc import Mapping, Sequence, Set

import PIL.Image
from etils import epath

from hummingbird.data.image_files import SUFFIXES
from hummingbird.data.names import printable, shorten
from hummingbird.data.store import Folder
from hummingbird.errors import UserError

STACKS = (".tif", ".tiff")  # files that may hold several pages
VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv", ".ts", ".mts", ".m2ts", ".3gp")
GLOB = frozenset("*?[")


@dataclasses.dataclass(frozen=True)
class Input:
    """An image or a video to segment.

    Attributes:
      path: of the file.
      source: the path relative to the folder that all inputs share, for people.
      name: of its results, relative to their folders, without suffix.
      pages: images in the file; those of a video are not counted.
    """

    path: str
    source: str
    name: str
    pages: int = 1

    @functools.cached_property
    def key(self) -> str:
        """The absolute path, which identifies the input from run to run."""
        return printable(os.path.realpath(self.path))

    @property
    def is_video(self) -> bool:
        """Whether the suffix is that of a video."""
        return is_video(self.path)

    @property
    def has_frames(self) -> bool:
        """Whether it is a video or has several pages, with a result for each frame or page."""
        return self.is_video or self.pages > 1

    @property
    def stamp(self) -> str:
        """Size and time of the last change; another one means another file. Empty if the file is gone."""
        try:
            found = os.stat(self.path)
        except OSError:  # reading it will report that
            return ""
        return f"{found.st_size}-{found.st_mtime_ns}"


def is_video(path: str) -> bool:
    """Returns whether a path has the suffix of a video."""
    return path.lower().endswith(VIDEOS)


def count_pages(path: str) -> int:
    """Returns how many pages a file has; 1 if that is not known, since reading it will report what is wrong."""
    if not path.lower().endswith(STACKS):
        return 1
    try:
        with PIL.Image.open(path) as picture:
            return int(getattr(picture, "n_frames", 1))
    except Exception:  # Pillow's plugins raise what they like on broken files
        return 1


def find_inputs(given: Sequence[str], skipped: Set[str], out: str, named: Mapping[str, str]) -> list[Input]:
    """Finds the files that --images means, sorted by path.

    Args:
      given: folders (with their sub-folders), files, and patterns such as "frames/*.jpg".
      skipped: real paths that do not count: masks beside the images.
      out: the folder of the results, which does not count either.
      named: names that earlier runs gave, by `Input.key`.

    Raises:
      UserError: nothing there, or a file that is neither image nor video.
    """
    found: dict[str, str] = {}
    folders: list[str] = []
    for text in given:
        paths, folder = _expand(os.path.expanduser(text), text, out)
        folders.append(folder)
        found |= {os.path.realpath(path): path for path in paths}
    kept = sorted(path for real, path in found.items() if real not in skipped)
    if not kept:
        raise UserError(f"--images={' '.join(given)}: no images match; supported are {', '.join((*SUFFIXES, *VIDEOS))}")
    base = folders[0] if len(folders) == 1 else os.path.commonpath([os.path.abspath(folder) for folder in folders])
    inputs = [Input(path, os.path.relpath(path, base).replace(os.sep, "/"), "", count_pages(path)) for path in kept]
    # The name of a file that is gone is free again, so that images which moved keep theirs.
    known = {key: name for key, name in named.items() if os.path.exists(key)}
    names = name_results({x.key: x.source for x in inputs}, known, {x.key for x in inputs if x.has_frames})
    return [dataclasses.replace(x, name=names[x.key]) for x in inputs]


def _expand(path: str, text: str, out: str) -> tuple[list[str], str]:
    """Returns the files that an argument means, and the folder that they are in."""
    if os.path.isdir(path):
        inside = Folder(epath.Path(path)).files()
        files = [os.path.join(path, name) for name in inside if name.lower().endswith((*SUFFIXES, *VIDEOS))]
        results = os.path.realpath(out) + os.sep
        return [name for name in files if not os.path.realpath(name).startswith(results)], path
    if os.path.isfile(path):
        if not path.lower().endswith((*SUFFIXES, *VIDEOS)):
            raise UserError(
                f"--images={text} is neither an image nor a video: its suffix is not one of"
                f" {', '.join((*SUFFIXES, *VIDEOS))}"
            )
        return [path], os.path.dirname(path) or "."
    if not GLOB & set(path):
        raise UserError(f"--images={text} does not exist")
    matching = [name for name in glob.glob(path, recursive=True) if name.lower().endswith((*SUFFIXES, *VIDEOS))]
    fixed: list[str] = []
    for part in path.split(os.sep)[:-1]:
        if GLOB & set(part):
            break
        fixed.append(part)
    return matching, os.sep.join(fixed) or (os.sep if path.startswith(os.sep) else ".")


def name_results(sources: Mapping[str, str], named: Mapping[str, str], whole: Set[str] = frozenset()) -> dict[str, str]:
    """Names the results of each input: its source without suffix, or with it where two would have the same name.

    Videos and files of several pages keep their suffix, so that the folder of their masks is not that of a folder of
    images. Names do not differ by capitals alone, since some file systems take those for the same.

    Args:
      sources: of the inputs, by key.
      named: names that earlier runs gave, by key; they stay.
      whole: keys of inputs that keep their suffix.

    Example:
      >>> files = {"/x/a.jpg": "a.jpg", "/x/a.png": "a.png", "/x/b/c.jpg": "b/c.jpg", "/x/d.mp4": "d.mp4"}
      >>> name_results(files, {}, whole={"/x/d.mp4"})
      {'/x/a.jpg': 'a.jpg', '/x/a.png': 'a.png', '/x/b/c.jpg': 'b/c', '/x/d.mp4': 'd.mp4'}
      >>> name_results({"/x/a.jpg": "a.jpg", "/x/a.png": "a.png"}, {"/x/a.jpg": "a"})
      {'/x/a.jpg': 'a', '/x/a.png': 'a.png'}
    """
    plain = {key: _inside(source) for key, source in sources.items()}
    short = {key: name if key in whole else os.path.splitext(name)[0] for key, name in plain.items()}
    counts = Counter(name.casefold() for name in short.values())
    taken = {name.casefold() for name in named.values()}
    names: dict[str, str] = {}
    for key in sources:
        if key in named:
            names[key] = named[key]
            continue
        candidates = [short[key]] if counts[short[key].casefold()] == 1 else []
        candidates += [plain[key], *(f"{plain[key]} {number}" for number in range(2, len(taken) + len(sources) + 2))]
        names[key] = next(name for name in candidates if name.casefold() not in taken)
        taken.add(names[key].casefold())
    return names


def _inside(source: str) -> str:
    """Returns a source as a path that stays within the folder of the results."""
    return "/".join(part for part in source.split("/") if part not in ("..", ".", ""))


def describe(inputs: Sequence[Input]) -> str:
    """Names the inputs in a few words.

    Example:
      >>> describe([Input("a.jpg", "a.jpg", "a"), Input("b.mp4", "b.mp4", "b.mp4")])
      '1 image (a.jpg), 1 video (b.mp4)'
    """
    parts = []
    for kind, found in (("image", [x for x in inputs if not x.is_video]), ("video", [x for x in inputs if x.is_video])):
        if found:
            names = shorten([printable(x.source) for x in found], most=3)
            parts.append(f"{len(found)} {kind}{'s' if len(found) > 1 else ''} ({names})")
    return ", ".join(parts)
