"""The section with everything else in metrics.json: how the numbers came about, a column per encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from hummingbird.retrieval.report.elements import FactRow, Facts
from hummingbird.retrieval.report.runs import Group, Run
from hummingbird.retrieval.results import Result
from hummingbird.run.files import Json
from hummingbird.tasks import WHOLE_IMAGE

TABLES = {
    "metrics": "Scores",
    "encoder": "Encoder",
    "decoder": "Decoder",
    "protocol": "Protocol",
    "memory": "Memory bank",
    "index": "Index",
    "queries": "Queries",
    "seconds": "Time",
    "versions": "Versions",
}


def facts(group: Group) -> Iterator[Facts]:
    """Yields a table per part of metrics.json."""
    tables = []
    for key, title in TABLES.items():
        if key == "metrics" and len(group.runs) == 1:
            continue  # the page starts with them
        rows = fact_rows([column(run, key) for run in group.runs])
        if rows:
            tables.append((title, rows))
    if tables:
        heads = [run.name for run in group.runs] if len(group.runs) > 1 else []
        yield Facts("How it was run", heads, tables)


def differences(group: Group) -> Iterator[Facts]:
    """Yields a table of what differs between runs besides their scores: the encoder, settings and versions."""
    if len(group.runs) == 1:
        return
    configs = [run.result.get("config", {}) for run in group.runs]
    if len({"decoder" in run.result for run in group.runs}) > 1:  # a key that one kind of config lacks is no difference
        shared = set.intersection(*map(set, configs))
        configs = [{key: value for key, value in config.items() if key in shared} for config in configs]
    columns = {
        "Method": [{"what was done": method(run.result)} for run in group.runs],
        "Encoder": [column(run, "encoder") for run in group.runs],
        "Index": [column(run, "index") for run in group.runs],
        "Settings": [{key: text(value) for key, value in config.items()} for config in configs]
        if all(configs)
        else [column(run, "protocol") for run in group.runs],
        "Versions": [column(run, "versions") for run in group.runs],
    }
    tables = [(title, [row for row in fact_rows(texts) if row.span == 1]) for title, texts in columns.items()]
    tables = [(title, rows) for title, rows in tables if rows]
    if tables:
        yield Facts("What differs", [run.name for run in group.runs], tables)


def method(result: Result) -> str:
    """Says in a few words what was done with an encoder."""
    if "decoder" in result:
        decoder = result["decoder"]
        state = "trained" if decoder.get("train_encoder") else "frozen"
        return f"decoder {decoder.get('name')}, {decoder.get('iterations')} steps, {state}"
    return f"{'whole images' if result['task'] in WHOLE_IMAGE else 'dense nearest-neighbour retrieval'}, frozen"


def settings(group: Group) -> Iterator[Facts]:
    """Yields a folded table of all settings by key, as they are typed on the command line."""
    rows = fact_rows([{key: text(x) for key, x in run.result.get("config", {}).items()} for run in group.runs])
    if rows:
        heads = [run.name for run in group.runs] if len(group.runs) > 1 else []
        yield Facts("All settings", heads, [("config key", rows)], folded=True)


def column(run: Run, key: str) -> dict[str, str]:
    """Returns one part of a run's metrics.json as text by name."""
    part = {**run.result}.get(key)
    texts = flatten(part, duration if key == "seconds" else text) if isinstance(part, dict) else {}
    if key == "seconds" and run.result.get("peak_memory_bytes"):
        texts["peak memory"] = size(run.result["peak_memory_bytes"])
    return texts


def fact_rows(columns: list[dict[str, str]]) -> list[FactRow]:
    """Returns a row per name; encoders with the same text share a cell."""
    rows = []
    for name in dict.fromkeys(name for texts in columns for name in texts):
        cells = [texts.get(name, "–") for texts in columns]
        same = len(set(cells)) == 1
        rows.append(FactRow(name, cells[:1] if same else cells, len(cells) if same else 1))
    return rows


def flatten(values: Mapping[str, Json], form: Callable[[Json], str], prefix: str = "") -> dict[str, str]:
    """Returns nested settings as {"a.b": text}."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        name = f"{prefix}{key}".replace("_", " ")
        if key == "per_class_iou":
            continue  # drawn as bars
        if isinstance(value, Mapping):
            flat |= flatten(value, form, f"{prefix}{key}.")
        elif name.endswith("bytes") and isinstance(value, int | float):
            flat[name.removesuffix("bytes").strip() or "size"] = size(value)
        else:
            flat[name] = form(value)
    return flat


def text(value: Json) -> str:
    """Formats a setting for readers.

    Example:
      >>> text(True), text(None), text(0.1234567891), text([1, 2])
      ('yes', '–', '0.123457', '1, 2')
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        # Thin spaces between thousands; four digits read better without one.
        return f"{value:,}".replace(",", "\u202f") if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(text(item) for item in value)
    return str(value)


def size(count: float) -> str:
    """Formats a number of bytes in binary units.

    Example:
      >>> size(100), size(3 * 2**20)
      ('100 B', '3.0 MiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.2f} TiB"


def duration(value: Json) -> str:
    """Formats a number of seconds."""
    return f"{value:.2f} s" if isinstance(value, int | float) else text(value)
