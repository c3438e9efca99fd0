"""Tables of how an evaluation was run: protocol, memory bank, time, versions; a column for each encoder."""

from collections.abc import Callable, Iterator
from typing import Any

from hummingbird.retrieval.report.runs import Group

TABLES = (
    ("Scores", "metrics"),
    ("Encoder", "encoder"),
    ("Protocol", "protocol"),
    ("Memory bank", "memory"),
    ("Queries", "queries"),
    ("Time", "seconds"),
    ("Versions", "versions"),
)


def facts(group: Group) -> Iterator[dict[str, Any]]:
    """Everything in metrics.json that says how the numbers came about."""
    tables = []
    for title, key in TABLES:
        form = seconds if key == "seconds" else text
        if key == "metrics" and len(group.runs) == 1:
            continue  # the page begins with them
        columns = [_flatten(run["metrics"].get(key) or {}, form) for run in group.runs]
        if key == "seconds":
            for column, run in zip(columns, group.runs, strict=True):
                if run["metrics"].get("peak_memory_bytes"):
                    column["peak memory"] = size(run["metrics"]["peak_memory_bytes"])
        names = list(dict.fromkeys(name for column in columns for name in column))
        rows = []
        for name in names:
            values = [column.get(name, "–") for column in columns]
            same = len(set(values)) == 1
            rows.append({"name": name, "cells": values[:1] if same else values, "span": len(values) if same else 1})
        if rows:
            tables.append({"title": title, "rows": rows})
    if tables:
        heads = [run["name"] for run in group.runs] if len(group.runs) > 1 else []
        yield {"kind": "facts", "title": "How it was run", "heads": heads, "tables": tables, "caption": ""}


def _flatten(values: dict, form: Callable[[Any], str], prefix: str = "") -> dict[str, str]:
    """Nested settings as "a.b" -> text."""
    flat = {}
    for key, value in values.items():
        name = f"{prefix}{key}".replace("_", " ")
        if key == "per_class_iou":
            continue  # drawn as bars
        if isinstance(value, dict):
            flat |= _flatten(value, form, f"{prefix}{key}.")
        elif name.endswith("bytes") and isinstance(value, (int, float)):
            flat[name.removesuffix("bytes").strip() or "size"] = size(value)
        else:
            flat[name] = form(value)
    return flat


def text(value: Any) -> str:
    """A setting as a reader wants it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        # Thin spaces between thousands; a four-digit number reads better without.
        return f"{value:,}".replace(",", "\u202f") if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(text(v) for v in value)
    return str(value)


def size(count: float) -> str:
    """Bytes in binary units."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.2f} TiB"


def seconds(value: Any) -> str:
    """A duration."""
    return f"{value:.2f} s" if isinstance(value, (int, float)) else text(value)
