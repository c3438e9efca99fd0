"""The state of one session: its classes, images, strokes and settings, as the sum of the events so far.

Everything that changes a session is an event, a dict with a `type` of `EVENTS`. The page sends events, the server
checks and applies them one after the other and appends them to the session's journal (journal.py). That gives what a
page needs with little code: a killed server replays the journal; two tabs that work on one session receive each
other's events and overwrite nothing; an event that is sent twice, because the answer to the first was lost, counts
once.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

from hummingbird.data.label_files import IGNORE
from hummingbird.errors import UserError
from hummingbird.incontext.app.strokes import Stroke, identifier, number, parse_stroke
from hummingbird.run.files import Json
from hummingbird.tasks.drawing import class_colours, css

Event: TypeAlias = Mapping[str, Json]

MOST_CLASSES = 255  # values of a mask; 255 is void
MOST_STROKES = 5_000  # on one image
LONGEST_NAME = 60
SIDES = ("height", "width", "full_height", "full_width")


@dataclasses.dataclass
class ClassEntry:
    """A class.

    Attributes:
      id: chosen by the page; strokes refer to it.
      value: of its pixels in masks; never given to another class of the session.
      name: shown to people; unique.
      colour: "#rrggbb".
      removed: it can be restored, together with its strokes.
    """

    id: str
    value: int
    name: str
    colour: str
    removed: bool = False


@dataclasses.dataclass
class Picture:
    """An image.

    Attributes:
      id: of its files.
      name: of the file that was opened.
      height, width: pixels that are worked on.
      full_height, full_width: pixels of the file.
      labelled: it came with a mask, over which strokes are painted.
      example: it came with a new session.
      strokes: by id, in the order of painting.
      orders: {stroke id: revision at which it was painted}.
      changed: revision at which its labels changed last.
      removed: it can be restored, together with its strokes.
    """

    id: str
    name: str
    height: int
    width: int
    full_height: int
    full_width: int
    labelled: bool = False
    example: bool = False
    strokes: dict[str, Stroke] = dataclasses.field(default_factory=dict)
    orders: dict[str, int] = dataclasses.field(default_factory=dict)
    changed: int = 0
    removed: bool = False


@dataclasses.dataclass
class Settings:
    """How labels are retrieved.

    Attributes:
      neighbours: k.
      temperature: beta of the softmax over their similarities.
    """

    neighbours: int = 30
    temperature: float = 0.02


LIMITS: dict[str, tuple[float, float]] = {"neighbours": (1, 200), "temperature": (0.005, 1.0)}


class Session:
    """State of a session.

    Attributes:
      revision: number of events so far.
      effective: revision at which the predictions changed last.
      classes, pictures: by id, in the order in which they were added, removed ones among them.
      settings: see there.
    """

    def __init__(self) -> None:
        self.revision = self.effective = 0
        self.classes: dict[str, ClassEntry] = {}
        self.pictures: dict[str, Picture] = {}
        self.settings = Settings()
        self._keys: set[str] = set()

    def apply(self, event: Event) -> Event | None:
        """Applies an event.

        Args:
          event: from the page or the journal; `key` identifies it.

        Returns:
          The event with what the server decides (the value of a class); None if it has been applied before.

        Raises:
          UserError: it is not valid; nothing has changed.
        """
        key, kind = identifier(event, "key"), event.get("type")
        if key in self._keys:
            return None
        if kind not in EVENTS:
            raise UserError(f"event: its type {str(kind)[:40]!r} is unknown; this page may be older than the server")
        done = EVENTS[str(kind)](self, event)
        self.revision += 1
        if kind in EFFECTIVE or event.get("labelled"):
            self.effective = self.revision
        self._keys.add(key)
        return {**done, "revision": self.revision}

    def values(self) -> dict[str, int]:
        """Returns {id: value} of the classes in use."""
        return {entry.id: entry.value for entry in self.classes.values() if not entry.removed}

    def shown(self) -> list[Picture]:
        """Returns the images that are not removed."""
        return [picture for picture in self.pictures.values() if not picture.removed]

    # ------------------------------------------------------------ events
    def _add_class(self, event: Event) -> Event:
        new = identifier(event, "id")
        if new in self.classes:
            raise UserError(f"class {new} exists")
        if len(self.classes) >= MOST_CLASSES:
            raise UserError(f"a session holds at most {MOST_CLASSES} classes, removed ones among them")
        name = self._free_name(event.get("name"))
        values = {entry.value for entry in self.classes.values()}
        value = event.get("value", next(value for value in range(MOST_CLASSES) if value not in values))
        if not isinstance(value, int) or not 0 <= value < IGNORE or value in values:
            raise UserError(f"class {name}: its value {value} is taken or not between 0 and {IGNORE - 1}")
        palette = class_colours([entry.name for entry in self.classes.values()] + [name])
        colour = _colour(event.get("colour") or css(palette[-1]))
        self.classes[new] = ClassEntry(new, value, name, colour)
        return {**event, "name": name, "value": value, "colour": colour}

    def _edit_class(self, event: Event) -> Event:
        entry, done = self._class(event, "id"), dict(event)
        if "name" in event:
            done["name"] = self._free_name(event["name"], entry)
        if "colour" in event:
            done["colour"] = _colour(event["colour"])
        entry.name, entry.colour = str(done.get("name", entry.name)), str(done.get("colour", entry.colour))
        return done

    def _remove_class(self, event: Event) -> Event:
        entry = self._class(event, "id")
        removed = bool(event.get("removed", True))
        if not removed:
            entry.name = self._free_name(entry.name, entry)
        if removed != entry.removed:
            entry.removed = removed
            for picture in self.pictures.values():
                if any(stroke.class_id == entry.id for stroke in picture.strokes.values()) or picture.labelled:
                    picture.changed = self.revision + 1
        return event

    def _add_image(self, event: Event) -> Event:
        new, name = identifier(event, "id"), str(event.get("name", ""))[:200]
        if new in self.pictures:
            raise UserError(f"{name} is already there")
        height, width, full_height, full_width = (int(number(event.get(side), "image")) for side in SIDES)
        self.pictures[new] = Picture(
            new,
            name,
            height,
            width,
            full_height,
            full_width,
            labelled=bool(event.get("labelled")),
            example=bool(event.get("example")),
            changed=self.revision + 1,
        )
        return event

    def _remove_image(self, event: Event) -> Event:
        picture = self._picture(event, "id")
        picture.removed = bool(event.get("removed", True))
        return event

    def _add_stroke(self, event: Event) -> Event:
        picture, fields = self._picture(event, "image"), event.get("stroke")
        if not isinstance(fields, Mapping):
            raise UserError("stroke: it is missing")
        stroke = parse_stroke(fields)
        if stroke.tool != "eraser" and stroke.class_id not in self.values():
            raise UserError("the class of this stroke was removed; restore it or choose another one")
        if stroke.id in picture.strokes:
            raise UserError(f"stroke {stroke.id} exists")
        if len(picture.strokes) >= MOST_STROKES:
            raise UserError(f"{picture.name}: it has {MOST_STROKES:,} strokes; undo some, or fill areas by an outline")
        picture.strokes[stroke.id] = stroke
        picture.orders[stroke.id] = picture.changed = self.revision + 1
        return event

    def _remove_strokes(self, event: Event) -> Event:
        picture, ids = self._picture(event, "image"), event.get("ids")
        if not isinstance(ids, list):
            raise UserError("ids: a list of strokes is expected")
        for stroke in ids:
            if picture.strokes.pop(str(stroke), None) is not None:
                picture.changed = self.revision + 1
        return event

    def _change_settings(self, event: Event) -> Event:
        found = dataclasses.asdict(self.settings)
        for name, (low, high) in LIMITS.items():
            if name in event:
                value = number(event[name], name)
                if not low <= value <= high:
                    raise UserError(f"{name}: {value:g} is not between {low:g} and {high:g}")
                found[name] = type(found[name])(value)
        self.settings = Settings(**found)
        return event

    # ------------------------------------------------------------ looking up
    def _free_name(self, name: Json, but: ClassEntry | None = None) -> str:
        """Returns a class name without surrounding or repeated spaces; UserError if it is empty, long or taken."""
        text = " ".join(str(name or "").split())
        if not 0 < len(text) <= LONGEST_NAME:
            raise UserError(f"a class needs a name of 1 to {LONGEST_NAME} characters")
        others = (entry for entry in self.classes.values() if entry is not but and not entry.removed)
        if any(entry.name.casefold() == text.casefold() for entry in others):
            raise UserError(f"there is a class {text} already; choose another name")
        return text

    def _class(self, event: Event, key: str) -> ClassEntry:
        if (entry := self.classes.get(str(event.get(key)))) is None:
            raise UserError(f"class {str(event.get(key))[:64]} does not exist")
        return entry

    def _picture(self, event: Event, key: str) -> Picture:
        if (picture := self.pictures.get(str(event.get(key)))) is None:
            raise UserError(f"image {str(event.get(key))[:64]} does not exist")
        return picture


EVENTS: dict[str, Callable[[Session, Event], Event]] = {
    "class.add": Session._add_class,
    "class.edit": Session._edit_class,
    "class.remove": Session._remove_class,
    "image.add": Session._add_image,
    "image.remove": Session._remove_image,
    "stroke.add": Session._add_stroke,
    "stroke.remove": Session._remove_strokes,
    "settings": Session._change_settings,
}
EFFECTIVE = ("class.remove", "image.remove", "stroke.add", "stroke.remove", "settings")  # they change predictions
SERVER_ONLY = ("image.add",)  # events that the page may not send


def _colour(text: Json) -> str:
    if not isinstance(text, str) or not re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        raise UserError(f"colour: {str(text)[:40]!r} is not of the form #rrggbb")
    return text.lower()


def describe(session: Session) -> dict[str, Json]:
    """Returns the whole state for the page, as JSON."""
    return {
        "revision": session.revision,
        "effective": session.effective,
        "classes": [dataclasses.asdict(entry) for entry in session.classes.values()],
        "images": [_describe_picture(picture) for picture in session.pictures.values()],
        "settings": dataclasses.asdict(session.settings),
    }


def _describe_picture(picture: Picture) -> dict[str, Json]:
    strokes = [
        {
            "id": stroke.id,
            "tool": stroke.tool,
            "class": stroke.class_id,
            "size": stroke.size,
            "points": list(stroke.points),
            "order": picture.orders[stroke.id],
        }
        for stroke in picture.strokes.values()
    ]
    fields = ("id", "name", *SIDES, "labelled", "example", "removed")
    return {**{name: getattr(picture, name) for name in fields}, "strokes": strokes}
