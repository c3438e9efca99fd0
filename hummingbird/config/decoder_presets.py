"""Settings that come with `decoder.preset`: they are the defaults while it is chosen, and can be overridden.

Only what a project published is in its preset; configs/finetune/README.md says where.
"""

from __future__ import annotations

from collections.abc import Mapping

from hummingbird.config.schema import Tree

MMSEG: Tree = {
    "augment.crop": "scale",
    "augment.scale": (0.5, 2.0),
    "augment.longest": 2048,
    "augment.most_of_a_class": 0.75,
    "augment.flip": 0.5,
    "augment.colours": "mmseg",
}
NYU: Tree = {"augment.crop": "scale", "augment.scale": (1.0, 1.0), "augment.flip": 0.5, "augment.colours": "depth"}

PROJECTS: Mapping[str, Tree] = {
    # rstrudel/segmenter: segm/config.yml, train.py, model/decoder.py; the column for ADE20K.
    "segmenter": {
        **MMSEG,
        "decoder.name": "segmenter",
        "decoder.train_encoder": True,
        "decoder.drop_path": 0.1,
        "decoder.inference": "slide",
        "decoder.stride": 512,
        "input_size": 512,
        "batch_size": 8,
        "epochs": 64.0,
        "optimizer.name": "sgd",
        "optimizer.learning_rate": 1e-3,
        "optimizer.schedule": "poly",
        "optimizer.power": 0.9,
        "optimizer.final": 0.01,
        "optimizer.warmup": 0.0,
        "optimizer.weight_decay": 0.0,
    },
    # google/uncertainty-baselines: experimental/robust_segvit, the Segmenter baseline.
    "ub": {
        "decoder.name": "segmenter",
        "decoder.train_encoder": True,
        "decoder.dropout": 0.1,
        "decoder.inference": "whole",
        "decoder.metric_size": 640,
        "augment.crop": "area",
        "augment.area": (0.3, 1.0),
        "augment.flip": 0.5,
        "augment.colours": "none",
        "input_size": 640,
        "batch_size": 32,
        "epochs": 100.0,
        "optimizer.name": "adam",
        "optimizer.learning_rate": 1e-4,
        "optimizer.schedule": "cosine",
        "optimizer.warmup": 0.01,
        "optimizer.warmup_from": 0.0,
        "optimizer.weight_decay": 0.0,
        "optimizer.clip_norm": 1.0,
    },
    # facebookresearch/dinov2: the published configs of the linear heads on ADE20K and VOC2012 (mmseg).
    "dinov2": {
        **MMSEG,
        "decoder.name": "bn_linear",
        "decoder.inference": "slide",
        "decoder.stride": 341,
        "input_size": 512,
        "batch_size": 16,
        "total_steps": 40_000,
        "optimizer.name": "adamw",
        "optimizer.learning_rate": 1e-3,
        "optimizer.schedule": "poly",
        "optimizer.power": 1.0,
        "optimizer.warmup_steps": 1500,
        "optimizer.warmup_from": 1e-6,
        "optimizer.weight_decay": 1e-4,
    },
    # facebookresearch/dinov2: the published configs of the linear depth heads on NYUv2.
    "dinov2_depth": {
        **NYU,
        "decoder.name": "depth_bins",
        "decoder.gradient_weight": 0.5,
        "decoder.flip": True,
        "input_size": 416,
        "batch_size": 16,
        "total_steps": 38_400,
        "optimizer.name": "adamw",
        "optimizer.learning_rate": 5e-3,
        "optimizer.schedule": "cosine",
        "optimizer.warmup_steps": 12_800,
        "optimizer.warmup_from": 1e-3,
        "optimizer.weight_decay": 0.01,
        "optimizer.clip_norm": 35.0,
    },
    # facebookresearch/dinov3: eval/segmentation/configs/config-ade20k-linear-training.yaml.
    "dinov3": {
        **MMSEG,
        "decoder.name": "bn_linear",
        "decoder.dropout": 0.1,
        "decoder.inference": "slide",
        "decoder.stride": 341,
        "augment.most_of_a_class": 1.0,
        "augment.colours": "none",
        "input_size": 512,
        "batch_size": 16,
        "total_steps": 40_000,
        "optimizer.name": "adamw",
        "optimizer.learning_rate": 1e-3,
        "optimizer.schedule": "cosine",
        "optimizer.warmup_steps": 1500,
        "optimizer.warmup_from": 1e-6,
        "optimizer.weight_decay": 1e-3,
    },
    # facebookresearch/dinov3: eval/depth/configs/config-nyu.yaml, with a constant beta 1.
    "dinov3_depth": {
        **NYU,
        "decoder.name": "depth_bins",
        "decoder.batch_norm": True,
        "decoder.gradient_weight": 0.0,
        "decoder.flip": True,
        "input_size": 416,
        "batch_size": 16,
        "total_steps": 38_400,
        "optimizer.name": "adamw",
        "optimizer.learning_rate": 3e-4,
        "optimizer.schedule": "cosine",
        "optimizer.final": 1e-3,
        "optimizer.warmup_steps": 12_800,
        "optimizer.warmup_from": 0.0,
        "optimizer.weight_decay": 1e-4,
        "optimizer.b2": 0.99,
        "optimizer.clip_norm": 35.0,
    },
    # implus/mae_segmentation and mmseg: upernet_mae_base_12_512_slide_160k_ade20k.py.
    "mae_upernet": {
        **MMSEG,
        "decoder.name": "upernet",
        "decoder.train_encoder": True,
        "decoder.drop_path": 0.1,
        "decoder.relative_bias": True,
        "decoder.layer_scale": True,
        "decoder.loss_over": "all",
        "decoder.inference": "slide",
        "decoder.stride": 341,
        "input_size": 512,
        "batch_size": 16,
        "total_steps": 160_000,
        "optimizer.name": "adamw",
        "optimizer.learning_rate": 1e-4,
        "optimizer.layer_decay": 0.65,
        "optimizer.schedule": "poly",
        "optimizer.power": 1.0,
        "optimizer.warmup_steps": 1500,
        "optimizer.warmup_from": 1e-6,
        "optimizer.weight_decay": 0.05,
    },
    # vpariza/NeCo and valeoai/Franca: experiments/linear_segmentation; scores at 100 x 100 pixels.
    "neco100": {
        "decoder.name": "linear",
        "decoder.inference": "whole",
        "decoder.metric_size": 100,
        "augment.crop": "area",
        "augment.area": (0.8, 1.0),
        "augment.flip": 0.5,
        "augment.colours": "none",
        "input_size": 448,
        "batch_size": 128,
        "epochs": 25.0,
        "optimizer.name": "sgd",
        "optimizer.nesterov": False,
        "optimizer.learning_rate": 0.01,
        "optimizer.schedule": "step",
        "optimizer.drops": (0.8,),
        "optimizer.final": 0.1,
        "optimizer.warmup": 0.0,
        "optimizer.weight_decay": 1e-4,
    },
}
PROJECTS = {**PROJECTS, "dinov2_ms": {**PROJECTS["dinov2"], "decoder.layers": (-4, -3, -2, -1), "decoder.flip": True}}
# Ours where the encoder is trained; where it stays frozen, the defaults are those of DINOv2's linear head.
TRAINED: Tree = {
    "decoder.drop_path": 0.1,
    "optimizer.learning_rate": 3e-4,
    "optimizer.encoder_rate": 0.1,
    "optimizer.layer_decay": 0.75,
    "optimizer.schedule": "cosine",
    "optimizer.warmup": 0.05,
    "optimizer.weight_decay": 0.05,
    "optimizer.clip_norm": 1.0,
}
DEPTH: Tree = {"augment.colours": "depth", "optimizer.clip_norm": 35.0}


def decoder_preset(given: Tree) -> Tree:
    """Returns the settings that come with the preset that `given` chooses.

    Args:
      given: flat settings, typed or as text.

    Example:
      >>> decoder_preset({"decoder.preset": "dinov2"})["total_steps"], decoder_preset({})
      (40000, {})
    """
    name = str(given.get("decoder.preset", "own"))
    if name != "own":
        return PROJECTS.get(name, {})
    trained = str(given.get("decoder.train_encoder", False)).lower() in ("true", "1", "yes")
    depth = given.get("decoder.name") == "depth_bins"
    return {**(DEPTH if depth else {}), **(TRAINED if trained else {})}
