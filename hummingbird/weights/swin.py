"""Files of Swin transformers, V1 and V2: the original ones, timm's and transformers'."""

from __future__ import annotations

import math
import re

import numpy as np

from hummingbird.errors import UserError
from hummingbird.models.swin import SwinArchitecture
from hummingbird.weights.families import DROPPED
from hummingbird.weights.files import Source
from hummingbird.weights.mapping import Arrays, Read, Row, match
from hummingbird.weights.rows import BLOCK, linear, norm
from hummingbird.weights.settings import hints, numbers, section

ANCHOR = re.compile(r"(|.*?\.)(?:encoder\.)?layers\.0\.blocks\.0\..*(?:relative_position_bias_table|logit_scale)")
_BUFFERS = re.compile(r".*(relative_position_index|relative_coords_table|attn_mask)")
# Names of transformers to those of the original files.
_NAMES = (
    (r"^encoder\.", ""),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.norm\.", "patch_embed.norm."),
    (r"^layernorm\.", "norm."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.self\.(query|key|value)\.", r".attn.\1."),
    (r"\.attention\.self\.continuous_position_bias_mlp\.", ".attn.cpb_mlp."),
    (r"\.attention\.self\.", ".attn."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
)
_AT, _ATTENTION = "blocks.{i}.", BLOCK + "attention/"
_THREE = tuple(f"{_AT}attn.{x}." for x in ("query", "key", "value"))
ROWS = [
    Row("stem/kernel", ("patch_embed.proj.weight",), "conv"),
    Row("stem/bias", ("patch_embed.proj.bias",)),
    *norm("stem_norm", "patch_embed.norm.", optional=True),
    *(row for i in (1, 2, 3) for row in norm(f"shrink_{i}_norm", f"shrink.{i}.norm.", optional=True)),
    *(Row(f"shrink_{i}/kernel", (f"shrink.{i}.reduction.weight",), "linear", True) for i in (1, 2, 3)),
    *norm(BLOCK + "norm1", _AT + "norm1."),
    *linear(_ATTENTION + "out", _AT + "attn.proj."),
    Row(_ATTENTION + "relative", (_AT + "attn.relative_position_bias_table",), optional=True),
    Row(_ATTENTION + "scale", (_AT + "attn.logit_scale",), "token", optional=True),
    *linear(_ATTENTION + "offset_up", _AT + "attn.cpb_mlp.0.", optional=True),
    *linear(_ATTENTION + "offset_down", _AT + "attn.cpb_mlp.2.", optional=True),
    *norm(BLOCK + "norm2", _AT + "norm2."),
    *linear(BLOCK + "mlp/up", _AT + "mlp.fc1."),
    *linear(BLOCK + "mlp/down", _AT + "mlp.fc2."),
    *norm("norm", "norm.", optional=True),
]
_TOGETHER = [
    *linear(_ATTENTION + "qkv", _AT + "attn.qkv."),
    Row(_ATTENTION + "qkv/bias", tuple(f"{_AT}attn.{x}_bias" for x in "qkv"), optional=True),
]
_APART = linear(_ATTENTION + "qkv", *_THREE)


def read(source: Source, names: Arrays) -> Read:
    """Returns a Swin transformer in our names, and what has no place in it or is missing.

    Raises:
      UserError: nothing says how large the windows of a V2 are.
    """
    names = {_renamed(name): x for name, x in names.items()}
    depths = _depths(names)
    late = "layers.0.downsample.reduction.weight" in names  # timm merges cells before a stage, the others after one
    flat: Arrays = {}
    for name, x in names.items():
        if m := re.match(r"layers\.(\d)\.blocks\.(\d+)\.(.*)", name):
            name = f"blocks.{sum(depths[: int(m[1])]) + int(m[2])}.{m[3]}"
        elif m := re.match(r"layers\.(\d)\.downsample\.(.*)", name):
            name = f"shrink.{int(m[1]) + int(late)}.{m[2]}"
        flat[name] = x
    apart = "blocks.0.attn.query.weight" in flat
    matched = match(ROWS + (_APART if apart else _TOGETHER), flat)
    unexpected = [n for n in flat if n not in matched.used and not DROPPED.fullmatch(n) and not _BUFFERS.match(n)]
    return Read(matched.arrays, _architecture(source, names, depths, matched.arrays), unexpected, matched.missing)


def _renamed(name: str) -> str:
    for pattern, replacement in _NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _depths(names: Arrays) -> tuple[int, ...]:
    found = [(int(m[1]), int(m[2])) for n in names if (m := re.match(r"layers\.(\d)\.blocks\.(\d+)\.norm1", n))]
    stages = range(1 + max((stage for stage, _ in found), default=0))
    return tuple(1 + max((i for s, i in found if s == stage), default=-1) for stage in stages)


def _architecture(source: Source, names: Arrays, depths: tuple[int, ...], arrays: Arrays) -> SwinArchitecture:
    first = [f"block_{sum(depths[:stage]):02d}/" for stage in range(len(depths))]
    second = first[0] + "attention/scale" in arrays
    tables = [arrays.get(at + "attention/" + ("scale" if second else "relative"), np.zeros((1, 1))) for at in first]
    if second:
        windows, pretrained = _windows_of_second(source, names, len(depths))
    else:
        windows, pretrained = tuple((math.isqrt(len(table)) + 1) // 2 for table in tables), ()
    return SwinArchitecture(
        depths=depths,
        widths=tuple(arrays[at + "norm1/scale"].shape[0] for at in first),
        stem=math.isqrt(arrays["stem/kernel"].shape[0] // 3) if "stem/kernel" in arrays else 4,
        final_norm="norm/scale" in arrays,
        epsilon=1e-5,
        heads=tuple(table.shape[-1] for table in tables),
        windows=windows,
        second=second,
        pretrained=pretrained,
        qkv_bias=first[0] + "attention/qkv/bias" in arrays,
        stem_norm="stem_norm/scale" in arrays,
    )


def _windows_of_second(source: Source, names: Arrays, stages: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns V2's windows and those of pretraining: from buffers, transformers' config or timm's name."""
    config = section(source, "config.json")
    window, before = config.get("window_size"), numbers(config.get("pretrained_window_sizes"))
    if isinstance(window, int):
        return (window,) * stages, tuple(int(x) for x in before) or (0,) * stages
    tables = [names.get(f"layers.{s}.blocks.0.attn.relative_coords_table") for s in range(stages)]
    shown = [table for table in tables if table is not None]
    if len(shown) == stages:
        windows = tuple((table.shape[1] + 1) // 2 for table in shown)
        # The last offset is log2(8 (w - 1) / (p - 1) + 1) / 3 for windows w, p in pretraining.
        reach = [(2 ** (3 * float(table[0, -1, -1, 0])) - 1) / 8 for table in shown]
        sides = tuple(round((w - 1) / r) + 1 if r > 0 else w for w, r in zip(windows, reach, strict=True))
        return (max(windows),) * stages, sides
    if m := re.search(r"window(\d+)(?:to(\d+))?", hints(source)):
        window = int(m[2] or m[1])
        sides = (*(int(m[1]),) * (stages - 1), int(m[1]) // 2) if m[2] else (0,) * stages
        return (window,) * stages, sides
    raise UserError(
        f"{source.path} is a Swin V2, and nothing says how large its windows are; name it as timm does "
        "(swinv2_tiny_window8_256), or put its config.json beside it"
    )
