"""Reads what the page sends: bodies of bounded size, JSON, numbers in addresses."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from starlette.requests import Request

from hummingbird.errors import UserError, first_line
from hummingbird.run.files import Json

MOST_JSON = 4_000_000  # bytes


async def read_body(request: Request, most: int, name: str) -> bytes:
    """Reads a body of at most `most` bytes; UserError, with `name`, if it is larger."""
    parts, length = [], 0
    async for part in request.stream():
        length += len(part)
        if length > most:
            raise UserError(f"{name} has more than {most:,} bytes, the largest accepted")
        parts.append(part)
    return b"".join(parts)


async def read_json(request: Request) -> dict[str, Json]:
    """Reads a body that is a JSON object. Raises UserError for anything else."""
    try:
        content = json.loads(await read_body(request, MOST_JSON, "the request"))
    except ValueError as error:
        raise UserError(f"the request is not JSON: {first_line(error)}") from error
    if not isinstance(content, dict):
        raise UserError("the request is not an object")
    return content


def objects(content: Mapping[str, Json], key: str) -> Sequence[Mapping[str, Json]]:
    """Returns the list of objects under a key; UserError if there is none."""
    found = content.get(key)
    items = [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
    if not isinstance(found, list) or len(items) < len(found):
        raise UserError(f"{key}: a list of objects is expected")
    return items


def integer(request: Request, name: str, default: int | None = None) -> int:
    """Returns an integer in the address. Raises UserError if it is none, or missing without a default."""
    text = request.query_params.get(name, "" if default is None else str(default))
    if not text.removeprefix("-").isdecimal() or len(text) > 15:
        raise UserError(f"{name}: {text[:40]!r} is not an integer")
    return int(text)
