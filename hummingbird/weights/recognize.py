"""Recognises which project weights come from: from the arrays of a file to a family, an architecture and our names."""

from __future__ import annotations

import dataclasses
import re

from hummingbird.errors import UserError
from hummingbird.weights import staged
from hummingbird.weights.assemble import Found, assemble
from hummingbird.weights.families import FAMILIES, Family
from hummingbird.weights.files import Source
from hummingbird.weights.fits import Fit, fits_of, log_choice, prepared, shortened
from hummingbird.weights.mapping import Arrays
from hummingbird.weights.settings import Settings, family_of_config, hints, settings_of_config

UNKNOWN = Settings()
# Words in timm's names that say what arrays do not show.
UNSEEN = {"rope": "rotary positions (RoPE)", "rpn": "layer norms behind its branches"}


def recognize(source: Source, family: str | None = None, prefix: str | None = None, given: Settings = UNKNOWN) -> Found:
    """Finds the family, architecture and arrays of an encoder in a file.

    Args:
      source: from `files.read`.
      family: a name in `FAMILIES`; None: recognised by config, arrays and file name.
      prefix: of the arrays' names, to choose among several networks in a file, for example "state_dict"; None: the
        network that its authors evaluate.
      given: settings that replace those of the file and family.

    Raises:
      UserError: no family fits (the closest one is named with what is missing, unexpected or of the wrong shape), or
        several do that would compute different features.
    """
    if family is not None and family not in FAMILIES:
        raise UserError(f"family {family!r} is not known: use one of {', '.join(FAMILIES)}")
    source = dataclasses.replace(source, arrays=_chosen(source, prefix))
    stages = staged.family_of_arrays(source.arrays) if family is None else family
    if stages in staged.KINDS:
        return staged.find(source, stages, given)
    arrays = prepared(source.arrays)
    fits = [f for name in ([family] if family else FAMILIES) for f in fits_of(name, arrays, source.joint)]
    whole = [f for f in fits if not f.faults]
    if family and whole and not FAMILIES[family].possible(whole[0].names):
        raise UserError(f"{source.path} is not of family {family} ({FAMILIES[family].about}); leave the family out")
    if not whole:
        raise UserError(_no_fit(source, fits, family))
    fit = whole[0] if family else _choose(source, whole)
    if not family:
        _check_name(source, fit.family)
    log_choice(source.path, fit.prefix, fit.rivals)
    stated = settings_of_config(source, fit.family, fit.layout)
    return assemble(source, fit, given.or_else(stated).or_else(_settings_of_family(FAMILIES[fit.family])))


def _chosen(source: Source, prefix: str | None) -> Arrays:
    """Returns the arrays under a prefix (their names stay whole)."""
    if prefix is None:
        return source.arrays
    stem = prefix.rstrip("./") + source.joint if prefix else ""
    arrays = {name: x for name, x in source.arrays.items() if name.startswith(stem)}
    if not arrays:
        raise UserError(f"{source.path}: no array has prefix {prefix!r}; there are {shortened(list(source.arrays))}")
    return arrays


def _choose(source: Source, whole: list[Fit]) -> Fit:
    """Chooses among layouts that fit: by config, by what only one project saves, by file name; else asks."""
    named = family_of_config(source)
    possible = [f for f in whole if FAMILIES[f.family].possible(f.names)]
    if chosen := [f for f in possible if f.family == named]:
        return chosen[0]
    if not possible:
        families = ", ".join(dict.fromkeys(f.family for f in whole))
        raise UserError(f"{source.path} has arrays named as in {families}, but is none of these; it cannot be loaded")
    left = [f for f in possible if f.family != "timm"] or whole
    left = [f for f in left if _is_sure(f)] or left
    if _differ(left):
        names = hints(source)
        left = [f for f in left if re.search(FAMILIES[f.family].names, names)] or left
    if _differ(left):
        families = ", ".join(dict.fromkeys(f.family for f in left))
        raise UserError(
            f"{source.path}: its arrays fit the families {families} alike, which differ in normalisation or "
            "positions; choose one with --config.encoder.family=NAME, or import it with --family=NAME"
        )
    return left[0]


def _check_name(source: Source, family: str) -> None:
    """Raises UserError if a file's name claims something that its arrays do not show and its family does not have."""
    for word, what in UNSEEN.items():
        rotary = word == "rope" and FAMILIES[family].rotary
        if not rotary and re.search(rf"(^|[^a-z]){word}([^a-z]|$)", hints(source)):
            raise UserError(
                f"{source.path} has {what} by its name, which family {family} does not have; it cannot be loaded; give "
                "the family if the name is misleading"
            )


def _is_sure(fit: Fit) -> bool:
    family = FAMILIES[fit.family]
    return family.sure(fit.names) or bool(re.search(family.prefix, fit.prefix))


def _differ(fits: list[Fit]) -> bool:
    return len({FAMILIES[f.family].settings for f in fits}) > 1


def _settings_of_family(family: Family) -> Settings:
    return Settings(
        mean=family.mean,
        std=family.std,
        epsilon=family.epsilon,
        activation=family.activation,
        resize=family.resize,
        rotary=family.rotary,
        rotary_rule=family.rotary_rule,
        relative=family.relative,
    )


def _no_fit(source: Source, fits: list[Fit], family: str | None) -> str:
    if not fits:
        known = f"family {family}" if family else "any known family (vision transformers, ConvNeXt, Swin, ResNet)"
        return f"{source.path} does not hold {known}: its arrays are {shortened(list(source.arrays))}"
    best = min(fits, key=lambda f: f.faults)
    first = f"{source.path} does not fit family {family}" if family else f"{source.path} fits no known family"
    return f"{first}; closest is {best.family} ({best.layout} names, prefix {best.prefix!r}); {best.complaint()}"
