"""What the sweeps of FUNGI's image-level tables share: encoders, data sets, combinations of gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hummingbird.sweep.spec import Point

# The 11 data sets, in the order of Table 1.
DATASETS = (
    "cars",
    "cub",
    "dtd",
    "eurosat",
    "cifar100",
    "cifar10",
    "pets",
    "food101",
    "imagenet",
    "aircraft",
    "flowers102",
)
EVALUATIONS = {name: f"evaluate/images:{name}" for name in DATASETS}

# Encoders on the hub, by the paper's names; and those that are files: give them these names, or link them there. The
# paper's "DeiT" weights are torchvision's IMAGENET1K_V1.
HUB = {
    "DINOv2 ViT-B/14": "timm:vit_base_patch14_dinov2.lvd142m",
    "DINO ViT-B/16": "timm:vit_base_patch16_224.dino",
    "AugReg IN1K ViT-S/16": "timm:vit_small_patch16_224.augreg_in1k",
    "AugReg IN1K ViT-B/16": "timm:vit_base_patch16_224.augreg_in1k",
    "EVA CLIP ViT-B/16": "timm:eva02_base_patch16_clip_224.merged2b",
    "AugReg IN21K ViT-L/16": "timm:vit_large_patch16_224.augreg_in21k",
    "CLIP ViT-B/16": "hf:openai/clip-vit-base-patch16",
    "AugReg IN21K ViT-B/16": "timm:vit_base_patch16_224.augreg_in21k",
    "AugReg IN21K ViT-S/16": "timm:vit_small_patch16_224.augreg_in21k",
    "MAE ViT-B/16": "timm:vit_base_patch16_224.mae",
}
FILES = {
    "DeiT ViT-B/16": "checkpoints/deit_b16",
    "DeiT ViT-B/32": "checkpoints/deit_b32",
    "MoCo v3 ViT-B/16": "checkpoints/mocov3_b",
}
DEMO = {"random ViT-Ti/8": "random:vit_ti8"}

# Gradients beside the embedding, by what the tables add to the name of an encoder.
GRADIENTS: dict[str, tuple[str, ...]] = {
    "": (),
    " + K": ("kl",),
    " + K + D": ("kl", "dino"),
    " + K + D + S": ("kl", "dino", "simclr"),
}
# Seconds on a CPU: the cheap projection, and few, small images.
SMALL: Point = {
    "features.projection": "tensor",
    "features.rank": 1,
    "features.dim": 32,
    "input_size": 32,
    "data.scenes.size": 32,
    "data.scenes.prompt_images": 60,
    "data.scenes.query_images": 20,
}


def components(name: str) -> int:
    """Returns how many principal components the paper keeps for an encoder (Table 16)."""
    return 384 if "ViT-S" in name else 512


def rows(
    encoders: Mapping[str, str], gradients: Sequence[str] = tuple(GRADIENTS), shots: int | None = None
) -> list[Point]:
    """Returns a point for each encoder and combination of gradients.

    Args:
      encoders: checkpoint by name.
      gradients: keys of `GRADIENTS`.
      shots: images of each class in few-shot evaluation, besides the one on all images; None: none.

    Example:
      >>> rows({"DINO ViT-B/16": "timm:vit_base_patch16_224.dino"}, [" + K"])[0]["name"]
      'DINO ViT-B/16 + K'
    """
    few: Point = {} if shots is None else {"images.shots": shots}
    return [
        {
            "name": name + suffix,
            "checkpoint": checkpoint,
            "features.gradients": GRADIENTS[suffix],
            "features.pca": components(name),
            **few,
        }
        for name, checkpoint in encoders.items()
        for suffix in gradients
    ]


def means(full: Mapping[str, Sequence[float]], few: Mapping[str, Sequence[float]]) -> dict[str, dict[str, float]]:
    """Returns published means over the data sets in the form of `Sweep.published`.

    Args:
      full, few: for each encoder a score for each of `GRADIENTS`, with all images and in few shots.

    Example:
      >>> means({"MAE ViT-B/16": (24.0, 44.4)}, {"MAE ViT-B/16": (7.5, 18.5)})["MAE ViT-B/16 + K"]
      {'mean.accuracy': 44.4, 'mean.few_shot_accuracy': 18.5}
    """
    found: dict[str, dict[str, float]] = {}
    for key, table in {"mean.accuracy": full, "mean.few_shot_accuracy": few}.items():
        for encoder, scores in table.items():
            for suffix, score in zip(GRADIENTS, scores, strict=False):
                found.setdefault(encoder + suffix, {})[key] = score
    return found
