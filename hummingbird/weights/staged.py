"""Networks of stages in files of other projects: ConvNeXts, Swin transformers, ResNets."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Callable

from hummingbird.errors import UserError
from hummingbird.models.architecture import Architecture
from hummingbird.models.convnext import ConvNeXtArchitecture
from hummingbird.models.resnet import ResNetArchitecture
from hummingbird.models.staged import StagedArchitecture
from hummingbird.models.swin import SwinArchitecture
from hummingbird.weights import convnext, resnet, swin
from hummingbird.weights.assemble import Found
from hummingbird.weights.files import Source
from hummingbird.weights.fits import by_preference, log_choice, shortened
from hummingbird.weights.mapping import Arrays, Read
from hummingbird.weights.settings import Settings, pixels_of_config


@dataclasses.dataclass(frozen=True)
class Kind:
    """How files of a family are recognised and read.

    Attributes:
      architecture: its class.
      anchor: pattern of a name that each network of the family has; group 1 is the prefix of all its names.
      read: brings arrays, by their names without the prefix, into our names.
    """

    architecture: type[StagedArchitecture]
    anchor: re.Pattern[str]
    read: Callable[[Source, Arrays], Read]

    def prefixes(self, arrays: Arrays) -> list[str]:
        """Returns the prefixes of the family's networks, the one that its authors evaluate first."""
        return by_preference(dict.fromkeys(m[1] for name in arrays if (m := self.anchor.fullmatch(name))))


KINDS = {
    "convnext": Kind(ConvNeXtArchitecture, convnext.ANCHOR, convnext.read),
    "swin": Kind(SwinArchitecture, swin.ANCHOR, swin.read),
    "resnet": Kind(ResNetArchitecture, resnet.ANCHOR, resnet.read),
}


def family_of_arrays(arrays: Arrays) -> str | None:
    """Returns the family of stages that arrays belong to, if there is one."""
    return next((name for name, kind in KINDS.items() if kind.prefixes(arrays)), None)


def kind_of(arch: StagedArchitecture | Architecture) -> str:
    """Returns the kind of an architecture, as hummingbird.json names it."""
    return next((name for name, kind in KINDS.items() if kind.architecture is type(arch)), "vit")


def find(source: Source, family: str, given: Settings) -> Found:
    """Finds the network of a family in a file.

    Raises:
      UserError: there is none, or it is incomplete; a setting is given that it does not have.
    """
    prefixes = KINDS[family].prefixes(source.arrays)
    if not prefixes:
        held = shortened(list(source.arrays))
        raise UserError(f"{source.path} does not hold family {family}: its arrays are {held}")
    prefix, *rivals = prefixes
    log_choice(source.path, prefix, rivals)
    names = {name[len(prefix) :]: x for name, x in source.arrays.items() if name.startswith(prefix)}
    try:
        read = KINDS[family].read(source, names)
    except KeyError as error:  # of what the architecture is read off
        raise UserError(f"{source.path} does not fit family {family}; missing: {error.args[0]}") from error
    faults = {"unexpected": read.unexpected, "missing": read.missing}
    if wrong := "; ".join(f"{what}: {shortened(names)}" for what, names in faults.items() if names):
        raise UserError(f"{source.path} does not fit family {family}; {wrong}")
    arch = replaced(source.path, read.arch, given.or_else(pixels_of_config(source)))
    return Found(family, family, prefix, arch, read.arrays)


def replaced(path: pathlib.Path, arch: StagedArchitecture, settings: Settings) -> StagedArchitecture:
    """Returns the architecture with other statistics of pixels; it takes no other settings."""
    known = settings.known()
    if wrong := known.keys() - {"mean", "std"}:
        raise UserError(f"{path}: {arch.called} takes no {', '.join(sorted(wrong))}; leave it out")
    return dataclasses.replace(arch, **known)
