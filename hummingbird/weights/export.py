"""Writes our encoders, and imported ones, in the form that other projects load.

Every export is a folder with the weights, the configuration that its readers expect, a model card, and
`hummingbird.json`, from which `load_encoder` and `hummingbird import` restore the encoder exactly.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Mapping

import jinja2
import numpy as np
import safetensors.numpy

from hummingbird import config as configs
from hummingbird.errors import UserError
from hummingbird.models.architecture import Architecture
from hummingbird.models.backbone import Features
from hummingbird.models.positions import sincos2d
from hummingbird.models.pretrainer import build_pretrainer
from hummingbird.run import checkpoint, fingerprint
from hummingbird.run.files import Json, versions, write_json
from hummingbird.weights import folders, foreign
from hummingbird.weights.folders import Weights
from hummingbird.weights.layouts import LAYOUTS
from hummingbird.weights.mapping import Arrays, unmatch
from hummingbird.weights.own import check_network, own_arrays


@dataclasses.dataclass
class Model:
    """What is exported, and what the model card says about its origin.

    Attributes:
      weights: architecture and arrays.
      name: for people.
      config: flat, of the training run or of the import.
      step: of the training run; None for imported weights.
      versions: of the packages that it was made with.
      metrics: scores of the training run.
    """

    weights: Weights
    name: str
    config: Mapping[str, Json]
    step: int | None
    versions: Mapping[str, str]
    metrics: Mapping[str, Json]


def export_weights(src: str, dst: str, format: str = "timm", network: str = "online") -> dict[str, Json]:
    """Writes the encoder of `src` as a new folder `dst`.

    Args:
      src: training workdir or step folder, imported folder, another project's file, or a name on the hub.
      dst: must not exist; appears only when it is complete.
      format: "timm", "hf", "big_vision" or "hummingbird".
      network: "online" or "target", of a training run.

    Returns:
      "path", "format", "fingerprint" and "files", the sizes of the files in bytes.

    Raises:
      UserError: unknown format or network, `dst` exists or cannot be written, the format cannot express this encoder.
    """
    if format not in FORMATS:
        raise UserError(f"export format {format!r} is not known: use one of {', '.join(FORMATS)}")
    folder = pathlib.Path(os.path.expanduser(dst))
    if folder.exists():
        raise UserError(f"{dst} exists; remove it or name another folder")
    model = read_model(src, network)
    with folders.fresh_folder(folder) as temporary:
        layout = FORMATS[format](model, temporary)
        folders.write_own(temporary, model.weights, layout)
        (temporary / "README.md").write_text(model_card(model, format))
        written = {path.name: path.stat().st_size for path in sorted(temporary.iterdir())}
    return {
        "path": str(dst),
        "format": format,
        "fingerprint": fingerprint.fingerprint(model.weights.arrays),
        "files": written,
    }


def read_model(src: str, network: str) -> Model:
    """Reads the encoder at `src` and what is known about it; arguments as in `export_weights`."""
    path = pathlib.Path(os.path.expanduser(src))
    if path.exists() and checkpoint.is_training(str(path)):
        return _trained(str(path), network)
    weights = foreign.load(path)
    config: dict[str, Json] = {"family": weights.family, "source": weights.source}
    config |= {"commit": weights.commit} if weights.commit else {}
    return Model(weights, path.resolve().name, config, None, versions(), {})


def _trained(src: str, network: str) -> Model:
    if network not in ("online", "target"):
        raise UserError(f"network {network!r} is not known: use online or target")
    stem = f"{network}.encoder."
    step, manifest, arrays = checkpoint.load_pretrained(src, wanted=lambda name: name.startswith(stem))
    check_network(arrays, network, src)
    vit = build_pretrainer(configs.of_run(manifest["config"])).encoder
    run = step.parent.parent
    metrics = run / "metrics.json"
    name = f"{run.name} ({network}, step {manifest['step']})"
    own = own_arrays({name.removeprefix(stem): x for name, x in arrays.items()}, vit.arch)
    weights = Weights(folders.OWN_FAMILY, folders.OWN_LAYOUT, "", vit.arch, own, Features(), name, "orbax")
    scores = json.loads(metrics.read_text()).get("metrics", {}) if metrics.exists() else {}
    return Model(weights, name, manifest["config"], manifest["step"], manifest["versions"], scores)


def with_positions(model: Model, cls_row: bool) -> Arrays:
    """Returns the arrays with fixed positions written out and, if `cls_row`, a zero position for [CLS] in front."""
    arch, arrays = vit_of(model, "this"), dict(model.weights.arrays)
    if arch.positions == "sincos2d" and arch.grid:
        arrays["positions"] = sincos2d(*arch.grid, arch.width).astype(np.float32)
    if cls_row and arch.cls and "positions" in arrays:
        arrays["positions"] = np.concatenate([np.zeros((1, arch.width), np.float32), arrays["positions"]])
    return arrays


def refuse(model: Model, what: str, faults: Mapping[str, bool]) -> None:
    """Raises UserError naming what the format cannot express, if anything: {what it lacks: whether it is needed}."""
    named = [fault for fault, there in faults.items() if there]
    if named:
        raise UserError(
            f"{model.name} cannot be written for {what}, which has no {', '.join(named)}; use another format"
        )


# timm's name by width; all sizes are passed as arguments with it.
TIMM_NAMES = {
    192: "tiny_patch16",
    384: "small_patch16",
    768: "base_patch16",
    1024: "large_patch16",
    1280: "huge_patch14",
}


def vit_of(model: Model, what: str) -> Architecture:
    """Returns the architecture of a transformer.

    Raises:
      UserError: it is another kind of network.
    """
    if not isinstance(model.weights.arch, Architecture):
        called = model.weights.arch.called
        raise UserError(f"{model.name} is {called}, which is only written as `hummingbird`, not for {what}")
    return model.weights.arch


def _timm(model: Model, folder: pathlib.Path) -> str:
    arch = vit_of(model, "timm")
    faults = {
        "rotary positions": bool(arch.rotary),
        "relative positions": bool(arch.relative),
        "norms within attention or MLP": arch.attention_norm or arch.mlp_norm,
        "SwiGLU by name": arch.swiglu,
        f"layer norm epsilon {arch.epsilon:g} by name": arch.epsilon != 1e-6,
        "position table here": arch.grid is None,
        "missing biases here": not (arch.patch_bias and arch.out_bias and arch.mlp_bias),
        "encoder without its last norm": not arch.final_norm,
    }
    refuse(model, "timm", faults)
    size = [side * arch.patch_size for side in arch.grid or (1, 1)]
    ratio = arch.mlp_dim / arch.width
    arguments: dict[str, Json] = {
        "img_size": size,
        "patch_size": arch.patch_size,
        "embed_dim": arch.width,
        "depth": arch.depth,
        "num_heads": arch.heads,
        "mlp_ratio": ratio if int(arch.width * ratio) == arch.mlp_dim else (arch.mlp_dim + 0.5) / arch.width,
        "qkv_bias": arch.qkv_bias,
        "class_token": arch.cls,
        "global_pool": "token" if arch.cls else "avg",
        "fc_norm": False,
        "act_layer": arch.activation,
    }
    if arch.registers:
        arguments |= {"reg_tokens": arch.registers, "no_embed_class": True}
    if arch.layer_scale:
        arguments["init_values"] = 1e-5
    arrays = unmatch(LAYOUTS["timm"], with_positions(model, cls_row=not arch.registers), arch.heads)
    safetensors.numpy.save_file(arrays, folder / "model.safetensors", {"format": "pt"})
    pretrained = {
        "input_size": [3, *size],
        "mean": list(arch.mean),
        "std": list(arch.std),
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "num_classes": 0,
        "first_conv": "patch_embed.proj",
        "classifier": "head",
    }
    name = f"vit_{TIMM_NAMES.get(arch.width, 'base_patch16')}_224"
    config = {
        "architecture": name,
        "num_classes": 0,
        "num_features": arch.width,
        "global_pool": arguments["global_pool"],
        "model_args": arguments,
        "pretrained_cfg": pretrained,
    }
    write_json(folder / "config.json", config)
    return "timm"


def _hf(model: Model, folder: pathlib.Path) -> str:
    arch = vit_of(model, "Hugging Face")
    grid = arch.grid or (0, 0)
    plain = {
        "rotary positions": bool(arch.rotary),
        "relative positions": bool(arch.relative),
        "norms within attention or MLP": arch.attention_norm or arch.mlp_norm,
        "SwiGLU here": arch.swiglu,
        "norm before the blocks": arch.pre_norm,
        "position table here": arch.grid is None,
        "position table that is not square": grid[0] != grid[1],
        "LayerScale without [CLS]": arch.layer_scale and not arch.cls,
        "MLP of this width beside LayerScale": arch.layer_scale and arch.mlp_dim % arch.width > 0,
        "registers without LayerScale": bool(arch.registers) and not arch.layer_scale,
        "missing biases here": not (arch.patch_bias and arch.out_bias and arch.mlp_bias),
    }
    refuse(model, "Hugging Face", plain)
    kind, layout = ("vit", "ViTModel"), "hf_vit"
    if arch.registers:
        kind, layout = ("dinov2_with_registers", "Dinov2WithRegistersModel"), "hf_dinov2"
    elif arch.layer_scale:
        kind, layout = ("dinov2", "Dinov2Model"), "hf_dinov2"
    elif not arch.cls:
        kind = ("ijepa", "IJepaModel")  # transformers' plain ViT without [CLS]
    activations = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "quick_gelu": "quick_gelu", "silu": "silu"}
    config: dict[str, Json] = {
        "architectures": [kind[1]],
        "model_type": kind[0],
        "hidden_size": arch.width,
        "num_hidden_layers": arch.depth,
        "num_attention_heads": arch.heads,
        "hidden_act": activations[arch.activation],
        "layer_norm_eps": arch.epsilon,
        "image_size": grid[0] * arch.patch_size,
        "patch_size": arch.patch_size,
        "num_channels": 3,
        "qkv_bias": arch.qkv_bias,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "dtype": "float32",
    }
    config |= {"mlp_ratio": arch.mlp_dim // arch.width} if arch.layer_scale else {"intermediate_size": arch.mlp_dim}
    if arch.registers:
        config["num_register_tokens"] = arch.registers
    arrays = unmatch(LAYOUTS[layout], with_positions(model, cls_row=True), arch.heads)
    safetensors.numpy.save_file(arrays, folder / "model.safetensors", {"format": "pt"})
    write_json(folder / "config.json", config)
    pixels = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": config["image_size"], "width": config["image_size"]},
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(arch.mean),
        "image_std": list(arch.std),
    }
    write_json(folder / "preprocessor_config.json", pixels)
    return layout


def _big_vision(model: Model, folder: pathlib.Path) -> str:
    arch = vit_of(model, "big_vision")
    faults = {
        "rotary positions": bool(arch.rotary),
        "relative positions": bool(arch.relative),
        "norms within attention or MLP": arch.attention_norm or arch.mlp_norm,
        "SwiGLU": arch.swiglu,
        "LayerScale": arch.layer_scale,
        "registers": bool(arch.registers),
        "norm before the blocks": arch.pre_norm,
        "missing biases": not (arch.patch_bias and arch.qkv_bias and arch.out_bias and arch.mlp_bias),
    }
    refuse(model, "big_vision", faults)
    arrays = unmatch(LAYOUTS["big_vision"], with_positions(model, cls_row=False), arch.heads)
    np.savez(folder / "params.npz", allow_pickle=False, **{f"params/{name}": x for name, x in arrays.items()})
    return "big_vision"


def _hummingbird(model: Model, folder: pathlib.Path) -> str:
    arrays = {name: np.ascontiguousarray(x) for name, x in model.weights.arrays.items()}
    safetensors.numpy.save_file(arrays, folder / "model.safetensors")
    return folders.OWN_LAYOUT


# Each writes weights and configuration into a folder and returns the naming it used, a name in `LAYOUTS`.
FORMATS: dict[str, Callable[[Model, pathlib.Path], str]] = {
    "timm": _timm,
    "hf": _hf,
    "big_vision": _big_vision,
    "hummingbird": _hummingbird,
}


def model_card(model: Model, format: str) -> str:
    """Returns the README.md of an export: what it is, how it was trained and measured, how to load it."""
    loader = jinja2.PackageLoader("hummingbird.weights")
    environment = jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined, trim_blocks=True)
    parameters = sum(x.size for x in model.weights.arrays.values())
    return environment.get_template("model_card.md.j2").render(
        model=model,
        arch=dataclasses.asdict(model.weights.arch),
        width=foreign.backbone_of(model.weights.arch, model.weights.features).dim,
        format=format,
        called=model.weights.arch.called.replace("a ", "A ", 1),
        parameters=parameters,
    )
