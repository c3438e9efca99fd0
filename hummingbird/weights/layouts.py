"""Layouts: how each project names and shapes the arrays of a vision transformer, one list of rows each."""

from __future__ import annotations

from hummingbird.weights.mapping import Row


def _norm(ours: str, theirs: str, optional: bool = False, names: tuple[str, str] = ("weight", "bias")) -> list[Row]:
    scale, bias = names
    return [
        Row(f"{ours}/scale", (f"{theirs}{scale}",), optional=optional),
        Row(f"{ours}/bias", (f"{theirs}{bias}",), optional=optional),
    ]


def _linear(ours: str, *theirs: str, optional: bool = False) -> list[Row]:
    return [
        Row(f"{ours}/kernel", tuple(f"{t}weight" for t in theirs), "linear", optional),
        Row(f"{ours}/bias", tuple(f"{t}bias" for t in theirs), optional=True),
    ]


def _patch(theirs: str) -> list[Row]:
    return [
        Row("patch_embed/kernel", (f"{theirs}weight",), "conv"),
        Row("patch_embed/bias", (f"{theirs}bias",), optional=True),
    ]


def _timm(block: str = "blocks.{i}.") -> list[Row]:
    at = "block_{i}/"
    return [
        *_patch("patch_embed.proj."),
        Row("positions", ("pos_embed",), "tokens", optional=True),
        Row("cls", ("cls_token",), "token", optional=True),
        *_norm("pre_norm", "norm_pre.", optional=True),
        *_norm(at + "norm1", block + "norm1."),
        *_linear(at + "attention/qkv", block + "attn.qkv."),
        *_linear(at + "attention/out", block + "attn.proj."),
        *_norm(at + "norm2", block + "norm2."),
        *_norm("norm", "norm.", optional=True),
    ]


_AT, _BLOCK = "block_{i}/", "blocks.{i}."
_TIMM_MLP = [*_linear(_AT + "mlp/up", _BLOCK + "mlp.fc1."), *_linear(_AT + "mlp/down", _BLOCK + "mlp.fc2.")]
_TIMM_SCALE = [Row(f"{_AT}scale{n}", (f"{_BLOCK}ls{n}.gamma",), optional=True) for n in (1, 2)]
_HF_LAYER, _CLIP_LAYER, _OPEN_LAYER = "encoder.layer.{i}.", "encoder.layers.{i}.", "transformer.resblocks.{i}."


def _hf_attention(base: str) -> list[Row]:
    return [
        *_linear(_AT + "attention/qkv", *(f"{base}attention.attention.{x}." for x in ("query", "key", "value"))),
        *_linear(_AT + "attention/out", base + "attention.output.dense."),
    ]


def _hf_stem(positions: str = "tokens") -> list[Row]:
    return [
        *_patch("embeddings.patch_embeddings.projection."),
        Row("positions", ("embeddings.position_embeddings",), positions),
        Row("cls", ("embeddings.cls_token",), "token", optional=True),
        *_norm("norm", "layernorm."),
    ]


_DINOV2_HF = [
    *_hf_stem(),
    Row("registers", ("embeddings.register_tokens",), "tokens", optional=True),
    *_norm(_AT + "norm1", _HF_LAYER + "norm1."),
    *_hf_attention(_HF_LAYER),
    *(Row(f"{_AT}scale{n}", (f"{_HF_LAYER}layer_scale{n}.lambda1",)) for n in (1, 2)),
    *_norm(_AT + "norm2", _HF_LAYER + "norm2."),
]


_HF_PLAIN = [
    *_norm(_AT + "norm1", _HF_LAYER + "layernorm_before."),
    *_hf_attention(_HF_LAYER),
    *_norm(_AT + "norm2", _HF_LAYER + "layernorm_after."),
    *_linear(_AT + "mlp/up", _HF_LAYER + "intermediate.dense."),
    *_linear(_AT + "mlp/down", _HF_LAYER + "output.dense."),
]


def _relative(layer: str, shared: str) -> list[Row]:
    """A table for each layer, or one for all, which each layer gets a copy of."""
    table = "relative_position_bias_table"
    return [Row(_AT + "attention/relative", (place + table,), optional=True) for place in (layer, shared)]


def _clip(patch: list[Row], cls: bool) -> list[Row]:
    layer = _CLIP_LAYER
    return [
        *patch,
        Row("positions", ("embeddings.position_embedding.weight",), "rows"),
        *([Row("cls", ("embeddings.class_embedding",)), *_norm("pre_norm", "pre_layrnorm.")] if cls else []),
        *_norm(_AT + "norm1", layer + "layer_norm1."),
        *_linear(_AT + "attention/qkv", *(f"{layer}self_attn.{x}_proj." for x in "qkv")),
        *_linear(_AT + "attention/out", layer + "self_attn.out_proj."),
        *_norm(_AT + "norm2", layer + "layer_norm2."),
        *_linear(_AT + "mlp/up", layer + "mlp.fc1."),
        *_linear(_AT + "mlp/down", layer + "mlp.fc2."),
        *_norm("norm", "post_layernorm."),
    ]


def _flax(stem: list[Row], block: str, norm: str, attention: int, mlp: int, norm2: int) -> list[Row]:
    attend = f"{block}MultiHeadDotProductAttention_{attention}/"
    qkv = tuple(attend + x for x in ("query", "key", "value"))
    rows = [
        *stem,
        *_norm(_AT + "norm1", f"{block}LayerNorm_0/", names=("scale", "bias")),
        Row(_AT + "attention/qkv/kernel", tuple(x + "/kernel" for x in qkv), "heads_in"),
        Row(_AT + "attention/qkv/bias", tuple(x + "/bias" for x in qkv), "heads_in_bias"),
        Row(_AT + "attention/out/kernel", (attend + "out/kernel",), "heads_out"),
        Row(_AT + "attention/out/bias", (attend + "out/bias",)),
        *_norm(_AT + "norm2", f"{block}LayerNorm_{norm2}/", names=("scale", "bias")),
    ]
    for n, name in enumerate(("up", "down")):
        for part in ("kernel", "bias"):
            rows.append(Row(f"{_AT}mlp/{name}/{part}", (f"{block}MlpBlock_{mlp}/Dense_{n}/{part}",)))
    return [*rows, *_norm("norm", norm, names=("scale", "bias"))]


def _flax_stem(at: str, positions: str) -> list[Row]:
    return [
        Row("patch_embed/kernel", (at + "embedding/kernel",), "conv_last"),
        Row("patch_embed/bias", (at + "embedding/bias",)),
        Row("positions", (positions,), "tokens", optional=True),
        Row("cls", ("cls",), "token", optional=True),
    ]


LAYOUTS: dict[str, list[Row]] = {
    "timm": [
        *_timm(),
        Row("registers", ("reg_token",), "tokens", optional=True),
        Row("distillation", ("dist_token",), "token", optional=True),  # DeiT's; becomes a register
        *_norm("pooled_norm", "fc_norm.", optional=True),
        *_TIMM_SCALE,
        *_TIMM_MLP,
    ],
    "deit3": [*_timm(), *(Row(f"{_AT}scale{n}", (f"{_BLOCK}gamma_{n}",)) for n in (1, 2)), *_TIMM_MLP],
    "dinov2": [*_timm(), Row("registers", ("register_tokens",), "tokens", optional=True), *_TIMM_SCALE, *_TIMM_MLP],
    "dinov2_swiglu": [
        *_timm(),
        Row("registers", ("register_tokens",), "tokens", optional=True),
        *_TIMM_SCALE,
        *_linear(_AT + "mlp/up", _BLOCK + "mlp.w12."),
        *_linear(_AT + "mlp/down", _BLOCK + "mlp.w3."),
    ],
    "dinov3": [*_timm(), Row("registers", ("storage_tokens",), "tokens"), *_TIMM_SCALE, *_TIMM_MLP],
    "dinov3_swiglu": [
        *_timm(),
        Row("registers", ("storage_tokens",), "tokens"),
        *_TIMM_SCALE,
        *_linear(_AT + "mlp/up", _BLOCK + "mlp.w1.", _BLOCK + "mlp.w2."),
        *_linear(_AT + "mlp/down", _BLOCK + "mlp.w3."),
    ],
    **{
        f"timm_dinov3{name}": [
            *_patch("patch_embed.proj."),
            Row("cls", ("cls_token",), "token"),
            Row("registers", ("reg_token",), "tokens"),
            *_norm(_AT + "norm1", _BLOCK + "norm1."),
            Row(_AT + "attention/qkv/kernel", (_BLOCK + "attn.qkv.weight",), "linear"),
            Row(_AT + "attention/qkv/bias", tuple(f"{_BLOCK}attn.{x}_bias" for x in "qkv"), optional=True),
            *_linear(_AT + "attention/out", _BLOCK + "attn.proj."),
            *(Row(f"{_AT}scale{n}", (f"{_BLOCK}gamma_{n}",)) for n in (1, 2)),
            *_norm(_AT + "norm2", _BLOCK + "norm2."),
            *_linear(_AT + "mlp/up", *(f"{_BLOCK}mlp.{x}." for x in up)),
            *_linear(_AT + "mlp/down", _BLOCK + "mlp.fc2."),
            *_norm("norm", "norm."),
        ]
        for name, up in {"": ("fc1",), "_swiglu": ("fc1_g", "fc1_x")}.items()
    },
    "beit": [
        *_patch("patch_embed.proj."),
        Row("positions", ("pos_embed",), "tokens", optional=True),
        Row("cls", ("cls_token",), "token"),
        *_norm(_AT + "norm1", _BLOCK + "norm1."),
        Row(_AT + "attention/qkv/kernel", (_BLOCK + "attn.qkv.weight",), "linear"),
        Row(_AT + "attention/qkv/bias", tuple(f"{_BLOCK}attn.{x}_bias" for x in "qkv"), optional=True),
        *_relative(_BLOCK + "attn.", "rel_pos_bias."),
        *_linear(_AT + "attention/out", _BLOCK + "attn.proj."),
        *(Row(f"{_AT}scale{n}", (f"{_BLOCK}gamma_{n}",), optional=True) for n in (1, 2)),
        *_norm(_AT + "norm2", _BLOCK + "norm2."),
        *_TIMM_MLP,
        *_norm("norm", "norm.", optional=True),
        *_norm("pooled_norm", "fc_norm.", optional=True),
    ],
    "hf_vit": [*_hf_stem(), *_HF_PLAIN],
    "hf_beit": [
        *_patch("embeddings.patch_embeddings.projection."),
        Row("positions", ("embeddings.position_embeddings",), "tokens", optional=True),
        Row("cls", ("embeddings.cls_token",), "token"),
        *_HF_PLAIN,
        *_relative(_HF_LAYER + "attention.attention.relative_position_bias.", "encoder.relative_position_bias."),
        *(Row(f"{_AT}scale{n}", (f"{_HF_LAYER}lambda_{n}",), optional=True) for n in (1, 2)),
        *_norm("norm", "layernorm.", optional=True),
        *_norm("pooled_norm", "pooler.layernorm.", optional=True),
    ],
    "hf_dinov2": [
        *_DINOV2_HF,
        *_linear(_AT + "mlp/up", _HF_LAYER + "mlp.fc1."),
        *_linear(_AT + "mlp/down", _HF_LAYER + "mlp.fc2."),
    ],
    "hf_dinov2_swiglu": [
        *_DINOV2_HF,
        *_linear(_AT + "mlp/up", _HF_LAYER + "mlp.weights_in."),
        *_linear(_AT + "mlp/down", _HF_LAYER + "mlp.weights_out."),
    ],
    **{
        f"hf_dinov3{name}": [
            *_patch("embeddings.patch_embeddings."),
            Row("cls", ("embeddings.cls_token",), "token"),
            Row("registers", ("embeddings.register_tokens",), "tokens", optional=True),
            *_norm(_AT + "norm1", "layer.{i}.norm1."),
            *_linear(_AT + "attention/qkv", *(f"layer.{{i}}.attention.{x}_proj." for x in "qkv")),
            *_linear(_AT + "attention/out", "layer.{i}.attention.o_proj."),
            *(Row(f"{_AT}scale{n}", (f"layer.{{i}}.layer_scale{n}.lambda1",)) for n in (1, 2)),
            *_norm(_AT + "norm2", "layer.{i}.norm2."),
            *_linear(_AT + "mlp/up", *(f"layer.{{i}}.mlp.{x}_proj." for x in up)),
            *_linear(_AT + "mlp/down", "layer.{i}.mlp.down_proj."),
            *_norm("norm", "norm."),
        ]
        for name, up in {"": ("up",), "_swiglu": ("gate", "up")}.items()
    },
    "hf_clip": _clip(_patch("embeddings.patch_embedding."), cls=True),
    "hf_siglip": _clip(_patch("embeddings.patch_embedding."), cls=False),
    "hf_siglip2": _clip(_linear("patch_embed", "embeddings.patch_embedding."), cls=False),
    "openclip": [
        *_patch("conv1."),
        Row("positions", ("positional_embedding",), "rows"),
        Row("cls", ("class_embedding",)),
        *_norm("pre_norm", "ln_pre.", optional=True),
        *_norm(_AT + "norm1", _OPEN_LAYER + "ln_1."),
        Row(_AT + "attention/qkv/kernel", (_OPEN_LAYER + "attn.in_proj_weight",), "linear"),
        Row(_AT + "attention/qkv/bias", (_OPEN_LAYER + "attn.in_proj_bias",)),
        *_linear(_AT + "attention/out", _OPEN_LAYER + "attn.out_proj."),
        *(Row(f"{_AT}scale{n}", (f"{_OPEN_LAYER}ls_{n}.gamma",), optional=True) for n in (1, 2)),
        *_norm(_AT + "norm2", _OPEN_LAYER + "ln_2."),
        *_linear(_AT + "mlp/up", _OPEN_LAYER + "mlp.c_fc."),
        *_linear(_AT + "mlp/down", _OPEN_LAYER + "mlp.c_proj."),
        *_norm("norm", "ln_post."),
    ],
    "big_vision": _flax(
        _flax_stem("", "pos_embedding"), "Transformer/encoderblock_{i}/", "Transformer/encoder_norm/", 0, 0, 1
    ),
    "vit_jax": _flax(
        _flax_stem("", "Transformer/posembed_input/pos_embedding"),
        "Transformer/encoderblock_{i}/",
        "Transformer/encoder_norm/",
        1,
        3,
        2,
    ),
    "loca": _flax(
        _flax_stem("ToTokenSequence_0/", "ToTokenSequence_0/posembed_input"),
        "encoderblock_{i}/",
        "encoder_norm/",
        0,
        0,
        1,
    ),
}
