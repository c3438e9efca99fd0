"""Layouts of projects in JAX: big_vision, vision_transformer and Scenic."""

from __future__ import annotations

from hummingbird.weights.mapping import Row
from hummingbird.weights.rows import BLOCK, norm


def _flax(stem: list[Row], block: str, last: str, attention: int, mlp: int, second: int) -> list[Row]:
    attend = f"{block}MultiHeadDotProductAttention_{attention}/"
    qkv = tuple(attend + x for x in ("query", "key", "value"))
    rows = [
        *stem,
        *norm(BLOCK + "norm1", f"{block}LayerNorm_0/", names=("scale", "bias")),
        Row(BLOCK + "attention/qkv/kernel", tuple(x + "/kernel" for x in qkv), "heads_in"),
        Row(BLOCK + "attention/qkv/bias", tuple(x + "/bias" for x in qkv), "heads_in_bias"),
        Row(BLOCK + "attention/out/kernel", (attend + "out/kernel",), "heads_out"),
        Row(BLOCK + "attention/out/bias", (attend + "out/bias",)),
        *norm(BLOCK + "norm2", f"{block}LayerNorm_{second}/", names=("scale", "bias")),
    ]
    for n, name in enumerate(("up", "down")):
        for part in ("kernel", "bias"):
            rows.append(Row(f"{BLOCK}mlp/{name}/{part}", (f"{block}MlpBlock_{mlp}/Dense_{n}/{part}",)))
    return [*rows, *norm("norm", last, names=("scale", "bias"))]


def _flax_stem(at: str, positions: str) -> list[Row]:
    return [
        Row("patch_embed/kernel", (at + "embedding/kernel",), "conv_last"),
        Row("patch_embed/bias", (at + "embedding/bias",)),
        Row("positions", (positions,), "tokens", optional=True),
        Row("cls", ("cls",), "token", optional=True),
    ]


FLAX: dict[str, list[Row]] = {
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
