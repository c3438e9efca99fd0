"""Random weights for encoders of text and sound, with the array names of the published files."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hummingbird.errors import UserError
from hummingbird.weights.files import Arrays

Shapes = dict[str, tuple[int, ...]]


class Size(NamedTuple):
    """Sizes of a network.

    Attributes:
      kind: key of `SHAPES`.
      depth: number of blocks.
      width: features of a token.
      heads: attention heads.
      hidden: width of the hidden layer.
      words: rows of the table of words, or patches of a spectrogram.
    """

    kind: str
    depth: int
    width: int
    heads: int
    hidden: int
    words: int


SIZES = {
    "bert_base": Size("bert", 12, 768, 12, 3072, 30522),
    "bert_tiny": Size("bert", 2, 128, 2, 256, 1000),
    "t5_small": Size("t5", 6, 512, 8, 2048, 32128),
    "t5_tiny": Size("t5", 2, 64, 4, 128, 1000),
    "ssast_base": Size("ssast", 12, 768, 12, 3072, 512),
    "ssast_tiny": Size("ssast", 2, 64, 1, 128, 64),
}
POSITIONS, BUCKETS = 512, 32


def random_arrays(name: str, seed: int = 0) -> Arrays:
    """Draws the arrays of a network of `SIZES` with standard deviation 0.05 around 0, scales of norms around 1.

    Example:
      >>> random_arrays("t5_tiny")["shared.weight"].shape
      (1000, 64)

    Raises:
      UserError: there is no such name.
    """
    if name not in SIZES:
        raise UserError(f"random:{name} is not known; for text and sound there are {', '.join(SIZES)}")
    size, rng = SIZES[name], np.random.default_rng(seed)
    shapes = SHAPES[size.kind](size)
    normal = {n: rng.normal(0, 0.05, shape).astype(np.float32) for n, shape in shapes.items()}
    return {n: x + np.float32(x.ndim == 1 and n.endswith("weight")) for n, x in normal.items()}


def linear(name: str, inputs: int, outputs: int) -> Shapes:
    """Returns the shapes of a linear layer with a bias, in PyTorch's layout."""
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def norm(name: str, width: int) -> Shapes:
    """Returns the shapes of a layer norm."""
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def bert(size: Size) -> Shapes:
    """Returns the shapes of BERT's arrays."""
    width, found = size.width, dict[str, tuple[int, ...]]()
    for table, rows in (("word", size.words), ("position", POSITIONS), ("token_type", 2)):
        found[f"embeddings.{table}_embeddings.weight"] = (rows, width)
    found |= norm("embeddings.LayerNorm", width)
    for at in (f"encoder.layer.{i}" for i in range(size.depth)):
        for part in ("query", "key", "value"):
            found |= linear(f"{at}.attention.self.{part}", width, width)
        found |= linear(f"{at}.attention.output.dense", width, width) | norm(f"{at}.attention.output.LayerNorm", width)
        found |= linear(f"{at}.intermediate.dense", width, size.hidden) | linear(
            f"{at}.output.dense", size.hidden, width
        )
        found |= norm(f"{at}.output.LayerNorm", width)
    return found


def t5(size: Size) -> Shapes:
    """Returns the shapes of the arrays of T5's encoder."""
    width, found = size.width, {"shared.weight": (size.words, size.width)}
    for at in (f"encoder.block.{i}.layer" for i in range(size.depth)):
        found |= {f"{at}.0.SelfAttention.{part}.weight": (width, width) for part in "qkvo"}
        found |= {f"{at}.{i}.layer_norm.weight": (width,) for i in (0, 1)}
        found[f"{at}.1.DenseReluDense.wi.weight"] = (size.hidden, width)
        found[f"{at}.1.DenseReluDense.wo.weight"] = (width, size.hidden)
    found["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"] = (BUCKETS, size.heads)
    return {**found, "encoder.final_layer_norm.weight": (width,)}


def ssast(size: Size) -> Shapes:
    """Returns the shapes of SSAST's arrays, with patches of 16 x 16."""
    width, found = size.width, {"module.v.patch_embed.proj.weight": (size.width, 1, 16, 16)}
    found |= {"module.v.patch_embed.proj.bias": (width,), "module.v.pos_embed": (1, size.words + 2, width)}
    found |= {f"module.v.{name}_token": (1, 1, width) for name in ("cls", "dist")}
    for at in (f"module.v.blocks.{i}" for i in range(size.depth)):
        found |= norm(f"{at}.norm1", width) | norm(f"{at}.norm2", width)
        found |= linear(f"{at}.attn.qkv", width, 3 * width) | linear(f"{at}.attn.proj", width, width)
        found |= linear(f"{at}.mlp.fc1", width, size.hidden) | linear(f"{at}.mlp.fc2", size.hidden, width)
    return found | norm("module.v.norm", width)


SHAPES = {"bert": bert, "t5": t5, "ssast": ssast}
