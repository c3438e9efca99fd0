"""From the arrays of a file to a family, an architecture and arrays in our names."""

from __future__ import annotations

import dataclasses
import logging
import math
import re
from typing import Any

import numpy as np

from hummingbird.errors import UserError
from hummingbird.weights import convnext
from hummingbird.weights.convnext import ConvNeXtArchitecture
from hummingbird.weights.families import DROPPED, FAMILIES, HEADS, Family
from hummingbird.weights.files import Source
from hummingbird.weights.layouts import LAYOUTS
from hummingbird.weights.mapping import Arrays, Match, match
from hummingbird.weights.vision import Architecture

log = logging.getLogger(__name__)

# Of several networks in one file, the one that its authors evaluate comes first.
PREFERRED = ("teacher", "model_ema", "base_encoder", "img", "params", "visual", "vision_model")


@dataclasses.dataclass
class Found:
    """What a file turned out to hold: arrays in our names, flat ("block_00/norm1/scale")."""

    family: str
    layout: str
    prefix: str
    arch: Architecture | ConvNeXtArchitecture
    arrays: Arrays


@dataclasses.dataclass
class _Fit:
    family: str
    layout: str
    prefix: str
    names: Arrays  # the file's, prefix removed
    match: Match
    unexpected: list[str]

    @property
    def faults(self) -> int:
        return len(self.match.missing) + len(self.match.wrong) + len(self.unexpected)

    def complaint(self) -> str:
        parts = (
            ("missing", self.match.missing),
            ("of the wrong shape", self.match.wrong),
            ("unexpected", self.unexpected),
        )
        return "; ".join(f"{what}: {_some(names)}" for what, names in parts if names)


def recognize(source: Source, family: str | None = None, **known: Any) -> Found:
    """The family, architecture and arrays of what was read.

    Args:
      source: from `files.read`.
      family: a name in `FAMILIES`; None: by config, arrays and file name.
      known: fields of `Architecture` that the user gives (heads, mean, std, grid, resize, ...); they win.

    Raises:
      UserError: no family fits (the closest one is named with what is missing, unexpected or of the wrong shape), or
        several do that differ in what they would compute.
    """
    if family is not None and family not in FAMILIES:
        raise UserError(f"family {family!r} is not known: use one of {', '.join(FAMILIES)}")
    if family == "convnext" or (family is None and convnext.is_convnext(source.arrays)):
        return _convnext(source, known)
    prepared = _prepare(source.arrays)
    fits = [f for name in ([family] if family else FAMILIES) for f in _fits(name, prepared, source.joint)]
    whole = [f for f in fits if not f.faults]
    if family and whole and not FAMILIES[family].possible(whole[0].names):
        raise UserError(f"{source.path} is not of family {family} ({FAMILIES[family].about}); leave the family out")
    if not whole:
        raise UserError(_no_fit(source, fits, family))
    fit = whole[0] if family else _choose(source, whole)
    settings = {**_family_settings(FAMILIES[fit.family]), **_from_config(source, fit), **known}
    return _build(source, fit, settings)


def _convnext(source: Source, known: dict[str, Any]) -> Found:
    if not convnext.is_convnext(source.arrays):
        raise UserError(f"{source.path} does not hold family convnext: its arrays are {_some(list(source.arrays))}")
    prefix, arrays, unexpected = convnext.convert(source.arrays)
    if unexpected:
        raise UserError(f"{source.path} does not fit family convnext; unexpected: {_some(unexpected)}")
    if "stem_conv/kernel" not in arrays:
        raise UserError(f"{source.path} does not fit family convnext; missing: its stem")
    given = _pixels(source) | known
    arch = dataclasses.replace(convnext.architecture(arrays), **given)
    return Found("convnext", "convnext", prefix, arch, arrays)


def _pixels(source: Source) -> dict[str, Any]:
    """Statistics of pixels that a config of timm, OpenCLIP or transformers states."""
    config = source.config.get("config.json", {})
    stated = source.config.get("open_clip_config.json", {}).get("preprocess_cfg") or config.get(
        "pretrained_cfg", config
    )
    for place in (source.config.get("preprocessor_config.json", {}), stated):
        for mean, std in (("image_mean", "image_std"), ("mean", "std")):
            if place.get(mean) and place.get(std):
                return {"mean": tuple(place[mean]), "std": tuple(place[std])}
    return {}


def _prepare(arrays: Arrays) -> Arrays:
    """Undoes two ways of storing: scanned Flax layers are taken apart, and masked biases (DINOv3's keys) are masked."""
    out: Arrays = {}
    for name, x in arrays.items():
        if "/encoderblock/" in name:
            out.update({name.replace("/encoderblock/", f"/encoderblock_{i}/"): x[i] for i in range(len(x))})
        else:
            out[name] = x
    for name in [n for n in out if n.endswith(".bias_mask")]:
        bias = name.removesuffix("_mask")
        if bias in out:
            out[bias] = np.where(out[name] == 0, 0, out[bias])
    return out


def _fits(family: str, arrays: Arrays, joint: str) -> list[_Fit]:
    """How well the arrays fit each layout of a family, under the best prefix; [] where not even the stem is there."""
    fits = []
    for layout in FAMILIES[family].layouts:
        rows = LAYOUTS[layout]
        anchor = rows[0].theirs[0]
        prefixes = [n.removesuffix(anchor) for n in arrays if n.endswith(anchor)]
        prefixes = [p for p in prefixes if not p or p.endswith(joint)]
        candidates = []
        for prefix in sorted(prefixes, key=_rank):
            names = {n[len(prefix) :]: x for n, x in arrays.items() if n.startswith(prefix)}
            matched = match(rows, names)
            unexpected = [n for n in names if n not in matched.used and not DROPPED.fullmatch(n)]
            candidates.append(_Fit(family, layout, prefix, names, matched, unexpected))
        if candidates:
            fits.append(min(candidates, key=lambda f: f.faults))  # the first of equals: the preferred network
    return fits


def _rank(prefix: str) -> tuple[int, int]:
    places = [i for i, word in enumerate(PREFERRED) if re.search(rf"(^|[./]){word}[./]", prefix)]
    return (min(places, default=len(PREFERRED)), len(prefix))


def _choose(source: Source, whole: list[_Fit]) -> _Fit:
    named = _family_of_config(source)
    chosen = [f for f in whole if f.family == named]
    if chosen:
        return chosen[0]
    whole = [f for f in whole if FAMILIES[f.family].possible(f.names) and f.family != "timm"] or whole
    sure = [f for f in whole if _is_sure(f)]
    left = sure or whole
    if _differ(left):
        name = source.path.resolve().name.lower() + " " + source.path.resolve().parent.name.lower()
        said = [f for f in left if re.search(FAMILIES[f.family].names, name)]
        left = said or left
    if _differ(left):
        raise UserError(
            f"{source.path}: its arrays fit the families {', '.join(dict.fromkeys(f.family for f in left))} alike, "
            "which differ in normalisation or positions; say which one: --config.encoder.family=NAME, "
            "or import it with --family=NAME"
        )
    return left[0]


def _is_sure(fit: _Fit) -> bool:
    family = FAMILIES[fit.family]
    return family.sure(fit.names) or bool(re.search(family.prefix, fit.prefix))


def _differ(fits: list[_Fit]) -> bool:
    return len({FAMILIES[f.family].settings for f in fits}) > 1


def _family_of_config(source: Source) -> str | None:
    """The family that a JSON file beside the arrays names."""
    if "open_clip_config.json" in source.config:
        model = source.config["open_clip_config.json"].get("model_cfg", {})
        if "timm_model_name" in model.get("vision_cfg", {}):
            return "siglip" if "siglip" in model["vision_cfg"]["timm_model_name"] else "timm"
        return "clip" if model.get("quick_gelu") else "openclip"
    config = source.config.get("config.json", {})
    if "architecture" in config:
        return "timm"
    kind = config.get("model_type")
    return next((name for name, family in FAMILIES.items() if kind in family.model_types), None)


def _family_settings(family: Family) -> dict[str, Any]:
    names = ("mean", "std", "epsilon", "activation", "resize", "rotary")
    return {name: getattr(family, name) for name in names} | {"heads": dict(family.heads)}


HF_ACTIVATIONS = {"gelu": "gelu", "quick_gelu": "quick_gelu", "gelu_pytorch_tanh": "gelu_tanh", "silu": "silu"}


def _from_config(source: Source, fit: _Fit) -> dict[str, Any]:
    """Settings that the JSON files beside the arrays hold."""
    if fit.family == "timm" or "open_clip_config.json" in source.config:
        return _from_timm(source, fit)
    if not fit.family.startswith("hf_"):
        return {}
    config = source.config.get("config.json", {})
    config = config.get("vision_config", config)
    given: dict[str, Any] = {}
    if "num_attention_heads" in config:
        given["heads"] = config["num_attention_heads"]
    if "layer_norm_eps" in config:
        given["epsilon"] = config["layer_norm_eps"]
    if "hidden_act" in config:
        if config["hidden_act"] not in HF_ACTIVATIONS:
            raise UserError(f"{source.path}: hidden_act {config['hidden_act']!r} of its config.json is not supported")
        given["activation"] = HF_ACTIVATIONS[config["hidden_act"]]
    if fit.layout.endswith("swiglu"):
        given["activation"] = "silu"
    if "rope_theta" in config:
        given["rotary"] = float(config["rope_theta"])
    size, patch = config.get("image_size"), config.get("patch_size")
    if isinstance(size, (list, tuple)) and isinstance(patch, int):
        given["grid"] = (size[0] // patch, size[1] // patch)
    return given | _pixels(source)


def _from_timm(source: Source, fit: _Fit) -> dict[str, Any]:
    given = _pixels(source)
    config, opened = (source.config.get(name, {}) for name in ("config.json", "open_clip_config.json"))
    tower = opened.get("model_cfg", {}).get("vision_cfg", {})
    if "head_width" in tower and "width" in tower:
        given["heads"] = tower["width"] // tower["head_width"]
    if fit.family == "timm" and "norm_pre.weight" in fit.names:
        given["epsilon"] = 1e-5  # timm's CLIP towers
    if "quickgelu" in str(config.get("architecture", "")):
        given["activation"] = "quick_gelu"
    heads = config.get("model_args", {}).get("num_heads")
    return given | ({"heads": heads} if heads else {})


def _build(source: Source, fit: _Fit, settings: dict[str, Any]) -> Found:
    arrays = dict(fit.match.arrays)
    kernel, down = arrays["patch_embed/kernel"], arrays["block_00/mlp/down/kernel"]
    width, mlp_dim = kernel.shape[1], down.shape[0]
    patch = math.isqrt(kernel.shape[0] // 3)
    if 3 * patch * patch != kernel.shape[0]:
        raise UserError(f"{source.path}: its patch embedding takes {kernel.shape[0]} values, not square patches of RGB")
    if "pooled_norm/scale" in arrays:  # timm's models that pool by averaging keep the last norm behind the pooling
        arrays.setdefault("norm/scale", arrays.pop("pooled_norm/scale"))
        arrays.setdefault("norm/bias", arrays.pop("pooled_norm/bias"))
    if "distillation" in arrays:
        token = arrays.pop("distillation")[None]
        arrays["registers"] = np.concatenate([token, *([arrays["registers"]] if "registers" in arrays else [])])
    swiglu = arrays["block_00/mlp/up/kernel"].shape[1] == 2 * mlp_dim
    if swiglu:
        settings["activation"] = "silu"
    if not settings.get("mean") or not settings.get("std"):
        raise UserError(
            f"{source.path}: nothing beside it says how its pixels are normalised; put its config.json or "
            "preprocessor_config.json there, or give mean=(r,g,b) and std=(r,g,b)"
        )
    settings["heads"] = _heads(source, fit, width, settings.get("heads"))
    settings["grid"] = split_positions(source, arrays, settings.get("grid"))
    arch = Architecture(
        patch_size=patch,
        width=width,
        depth=fit.match.depth,
        mlp_dim=mlp_dim,
        cls="cls" in arrays,
        registers=len(arrays["registers"]) if "registers" in arrays else 0,
        swiglu=swiglu,
        positions="learned" if settings["grid"] else "none",
        layer_scale="block_00/scale1" in arrays,
        pre_norm="pre_norm/scale" in arrays,
        final_norm="norm/scale" in arrays,
        patch_bias="patch_embed/bias" in arrays,
        qkv_bias="block_00/attention/qkv/bias" in arrays,
        out_bias="block_00/attention/out/bias" in arrays,
        mlp_bias="block_00/mlp/up/bias" in arrays,
        **settings,
    )
    return Found(fit.family, fit.layout, fit.prefix, arch, arrays)


def _heads(source: Source, fit: _Fit, width: int, given: Any) -> int:
    """Attention heads: given, or from the shapes that show them, or from the width as the project uses it."""
    if isinstance(given, int):
        heads = given
    elif shown := [x.shape[-2] for n, x in fit.names.items() if n.endswith("query/kernel") and x.ndim == 3]:
        heads = shown[0]
    elif "rope_embed.periods" in fit.names:
        heads = width // (4 * len(fit.names["rope_embed.periods"]))
    else:
        heads = (given or {}).get(width) or HEADS.get(width) or (width // 64 if width % 64 == 0 else 0)
    if not heads or width % heads:
        raise UserError(f"{source.path}: {heads or 'an unknown number of'} heads for width {width}; give heads=N")
    return heads


def split_positions(source: Source, arrays: Arrays, grid: Any) -> tuple[int, int] | None:
    """Cuts the rows of the position table that belong to [CLS] and registers off and adds them there."""
    if "positions" not in arrays:
        return None
    table = arrays["positions"]
    registers = len(arrays.get("registers", ()))
    extras = {0, int("cls" in arrays), int("cls" in arrays) + registers}
    for extra in sorted(extras):
        cells = len(table) - extra
        rows, columns = grid or (math.isqrt(cells), math.isqrt(cells))
        if cells and rows * columns == cells:
            break
    else:
        asked = f"a grid of {grid[0]}x{grid[1]}" if grid else "a square image"
        raise UserError(
            f"{source.path}: its {len(table)} positions are not those of {asked}; give grid=(rows, columns)"
        )
    if extra and "cls" in arrays:
        arrays["cls"] = arrays["cls"] + table[0]
    if extra > int("cls" in arrays):
        arrays["registers"] = arrays["registers"] + table[extra - registers : extra]
    arrays["positions"] = table[extra:]
    return rows, columns


def _no_fit(source: Source, fits: list[_Fit], family: str | None) -> str:
    if not fits:
        known = f"family {family}" if family else "any known family (vision transformers and ConvNeXt)"
        return f"{source.path} does not hold {known}: its arrays are {_some(list(source.arrays))}"
    best = min(fits, key=lambda f: f.faults)
    first = f"{source.path} does not fit family {family}" if family else f"{source.path} fits no known family"
    return f"{first}; closest is {best.family} ({best.layout} names, prefix {best.prefix!r}); {best.complaint()}"


def _some(names: list[str], most: int = 4) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
