"""Settings that the JSON files beside weights hold: those of timm, OpenCLIP and transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

from hummingbird.errors import UserError
from hummingbird.run.files import Json
from hummingbird.weights.families import FAMILIES
from hummingbird.weights.files import Source


class Known(TypedDict, total=False):
    """Settings of an architecture that arrays do not show; see `Architecture`."""

    heads: int
    grid: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    epsilon: float
    activation: str
    resize: str
    rotary: float


ACTIVATIONS = {"gelu": "gelu", "quick_gelu": "quick_gelu", "gelu_pytorch_tanh": "gelu_tanh", "silu": "silu"}


def section(source: Source, file: str, *names: str) -> Mapping[str, Json]:
    """Returns the object at `names` in a JSON file beside the arrays; empty where there is none."""
    found: Json = source.config.get(file, {})
    for name in names:
        found = found.get(name, {}) if isinstance(found, Mapping) else {}
    return found if isinstance(found, Mapping) else {}


def family_of_config(source: Source) -> str | None:
    """Returns the family that a JSON file beside the arrays names."""
    if "open_clip_config.json" in source.config:
        name = section(source, "open_clip_config.json", "model_cfg", "vision_cfg").get("timm_model_name")
        if name is not None:
            return "siglip" if "siglip" in str(name) else "timm"
        return "clip" if section(source, "open_clip_config.json", "model_cfg").get("quick_gelu") else "openclip"
    config = section(source, "config.json")
    if "architecture" in config:
        return "timm"
    kind = config.get("model_type")
    return next((name for name, family in FAMILIES.items() if kind in family.model_types), None)


def settings_of_config(source: Source, family: str, layout: str) -> Known:
    """Returns what the JSON files beside the arrays say.

    Raises:
      UserError: the activation that they name is not supported.
    """
    if family == "timm" or "open_clip_config.json" in source.config:
        return _timm(source, family)
    return _transformers(source, layout) if family.startswith("hf_") else {}


def pixels_of_config(source: Source) -> Known:
    """Returns the statistics of pixels that a config of timm, OpenCLIP or transformers states."""
    config = section(source, "config.json")
    stated = section(source, "open_clip_config.json", "preprocess_cfg") or (
        section(source, "config.json", "pretrained_cfg") if "pretrained_cfg" in config else config
    )
    for place in (section(source, "preprocessor_config.json"), stated):
        for names in (("image_mean", "image_std"), ("mean", "std")):
            mean, std = (numbers(place.get(name)) for name in names)
            if len(mean) == len(std) == 3:
                return {"mean": (mean[0], mean[1], mean[2]), "std": (std[0], std[1], std[2])}
    return {}


def input_size(source: Source) -> tuple[int, int] | None:
    """Returns the (height, width) of images that a timm config states."""
    size = numbers(section(source, "config.json", "pretrained_cfg").get("input_size"))
    return (int(size[1]), int(size[2])) if len(size) == 3 else None


def numbers(value: Json) -> list[float]:
    """Returns the numbers of a JSON list; none where it is not one."""
    if not isinstance(value, list):
        return []
    return [float(x) for x in value if isinstance(x, int | float)]


def _transformers(source: Source, layout: str) -> Known:
    config = section(source, "config.json", "vision_config") or section(source, "config.json")
    settings = pixels_of_config(source)
    if isinstance(heads := config.get("num_attention_heads"), int):
        settings["heads"] = heads
    if isinstance(epsilon := config.get("layer_norm_eps"), float):
        settings["epsilon"] = epsilon
    if "hidden_act" in config:
        name = str(config["hidden_act"])
        if name not in ACTIVATIONS:
            raise UserError(f"{source.path}: hidden_act {name!r} of its config.json is not supported")
        settings["activation"] = ACTIVATIONS[name]
    if layout.endswith("swiglu"):
        settings["activation"] = "silu"
    if isinstance(theta := config.get("rope_theta"), int | float):
        settings["rotary"] = float(theta)
    size, patch = numbers(config.get("image_size")), config.get("patch_size")
    if len(size) == 2 and isinstance(patch, int):
        settings["grid"] = (int(size[0]) // patch, int(size[1]) // patch)
    return settings


def _timm(source: Source, family: str) -> Known:
    settings = pixels_of_config(source)
    tower = section(source, "open_clip_config.json", "model_cfg", "vision_cfg")
    width, head_width = tower.get("width"), tower.get("head_width")
    if isinstance(width, int) and isinstance(head_width, int):
        settings["heads"] = width // head_width
    if family == "timm" and any(name.endswith("norm_pre.weight") for name in source.arrays):
        settings["epsilon"] = 1e-5  # timm's CLIP towers
    if "quickgelu" in str(section(source, "config.json").get("architecture", "")):
        settings["activation"] = "quick_gelu"
    heads = section(source, "config.json", "model_args").get("num_heads")
    if isinstance(heads, int) and heads:
        settings["heads"] = heads
    return settings
