"""How well the arrays of a file fit the layouts of a family, under each prefix that may hold a network."""

from __future__ import annotations

import dataclasses
import logging
import pathlib
import re
from collections.abc import Iterable

import numpy as np

from hummingbird.weights.families import DROPPED, FAMILIES
from hummingbird.weights.layouts import LAYOUTS
from hummingbird.weights.mapping import Arrays, Match, match

log = logging.getLogger(__name__)

# Of several networks in one file, those that their authors evaluate come first: teachers and moving averages.
PREFERRED = (
    "teacher",
    "state_dict_ema",
    "model_ema",
    "base_encoder",
    "target_encoder",
    "ema",
    "encoder_q",
    "img",
    "params",
    "visual",
    "vision_model",
)


@dataclasses.dataclass
class Fit:
    """How well the arrays under a prefix fit a layout.

    Attributes:
      family, layout: names in `FAMILIES` and `LAYOUTS`.
      prefix: of the arrays' names in the file.
      names: the arrays by their names without the prefix.
      match: the arrays in our names, and what is missing or wrong.
      unexpected: names that have no place in the layout.
      rivals: prefixes of networks in the file that fit as well.
    """

    family: str
    layout: str
    prefix: str
    names: Arrays
    match: Match
    unexpected: list[str]
    rivals: tuple[str, ...] = ()

    @property
    def faults(self) -> int:
        """Number of arrays that are missing, wrong or unexpected."""
        return len(self.match.missing) + len(self.match.wrong) + len(self.unexpected)

    def complaint(self) -> str:
        """Names some of the faults."""
        parts = (
            ("missing", self.match.missing),
            ("of the wrong shape", self.match.wrong),
            ("unexpected", self.unexpected),
        )
        return "; ".join(f"{what}: {shortened(names)}" for what, names in parts if names)


def prepared(arrays: Arrays) -> Arrays:
    """Undoes ways of storing: scanned Flax layers, blocks in chunks (DINOv2), masked biases (DINOv3's keys).

    The last norm of transformers' BeitForMaskedImageModeling lies beside the encoder.
    """
    out: Arrays = {}
    for name, x in arrays.items():
        if "/encoderblock/" in name:
            out.update({name.replace("/encoderblock/", f"/encoderblock_{i}/"): x[i] for i in range(len(x))})
        else:
            out[re.sub(r"(^|\.)blocks\.\d+\.(\d+)\.", r"\1blocks.\2.", name)] = x
    if "beit.embeddings.cls_token" in out and "layernorm.weight" in out:
        out |= {f"beit.layernorm.{part}": out[f"layernorm.{part}"] for part in ("weight", "bias")}
    for name in [n for n in out if n.endswith(".bias_mask")]:
        bias = name.removesuffix("_mask")
        if bias in out:
            out[bias] = np.where(out[name] == 0, 0, out[bias])
    return out


def fits_of(family: str, arrays: Arrays, joint: str) -> list[Fit]:
    """Fits the arrays to each layout of a family, under the best prefix; none where not even the stem is found."""
    fits: list[Fit] = []
    for layout in FAMILIES[family].layouts:
        rows = LAYOUTS[layout]
        anchor = rows[0].theirs[0]
        prefixes = [n.removesuffix(anchor) for n in arrays if n.endswith(anchor)]
        candidates: list[Fit] = []
        for prefix in by_preference(p for p in prefixes if not p or p.endswith(joint)):
            names = {n[len(prefix) :]: x for n, x in arrays.items() if n.startswith(prefix)}
            matched = match(rows, names)
            unexpected = [n for n in names if n not in matched.used and not DROPPED.fullmatch(n)]
            candidates.append(Fit(family, layout, prefix, names, matched, unexpected))
        if candidates:
            best = min(candidates, key=lambda f: f.faults)  # the first of equals: the preferred network
            best.rivals = tuple(f.prefix for f in candidates if f.faults == best.faults and f is not best)
            fits.append(best)
    return fits


def by_preference(prefixes: Iterable[str]) -> list[str]:
    """Sorts prefixes of networks: those that their authors evaluate first, then the shortest.

    Example:
      >>> by_preference(["model.", "model_ema.", "module.encoder_k.", "module.encoder_q."])
      ['model_ema.', 'module.encoder_q.', 'model.', 'module.encoder_k.']
    """
    return sorted(prefixes, key=_rank)


def log_choice(path: pathlib.Path, prefix: str, rivals: Iterable[str]) -> None:
    """Logs which of several networks in a file is used."""
    if rest := ", ".join(repr(other) for other in rivals):
        log.info("%s holds several networks: %r is used, not %s (prefix= chooses)", path, prefix, rest)


def _rank(prefix: str) -> tuple[int, int]:
    places = [i for i, word in enumerate(PREFERRED) if re.search(rf"(^|[./]){word}[./]", prefix)]
    return (min(places, default=len(PREFERRED)), len(prefix))


def shortened(names: list[str], most: int = 4) -> str:
    """Lists the first names and counts the rest.

    Example:
      >>> shortened(["a", "b", "c"], most=2)
      'a, b and 1 more'
    """
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
