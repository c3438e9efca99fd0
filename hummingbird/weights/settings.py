"""Settings that the JSON files beside weights hold: those of timm, OpenCLIP and transformers."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from hummingbird.errors import UserError
from hummingbird.run.files import Json
from hummingbird.weights.families import FAMILIES
from hummingbird.weights.files import Source


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of an architecture that arrays do not show, as in `Architecture`; None: not known."""

    heads: int | None = None
    grid: tuple[int, int] | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    epsilon: float | None = None
    activation: str | None = None
    resize: str | None = None
    rotary: float | None = None
    rotary_rule: str | None = None
    relative: str | None = None

    def known(self) -> dict[str, Json]:
        """Returns the settings that are known, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def or_else(self, other: Settings) -> Settings:
        """Takes what is not known from `other`.

        Example:
          >>> Settings(heads=3).or_else(Settings(heads=6, epsilon=1e-5)).known()
          {'heads': 3, 'epsilon': 1e-05}
        """
        return dataclasses.replace(other, **self.known())


# timm's names of architectures whose activation is not the exact GELU.
OF_TIMM = {
    r".*quickgelu": "quick_gelu",
    r"vit_((base_patch32|so400m_patch16|giantopt_patch16)_siglip|large_patch16_siglip_(gap_)?512)": "gelu_tanh",
}
# timm's names of architectures with another number of attention heads than others of their width.
HEADS_OF_TIMM = {"vit_giantopt_patch16_siglip": 16, "vit_base_patch16_gap_224": 16}
ACTIVATIONS = {"gelu": "gelu", "quick_gelu": "quick_gelu", "gelu_pytorch_tanh": "gelu_tanh", "silu": "silu"}


def section(source: Source, file: str, *names: str) -> Mapping[str, Json]:
    """Returns the object at `names` in a JSON file beside the arrays; empty where there is none."""
    found: Json = source.config.get(file, {})
    for name in names:
        found = found.get(name, {}) if isinstance(found, Mapping) else {}
    return found if isinstance(found, Mapping) else {}


def hints(source: Source) -> str:
    """Returns names that may hint at the project, in lower case: those of files, and timm's of the architecture."""
    return f"{source.names} {section(source, 'config.json').get('architecture', '')}".lower()


def family_of_config(source: Source) -> str | None:
    """Returns the family that a JSON file beside the arrays names."""
    if "open_clip_config.json" in source.config:
        name = section(source, "open_clip_config.json", "model_cfg", "vision_cfg").get("timm_model_name")
        if name is not None:
            return _family_of_timm(str(name))
        return "clip" if section(source, "open_clip_config.json", "model_cfg").get("quick_gelu") else "openclip"
    config = section(source, "config.json")
    if "architecture" in config:
        return _family_of_timm(str(config["architecture"]))
    kind = config.get("model_type")
    return next((name for name, family in FAMILIES.items() if kind in family.model_types), None)


def _family_of_timm(architecture: str) -> str:
    named = {"vit_pe_": "perception", "eva02_": "eva02", "eva_": "eva", "beitv2_": "beitv2", "beit_": "beit"}
    pooled = "siglip" in architecture and "_gap" not in architecture  # others lack what only SigLIP's files hold
    found = (family for start, family in named.items() if architecture.startswith(start))
    return next(found, "siglip" if pooled else "timm")


def settings_of_config(source: Source, family: str, layout: str) -> Settings:
    """Returns what the JSON files beside the arrays say.

    Raises:
      UserError: the activation that they name is not supported.
    """
    if "architecture" in section(source, "config.json") or "open_clip_config.json" in source.config:
        return _timm(source, family)
    return _transformers(source, layout) if family.startswith("hf_") else Settings()


def pixels_of_config(source: Source) -> Settings:
    """Returns the statistics of pixels that a config of timm, OpenCLIP or transformers states."""
    config = section(source, "config.json")
    stated = section(source, "open_clip_config.json", "preprocess_cfg") or (
        section(source, "config.json", "pretrained_cfg") if "pretrained_cfg" in config else config
    )
    for place in (section(source, "preprocessor_config.json"), stated):
        for names in (("image_mean", "image_std"), ("mean", "std")):
            mean, std = (numbers(place.get(name)) for name in names)
            if len(mean) == len(std) == 3:
                return Settings(mean=(mean[0], mean[1], mean[2]), std=(std[0], std[1], std[2]))
    return Settings()


def input_size(source: Source) -> tuple[int, int] | None:
    """Returns the (height, width) of images that a timm config states."""
    size = numbers(section(source, "config.json", "pretrained_cfg").get("input_size"))
    return (int(size[1]), int(size[2])) if len(size) == 3 else None


def numbers(value: Json) -> list[float]:
    """Returns the numbers of a JSON list; none where it is not one."""
    if not isinstance(value, list):
        return []
    return [float(x) for x in value if isinstance(x, int | float)]


def _transformers(source: Source, layout: str) -> Settings:
    config = section(source, "config.json", "vision_config") or section(source, "config.json")
    heads, epsilon, theta = (config.get(name) for name in ("num_attention_heads", "layer_norm_eps", "rope_theta"))
    activation = None
    if "hidden_act" in config:
        name = str(config["hidden_act"])
        if name not in ACTIVATIONS:
            raise UserError(f"{source.path}: hidden_act {name!r} of its config.json is not supported")
        activation = "silu" if layout.endswith("swiglu") else ACTIVATIONS[name]
    size, patch = numbers(config.get("image_size")), config.get("patch_size")
    return dataclasses.replace(
        pixels_of_config(source),
        heads=heads if isinstance(heads, int) else None,
        epsilon=epsilon if isinstance(epsilon, float) else None,
        activation=activation,
        rotary=float(theta) if isinstance(theta, int | float) else None,
        grid=(int(size[0]) // patch, int(size[1]) // patch) if len(size) == 2 and isinstance(patch, int) else None,
    )


def _timm(source: Source, family: str) -> Settings:
    tower = section(source, "open_clip_config.json", "model_cfg", "vision_cfg")
    width, head_width = tower.get("width"), tower.get("head_width")
    heads = section(source, "config.json", "model_args").get("num_heads")
    if not isinstance(heads, int) and isinstance(width, int) and isinstance(head_width, int):
        heads = width // head_width
    clip = family == "timm" and any(name.endswith("norm_pre.weight") for name in source.arrays)
    name = str(section(source, "config.json").get("architecture") or tower.get("timm_model_name") or "")
    named = next((count for start, count in HEADS_OF_TIMM.items() if name.startswith(start)), None)
    return dataclasses.replace(
        pixels_of_config(source),
        heads=heads if isinstance(heads, int) else named,
        epsilon=1e-5 if clip else None,  # of timm's CLIP towers
        activation=next((choice for pattern, choice in OF_TIMM.items() if re.match(pattern, name)), None),
    )
