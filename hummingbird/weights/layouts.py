"""Layouts: how each project names and shapes the arrays of a vision transformer, one list of rows each."""

from __future__ import annotations

from hummingbird.weights.flax_layouts import FLAX
from hummingbird.weights.mapping import Row
from hummingbird.weights.rows import BLOCK, linear, norm, patch

_LAYER = "blocks.{i}."


def _timm() -> list[Row]:
    return [
        *patch("patch_embed.proj."),
        Row("positions", ("pos_embed",), "tokens", optional=True),
        Row("cls", ("cls_token",), "token", optional=True),
        *norm("pre_norm", "norm_pre.", optional=True),
        *norm(BLOCK + "norm1", _LAYER + "norm1."),
        *linear(BLOCK + "attention/qkv", _LAYER + "attn.qkv."),
        *linear(BLOCK + "attention/out", _LAYER + "attn.proj."),
        *norm(BLOCK + "norm2", _LAYER + "norm2."),
        *norm("norm", "norm.", optional=True),
    ]


_TIMM_MLP = [*linear(BLOCK + "mlp/up", _LAYER + "mlp.fc1."), *linear(BLOCK + "mlp/down", _LAYER + "mlp.fc2.")]
_TIMM_SCALE = [Row(f"{BLOCK}scale{n}", (f"{_LAYER}ls{n}.gamma",), optional=True) for n in (1, 2)]
_HF_LAYER, _CLIP_LAYER, _OPEN_LAYER = "encoder.layer.{i}.", "encoder.layers.{i}.", "transformer.resblocks.{i}."


def _scales(theirs: str) -> list[Row]:
    return [Row(f"{BLOCK}scale{n}", (theirs.replace("{n}", str(n)),), optional=True) for n in (1, 2)]


def _hf_attention(base: str) -> list[Row]:
    return [
        *linear(BLOCK + "attention/qkv", *(f"{base}attention.attention.{x}." for x in ("query", "key", "value"))),
        *linear(BLOCK + "attention/out", base + "attention.output.dense."),
    ]


def _hf_stem(positions: str = "tokens") -> list[Row]:
    return [
        *patch("embeddings.patch_embeddings.projection."),
        Row("positions", ("embeddings.position_embeddings",), positions),
        Row("cls", ("embeddings.cls_token",), "token", optional=True),
        *norm("norm", "layernorm."),
    ]


_DINOV2_HF = [
    *_hf_stem(),
    Row("registers", ("embeddings.register_tokens",), "tokens", optional=True),
    *norm(BLOCK + "norm1", _HF_LAYER + "norm1."),
    *_hf_attention(_HF_LAYER),
    *(Row(f"{BLOCK}scale{n}", (f"{_HF_LAYER}layer_scale{n}.lambda1",)) for n in (1, 2)),
    *norm(BLOCK + "norm2", _HF_LAYER + "norm2."),
]


_HF_PLAIN = [
    *norm(BLOCK + "norm1", _HF_LAYER + "layernorm_before."),
    *_hf_attention(_HF_LAYER),
    *norm(BLOCK + "norm2", _HF_LAYER + "layernorm_after."),
    *linear(BLOCK + "mlp/up", _HF_LAYER + "intermediate.dense."),
    *linear(BLOCK + "mlp/down", _HF_LAYER + "output.dense."),
]


def _relative(layer: str, shared: str) -> list[Row]:
    """A table for each layer, or one for all, which each layer gets a copy of."""
    table = "relative_position_bias_table"
    return [Row(BLOCK + "attention/relative", (place + table,), optional=True) for place in (layer, shared)]


def _eva02(bias: str, inner: str, mlp: tuple[str, str, str, str]) -> list[Row]:
    gate, value, between, down = mlp
    biases = tuple(_LAYER + "attn." + bias.replace("q", x, 1) for x in "qkv")
    return [
        *patch("patch_embed.proj."),
        Row("positions", ("pos_embed",), "tokens"),
        Row("cls", ("cls_token",), "token"),
        *norm(BLOCK + "norm1", _LAYER + "norm1."),
        Row(BLOCK + "attention/qkv/kernel", tuple(f"{_LAYER}attn.{x}_proj.weight" for x in "qkv"), "linear"),
        Row(BLOCK + "attention/qkv/bias", biases, optional=True),
        *norm(BLOCK + "attention/norm", f"{_LAYER}attn.{inner}.", optional=True),
        *linear(BLOCK + "attention/out", _LAYER + "attn.proj."),
        *norm(BLOCK + "norm2", _LAYER + "norm2."),
        *linear(BLOCK + "mlp/up", f"{_LAYER}mlp.{gate}.", f"{_LAYER}mlp.{value}."),
        *norm(BLOCK + "mlp/norm", f"{_LAYER}mlp.{between}.", optional=True),
        *linear(BLOCK + "mlp/down", f"{_LAYER}mlp.{down}."),
        *norm("norm", "norm.", optional=True),
        *norm("pooled_norm", "fc_norm.", optional=True),
    ]


def _clip(stem: list[Row], cls: bool) -> list[Row]:
    layer = _CLIP_LAYER
    return [
        *stem,
        Row("positions", ("embeddings.position_embedding.weight",), "rows"),
        *([Row("cls", ("embeddings.class_embedding",)), *norm("pre_norm", "pre_layrnorm.")] if cls else []),
        *norm(BLOCK + "norm1", layer + "layer_norm1."),
        *linear(BLOCK + "attention/qkv", *(f"{layer}self_attn.{x}_proj." for x in "qkv")),
        *linear(BLOCK + "attention/out", layer + "self_attn.out_proj."),
        *norm(BLOCK + "norm2", layer + "layer_norm2."),
        *linear(BLOCK + "mlp/up", layer + "mlp.fc1."),
        *linear(BLOCK + "mlp/down", layer + "mlp.fc2."),
        *norm("norm", "post_layernorm."),
    ]


def _open_clip(last_norm_optional: bool = False) -> list[Row]:
    return [
        *patch("conv1."),
        Row("positions", ("positional_embedding",), "rows"),
        Row("cls", ("class_embedding",)),
        *norm("pre_norm", "ln_pre.", optional=True),
        *norm(BLOCK + "norm1", _OPEN_LAYER + "ln_1."),
        Row(BLOCK + "attention/qkv/kernel", (_OPEN_LAYER + "attn.in_proj_weight",), "linear"),
        Row(BLOCK + "attention/qkv/bias", (_OPEN_LAYER + "attn.in_proj_bias",)),
        *linear(BLOCK + "attention/out", _OPEN_LAYER + "attn.out_proj."),
        *(Row(f"{BLOCK}scale{n}", (f"{_OPEN_LAYER}ls_{n}.gamma",), optional=True) for n in (1, 2)),
        *norm(BLOCK + "norm2", _OPEN_LAYER + "ln_2."),
        *linear(BLOCK + "mlp/up", _OPEN_LAYER + "mlp.c_fc."),
        *linear(BLOCK + "mlp/down", _OPEN_LAYER + "mlp.c_proj."),
        *norm("norm", "ln_post.", optional=last_norm_optional),
    ]


LAYOUTS: dict[str, list[Row]] = {
    "timm": [
        *_timm(),
        Row("registers", ("reg_token",), "tokens", optional=True),
        Row("distillation", ("dist_token",), "token", optional=True),  # DeiT's; becomes a register
        *norm("pooled_norm", "fc_norm.", optional=True),
        *_TIMM_SCALE,
        *_TIMM_MLP,
    ],
    "deit3": [*_timm(), *(Row(f"{BLOCK}scale{n}", (f"{_LAYER}gamma_{n}",)) for n in (1, 2)), *_TIMM_MLP],
    "dinov2": [*_timm(), Row("registers", ("register_tokens",), "tokens", optional=True), *_TIMM_SCALE, *_TIMM_MLP],
    "dinov2_swiglu": [
        *_timm(),
        Row("registers", ("register_tokens",), "tokens", optional=True),
        *_TIMM_SCALE,
        *linear(BLOCK + "mlp/up", _LAYER + "mlp.w12."),
        *linear(BLOCK + "mlp/down", _LAYER + "mlp.w3."),
    ],
    "dinov3": [*_timm(), Row("registers", ("storage_tokens",), "tokens"), *_TIMM_SCALE, *_TIMM_MLP],
    "dinov3_swiglu": [
        *_timm(),
        Row("registers", ("storage_tokens",), "tokens"),
        *_TIMM_SCALE,
        *linear(BLOCK + "mlp/up", _LAYER + "mlp.w1.", _LAYER + "mlp.w2."),
        *linear(BLOCK + "mlp/down", _LAYER + "mlp.w3."),
    ],
    **{
        f"timm_dinov3{name}": [
            *patch("patch_embed.proj."),
            Row("cls", ("cls_token",), "token"),
            Row("registers", ("reg_token",), "tokens"),
            *norm(BLOCK + "norm1", _LAYER + "norm1."),
            Row(BLOCK + "attention/qkv/kernel", (_LAYER + "attn.qkv.weight",), "linear"),
            Row(BLOCK + "attention/qkv/bias", tuple(f"{_LAYER}attn.{x}_bias" for x in "qkv"), optional=True),
            *linear(BLOCK + "attention/out", _LAYER + "attn.proj."),
            *(Row(f"{BLOCK}scale{n}", (f"{_LAYER}gamma_{n}",)) for n in (1, 2)),
            *norm(BLOCK + "norm2", _LAYER + "norm2."),
            *linear(BLOCK + "mlp/up", *(f"{_LAYER}mlp.{x}." for x in up)),
            *linear(BLOCK + "mlp/down", _LAYER + "mlp.fc2."),
            *norm("norm", "norm."),
        ]
        for name, up in {"": ("fc1",), "_swiglu": ("fc1_g", "fc1_x")}.items()
    },
    "beit": [
        *patch("patch_embed.proj."),
        Row("positions", ("pos_embed",), "tokens", optional=True),
        Row("cls", ("cls_token",), "token"),
        *norm(BLOCK + "norm1", _LAYER + "norm1."),
        Row(BLOCK + "attention/qkv/kernel", (_LAYER + "attn.qkv.weight",), "linear"),
        Row(BLOCK + "attention/qkv/bias", tuple(f"{_LAYER}attn.{x}_bias" for x in "qkv"), optional=True),
        *_relative(_LAYER + "attn.", "rel_pos_bias."),
        *linear(BLOCK + "attention/out", _LAYER + "attn.proj."),
        *_scales(_LAYER + "gamma_{n}"),
        *norm(BLOCK + "norm2", _LAYER + "norm2."),
        *_TIMM_MLP,
        *norm("norm", "norm.", optional=True),
        *norm("pooled_norm", "fc_norm.", optional=True),
    ],
    "eva02": _eva02("q_proj.bias", "norm", ("fc1_g", "fc1_x", "norm", "fc2")),
    "eva02_original": _eva02("q_bias", "inner_attn_ln", ("w1", "w2", "ffn_ln", "w3")),
    "tips": [
        *_timm(),
        Row("registers", ("register_tokens",), "tokens"),
        *_TIMM_SCALE,
        *linear(BLOCK + "mlp/up", _LAYER + "mlp.c_fc."),
        *linear(BLOCK + "mlp/down", _LAYER + "mlp.c_proj."),
    ],
    "radio": [
        Row("patch_embed/kernel", ("patch_generator.embedder.weight",), "patch_rows"),
        Row("prefix", ("patch_generator.cls_token.token",)),  # [CLS] tokens and registers
        Row("positions", ("patch_generator.pos_embed",), "tokens"),
        *norm(BLOCK + "norm1", _LAYER + "norm1."),
        *linear(BLOCK + "attention/qkv", _LAYER + "attn.qkv."),
        *linear(BLOCK + "attention/out", _LAYER + "attn.proj."),
        *_scales(_LAYER + "layer_scale{n}.lambda1"),
        *norm(BLOCK + "norm2", _LAYER + "norm2."),
        *_TIMM_MLP,
        *norm("norm", "norm.", optional=True),
    ],
    "hf_vit": [*_hf_stem(), *_HF_PLAIN],
    "hf_beit": [
        *patch("embeddings.patch_embeddings.projection."),
        Row("positions", ("embeddings.position_embeddings",), "tokens", optional=True),
        Row("cls", ("embeddings.cls_token",), "token"),
        *_HF_PLAIN,
        *_relative(_HF_LAYER + "attention.attention.relative_position_bias.", "encoder.relative_position_bias."),
        *(Row(f"{BLOCK}scale{n}", (f"{_HF_LAYER}lambda_{n}",), optional=True) for n in (1, 2)),
        *norm("norm", "layernorm.", optional=True),
        *norm("pooled_norm", "pooler.layernorm.", optional=True),
    ],
    "hf_dinov2": [
        *_DINOV2_HF,
        *linear(BLOCK + "mlp/up", _HF_LAYER + "mlp.fc1."),
        *linear(BLOCK + "mlp/down", _HF_LAYER + "mlp.fc2."),
    ],
    "hf_dinov2_swiglu": [
        *_DINOV2_HF,
        *linear(BLOCK + "mlp/up", _HF_LAYER + "mlp.weights_in."),
        *linear(BLOCK + "mlp/down", _HF_LAYER + "mlp.weights_out."),
    ],
    **{
        f"hf_dinov3{name}": [
            *patch("embeddings.patch_embeddings."),
            Row("cls", ("embeddings.cls_token",), "token"),
            Row("registers", ("embeddings.register_tokens",), "tokens", optional=True),
            *norm(BLOCK + "norm1", "layer.{i}.norm1."),
            *linear(BLOCK + "attention/qkv", *(f"layer.{{i}}.attention.{x}_proj." for x in "qkv")),
            *linear(BLOCK + "attention/out", "layer.{i}.attention.o_proj."),
            *(Row(f"{BLOCK}scale{n}", (f"layer.{{i}}.layer_scale{n}.lambda1",)) for n in (1, 2)),
            *norm(BLOCK + "norm2", "layer.{i}.norm2."),
            *linear(BLOCK + "mlp/up", *(f"layer.{{i}}.mlp.{x}_proj." for x in up)),
            *linear(BLOCK + "mlp/down", "layer.{i}.mlp.down_proj."),
            *norm("norm", "norm."),
        ]
        for name, up in {"": ("up",), "_swiglu": ("gate", "up")}.items()
    },
    "hf_clip": _clip(patch("embeddings.patch_embedding."), cls=True),
    "hf_siglip": _clip(patch("embeddings.patch_embedding."), cls=False),
    "hf_siglip2": _clip(linear("patch_embed", "embeddings.patch_embedding."), cls=False),
    "openclip": _open_clip(),
    "perception": _open_clip(last_norm_optional=True),
    "timm_perception": [*_timm(), *_scales(_LAYER + "gamma_{n}"), *_TIMM_MLP],
    **FLAX,
}
