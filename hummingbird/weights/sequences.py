"""Loads encoders of text and sound from their published files: BERT, T5 and SSAST, as functions of parameters.

BERT and T5 are read from the files of the Hugging Face Hub, SSAST from its authors' PyTorch file, with names such as
`module.v.blocks.0.attn.qkv.weight`. Parameters keep these names, split at the dots; only `weight` becomes kernel, scale
or embedding, as in Flax.
"""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Mapping

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from hummingbird.errors import UserError, first_line
from hummingbird.models.audio import EXTRA, Ssast
from hummingbird.models.params import Params
from hummingbird.models.text import ACTIVATIONS, Bert, T5Encoder
from hummingbird.run import fingerprint
from hummingbird.run.files import Json
from hummingbird.weights import files, hub, shipped
from hummingbird.weights.files import Arrays
from hummingbird.weights.random_sequences import random_arrays

Network = Bert | T5Encoder | Ssast
Found = tuple[Network, Arrays]
TOKENIZERS = ("tokenizer.json", "vocab.txt")  # files beside the weights of a network of text
HEAD_WIDTH = 64  # of BERT and SSAST, where no config gives the number of heads
BINS = 128  # of mel frequency, where an SSAST file has no number of its own


@dataclasses.dataclass(frozen=True)
class SequenceModel:
    """An encoder of text or sound.

    Attributes:
      network: (params, inputs) -> embeddings [V, D]; `network.layer` is where FUNGI takes gradients.
      params: its parameters.
      name: for readers.
      folder: of its files, where a tokenizer may be; None: random weights.
      fingerprint: identifies network and parameters.
    """

    network: Network
    params: Params
    name: str
    folder: pathlib.Path | None
    fingerprint: str


def load_sequence_model(path: str, stride: int | None = None) -> SequenceModel:
    """Loads an encoder of text or sound.

    Args:
      path: folder or file of weights, `hf:ORG/NAME[@REVISION]`, or `random:NAME` (`random_sequences.SIZES`).
      stride: steps between the patches of SSAST; None: their side.

    Raises:
      UserError: there is no such file, or it holds another kind of network.
    """
    arrays, config, name, folder = read(path)
    for find in (find_bert, find_t5, find_ssast):
        found = find(arrays, config)
        if found:
            break
    else:
        raise UserError(f"{path} is not an encoder of text or sound; BERT, the encoder of T5 and SSAST can be loaded")
    network, own = found
    if stride is not None and isinstance(network, Ssast):
        network = dataclasses.replace(network, stride=(stride, stride))
    flat = renamed(own)
    params = flax.traverse_util.unflatten_dict(flat, sep="/")
    check(path, network, params)
    identity = fingerprint.with_settings(flat, {"network": type(network).__name__, **dataclasses.asdict(network)})
    return SequenceModel(network, params, name, folder, identity)


def read(path: str) -> tuple[Arrays, Mapping[str, Json], str, pathlib.Path | None]:
    """Returns the arrays at a path, their config, the model's name and the folder of its files."""
    kind, _, rest = path.partition(":")
    if kind == "random":
        return random_arrays(rest), {}, path, None
    if hub.is_hub(path):
        file, origin = hub.fetch(path, TOKENIZERS)
        source = files.read(file)
        return source.arrays, source.config.get("config.json", {}), origin.name, file.parent
    source = files.read(shipped.find(path))
    folder = source.path if source.path.is_dir() else source.path.parent
    return source.arrays, source.config.get("config.json", {}), source.path.name, folder


def find_bert(arrays: Arrays, config: Mapping[str, Json]) -> Found | None:
    """Returns BERT and its arrays, without pooling layer and heads; None for another network."""
    own = choose(arrays, r"(bert\.)?", r"(embeddings|encoder\.layer)\.")
    depth = count(own, r"encoder\.layer\.(\d+)\.attention\.self\.query\.weight")
    if not depth or "embeddings.token_type_embeddings.weight" not in own:
        return None
    own = {name: x for name, x in own.items() if not name.endswith("position_ids")}
    width = own["embeddings.word_embeddings.weight"].shape[1]
    heads = whole(config, "num_attention_heads", max(1, width // HEAD_WIDTH))
    return Bert(depth, heads, text(config, "hidden_act", "gelu"), real(config, "layer_norm_eps", 1e-12)), own


def find_t5(arrays: Arrays, config: Mapping[str, Json]) -> Found | None:
    """Returns the encoder of T5 and its arrays; None for another network."""
    own = {name: x for name, x in arrays.items() if name.startswith("encoder.block.")}
    depth = count(own, r"encoder\.block\.(\d+)\.layer\.0\.SelfAttention\.q\.weight")
    table = own.get("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight")
    words = next((arrays[n] for n in ("shared.weight", "encoder.embed_tokens.weight") if n in arrays), None)
    if not depth or table is None or words is None or "encoder.final_layer_norm.weight" not in arrays:
        return None
    own |= {"shared.weight": words, "encoder.final_layer_norm.weight": arrays["encoder.final_layer_norm.weight"]}
    gated = "encoder.block.0.layer.1.DenseReluDense.wi_0.weight" in own
    activation = text(config, "feed_forward_proj", "gated-gelu" if gated else "relu").removeprefix("gated-")
    activation = "gelu_new" if gated and activation == "gelu" else activation
    distance, eps = whole(config, "relative_attention_max_distance", 128), real(config, "layer_norm_epsilon", 1e-6)
    return T5Encoder(depth, table.shape[1], activation, gated, distance, eps), own


def find_ssast(arrays: Arrays, config: Mapping[str, Json]) -> Found | None:
    """Returns SSAST and its arrays, without those of its pretraining; None for another network."""
    own = choose(arrays, r"(module\.)?v\.", r"(blocks|patch_embed|norm|cls_token|dist_token|pos_embed)\b")
    depth = count(own, r"blocks\.(\d+)\.attn\.qkv\.weight")
    if not depth or not {"patch_embed.proj.weight", "pos_embed", "dist_token"} <= own.keys():
        return None
    width, _, high, wide = own["patch_embed.proj.weight"].shape
    stored = {name: arrays.get(f"module.p_input_{name}", arrays.get(f"p_input_{name}")) for name in ("fdim", "tdim")}
    bins = BINS if stored["fdim"] is None else int(np.ravel(stored["fdim"])[0])
    rows = max(1, bins // high)
    patches = own["pos_embed"].shape[1] - EXTRA
    if patches % rows:
        return None
    return Ssast(depth, max(1, width // HEAD_WIDTH), (high, wide), (rows, patches // rows), (high, wide)), own


def choose(arrays: Arrays, prefix: str, start: str) -> Arrays:
    """Selects the arrays with names that match `prefix` followed by `start` (patterns), and removes the prefix."""
    found = {name: re.match(f"{prefix}(?={start})", name) for name in arrays}
    return {name[match.end() :]: arrays[name] for name, match in found.items() if match}


def count(arrays: Arrays, pattern: str) -> int:
    """Returns the number of layers, by the numbers in their names."""
    return len({found[1] for name in arrays if (found := re.fullmatch(pattern, name))})


def whole(config: Mapping[str, Json], key: str, default: int) -> int:
    """Returns a whole number of a config, or the default."""
    value = config.get(key)
    return value if isinstance(value, int) else default


def real(config: Mapping[str, Json], key: str, default: float) -> float:
    """Returns a number of a config, or the default."""
    value = config.get(key)
    return float(value) if isinstance(value, int | float) else default


def text(config: Mapping[str, Json], key: str, default: str) -> str:
    """Returns a word of a config, or the default."""
    value = config.get(key)
    return value if isinstance(value, str) else default


def renamed(arrays: Arrays) -> Arrays:
    """Returns arrays by path, such as "encoder/layer/0/output/dense/kernel", with kernels [E, D] as in Flax."""
    found: Arrays = {}
    for name, x in arrays.items():
        *path, last = name.split(".")
        norm = path and bool(re.fullmatch(r"LayerNorm|norm\d?|(final_)?layer_norm", path[-1]))
        if last in ("weight", "gamma") and norm:
            last = "scale"
        elif last in ("bias", "beta"):
            last = "bias"
        elif last == "weight" and path[-1].endswith(("embeddings", "_bias", "shared")):
            last = "embedding"
        elif last == "weight":
            last, x = "kernel", x.T if x.ndim == 2 else x
        found["/".join([*path, last])] = np.ascontiguousarray(x, np.float32)
    return found


def check(path: str, network: Network, params: Params) -> None:
    """Raises UserError for an unknown activation, missing arrays, or arrays or heads that do not fit together."""
    activation = getattr(network, "activation", "gelu")
    if activation not in ACTIVATIONS:
        raise UserError(f"{path}: activation {activation!r} is not one of {', '.join(ACTIVATIONS)}")
    if isinstance(network, Ssast):
        frames, bins = network.patch[1] * network.grid[1], network.patch[0] * network.grid[0]
        example = jax.ShapeDtypeStruct((1, frames, bins), jnp.float32)
    else:
        example = {name: jax.ShapeDtypeStruct((1, 4), kind) for name, kind in (("ids", jnp.int32), ("mask", jnp.bool_))}
    try:
        jax.eval_shape(network, params, example)
    except KeyError as error:
        raise UserError(
            f"{path}: {error.args[0]} of {type(network).__name__} is missing; download the file again"
        ) from error
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: its arrays do not make a {type(network).__name__} ({first_line(error)})") from error
