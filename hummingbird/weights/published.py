"""Encoders on the Hugging Face Hub that load by name: `hb.list_models()`, `hummingbird info --models`.

The list is short: one or a few of each project and size. Every other repository of these architectures loads as well.
Scores are those that a model's authors report, under their own protocols; they are not scores of retrieval.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
from collections.abc import Sequence

from hummingbird.models.architecture import MEAN, STD
from hummingbird.weights.families import CLIP_MEAN, CLIP_STD, HALF, SAT_MEAN, SAT_STD

Triple = tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class Reported:
    """A score that a model's authors report.

    Attributes:
      value: the score.
      metric: what was measured, on which data, with which head.
      source: where they report it.
    """

    value: float
    metric: str
    source: str


@dataclasses.dataclass(frozen=True)
class PublishedModel:
    """An encoder on the hub.

    Attributes:
      name: project, training data where a project has several, and size.
      checkpoint: what `load_encoder` and `--checkpoint` take.
      family: as `hummingbird info` recognises its files, a name in `families.FAMILIES`.
      patch_size: side of the square of pixels that one feature stands for.
      dim: channels of the features.
      mean, std: statistics of pixels in [0, 1] by which images are normalised.
      reported: score that its authors report; None: not known here.
    """

    name: str
    checkpoint: str
    family: str
    patch_size: int
    dim: int
    mean: Triple = MEAN
    std: Triple = STD
    reported: Reported | None = None


Pixels = tuple[Triple, Triple]
IMAGENET: Pixels = (MEAN, STD)
CENTRED: Pixels = (HALF, HALF)
CLIP: Pixels = (CLIP_MEAN, CLIP_STD)
SATELLITE: Pixels = (SAT_MEAN, SAT_STD)
UNCHANGED: Pixels = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
NORMALISATION = {IMAGENET: "ImageNet", CENTRED: "[-1, 1]", CLIP: "CLIP", SATELLITE: "SAT-493M", UNCHANGED: "[0, 1]"}


def _hf(
    name: str,
    place: str,
    family: str,
    patch_size: int,
    dim: int,
    reported: Reported | None = None,
    pixels: Pixels = IMAGENET,
    kind: str = "hf",
) -> PublishedModel:
    return PublishedModel(name, f"{kind}:{place}", family, patch_size, dim, *pixels, reported)


_timm = functools.partial(_hf, kind="timm")


def _knn(value: float) -> Reported:
    return Reported(value, "ImageNet top-1, 20 nearest neighbours of [CLS]", "DINO")


def _dinov2(value: float) -> Reported:
    return Reported(value, "ADE20K mIoU, linear on 4 layers, multi-scale", "DINOv2 model card")


def _dinov3(value: float) -> Reported:
    return Reported(value, "ADE20K mIoU, linear", "DINOv3 model card")


def _tips(value: float) -> Reported:
    return Reported(value, "PASCAL VOC mIoU, linear", "TIPS README")


DINOV2_GIANT = Reported(0.298, "NYUv2 RMSE in m, linear on 4 layers", "DINOv2 model card")
MAE_BASE = Reported(48.1, "ADE20K mIoU, finetuned with UperNet", "MAE")

MODELS: tuple[PublishedModel, ...] = (
    _timm("DINO ViT-S/16", "vit_small_patch16_224.dino", "timm", 16, 384, _knn(74.5)),
    _timm("DINO ViT-S/8", "vit_small_patch8_224.dino", "timm", 8, 384),
    _timm("DINO ViT-B/16", "vit_base_patch16_224.dino", "timm", 16, 768, _knn(76.1)),
    _timm("DINO ViT-B/8", "vit_base_patch8_224.dino", "timm", 8, 768),
    _timm("MAE ViT-B/16", "vit_base_patch16_224.mae", "timm", 16, 768, MAE_BASE),
    _timm("MAE ViT-L/16", "vit_large_patch16_224.mae", "timm", 16, 1024),
    _timm("DINOv2 ViT-S/14", "vit_small_patch14_dinov2.lvd142m", "timm", 14, 384, _dinov2(47.2)),
    _timm("DINOv2 ViT-B/14", "vit_base_patch14_dinov2.lvd142m", "timm", 14, 768, _dinov2(51.3)),
    _hf("DINOv2 ViT-B/14", "facebook/dinov2-base", "hf_dinov2", 14, 768, _dinov2(51.3)),
    _timm("DINOv2 ViT-L/14", "vit_large_patch14_dinov2.lvd142m", "timm", 14, 1024, _dinov2(53.1)),
    _timm("DINOv2 ViT-g/14", "vit_giant_patch14_dinov2.lvd142m", "timm", 14, 1536, DINOV2_GIANT),
    _timm("DINOv2 registers ViT-S/14", "vit_small_patch14_reg4_dinov2.lvd142m", "timm", 14, 384),
    _timm("DINOv2 registers ViT-B/14", "vit_base_patch14_reg4_dinov2.lvd142m", "timm", 14, 768),
    _timm("DINOv2 registers ViT-L/14", "vit_large_patch14_reg4_dinov2.lvd142m", "timm", 14, 1024),
    _timm("DINOv3 ViT-S/16", "vit_small_patch16_dinov3.lvd1689m", "timm_dinov3", 16, 384, _dinov3(47.0)),
    _timm("DINOv3 ViT-S+/16", "vit_small_plus_patch16_dinov3.lvd1689m", "timm_dinov3", 16, 384, _dinov3(48.8)),
    _timm("DINOv3 ViT-B/16", "vit_base_patch16_dinov3.lvd1689m", "timm_dinov3", 16, 768, _dinov3(51.8)),
    _timm("DINOv3 ViT-L/16", "vit_large_patch16_dinov3.lvd1689m", "timm_dinov3", 16, 1024, _dinov3(54.9)),
    _timm("DINOv3 ViT-H+/16", "vit_huge_plus_patch16_dinov3.lvd1689m", "timm_dinov3", 16, 1280, _dinov3(54.8)),
    _timm("DINOv3 ViT-7B/16", "vit_7b_patch16_dinov3.lvd1689m", "timm_dinov3", 16, 4096, _dinov3(55.9)),
    _timm("DINOv3 satellite ViT-L/16", "vit_large_patch16_dinov3.sat493m", "timm_dinov3", 16, 1024, None, SATELLITE),
    _timm("TIPS v2 ViT-B/14", "vit_base_patch14_reg1_tipsv2.webli", "timm", 14, 768, _tips(84.0), UNCHANGED),
    _timm("TIPS v2 ViT-L/14", "vit_large_patch14_reg1_tipsv2.webli", "timm", 14, 1024, _tips(85.1), UNCHANGED),
    _timm("PE core ViT-B/16", "vit_pe_core_base_patch16_224.fb", "perception", 16, 768, None, CENTRED),
    _timm("PE core ViT-L/14", "vit_pe_core_large_patch14_336.fb", "perception", 14, 1024, None, CENTRED),
    _timm("PE spatial ViT-B/16", "vit_pe_spatial_base_patch16_512.fb", "perception", 16, 768, None, CENTRED),
    _timm("PE spatial ViT-L/14", "vit_pe_spatial_large_patch14_448.fb", "perception", 14, 1024, None, CENTRED),
    _timm("EVA-02 ViT-B/14", "eva02_base_patch14_224.mim_in22k", "eva02", 14, 768, None, CLIP),
    _timm("EVA-02 ViT-L/14", "eva02_large_patch14_224.mim_m38m", "eva02", 14, 1024, None, CLIP),
    _timm("EVA02-CLIP ViT-B/16", "eva02_base_patch16_clip_224.merged2b", "eva02", 16, 768, None, CLIP),
    _timm("BEiT ViT-B/16", "beit_base_patch16_224.in22k_ft_in22k", "beit", 16, 768, None, CENTRED),
    _timm("BEiT v2 ViT-B/16", "beitv2_base_patch16_224.in1k_ft_in22k", "beitv2", 16, 768),
    _timm("AugReg IN1k ViT-B/16", "vit_base_patch16_224.augreg_in1k", "timm", 16, 768, None, CENTRED),
    _timm("AugReg IN21k ViT-B/16", "vit_base_patch16_224.augreg_in21k", "timm", 16, 768, None, CENTRED),
    _timm("AugReg IN21k ViT-L/16", "vit_large_patch16_224.augreg_in21k", "timm", 16, 1024, None, CENTRED),
    _timm("DeiT III IN1k ViT-B/16", "deit3_base_patch16_224.fb_in1k", "timm", 16, 768),
    _timm("DeiT III IN22k ViT-B/16", "deit3_base_patch16_224.fb_in22k_ft_in1k", "timm", 16, 768),
    _timm("DeiT III IN22k ViT-L/16", "deit3_large_patch16_224.fb_in22k_ft_in1k", "timm", 16, 1024),
    _timm("ConvNeXt IN22k B", "convnext_base.fb_in22k", "convnext", 32, 1024),
    _timm("ConvNeXt IN22k XL", "convnext_xlarge.fb_in22k", "convnext", 32, 2048),
    _timm("Swin IN22k B", "swin_base_patch4_window7_224.ms_in22k", "swin", 32, 1024),
    _timm("Swin V2 IN22k B", "swinv2_base_window12_192.ms_in22k", "swin", 32, 1024),
    _timm("ResNet-50 IN1k", "resnet50.a1_in1k", "resnet", 32, 2048),
    _hf("C-RADIO v4 ViT-H/16", "nvidia/C-RADIOv4-H", "radio", 16, 1280, None, CLIP),
    _hf("TIPS v2 ViT-B/14", "google/tipsv2-b14", "tips", 14, 768, _tips(84.0), UNCHANGED),
    _hf("CLIP ViT-B/16", "openai/clip-vit-base-patch16", "hf_clip", 16, 768, None, CLIP),
    _hf("CLIP ViT-L/14", "openai/clip-vit-large-patch14", "hf_clip", 14, 1024, None, CLIP),
    _timm("OpenCLIP LAION-2B ViT-B/16", "vit_base_patch16_clip_224.laion2b", "timm", 16, 768, None, CLIP),
    _timm("SigLIP ViT-B/16", "vit_base_patch16_siglip_224.webli", "siglip", 16, 768, None, CENTRED),
    _timm("SigLIP 2 ViT-B/16", "vit_base_patch16_siglip_224.v2_webli", "siglip", 16, 768, None, CENTRED),
    _hf("SigLIP 2 NaFlex ViT-B/16", "google/siglip2-base-patch16-naflex", "hf_siglip2", 16, 768, None, CENTRED),
)


def list_models(pattern: str = "") -> list[PublishedModel]:
    """Lists encoders on the Hugging Face Hub that load by name.

    Args:
      pattern: only those with this in their name or checkpoint, upper or lower case alike; with "*" as in file names.

    Example:
      >>> [model.checkpoint for model in list_models("dino vit-s")]
      ['timm:vit_small_patch16_224.dino', 'timm:vit_small_patch8_224.dino']
    """
    wanted = f"*{pattern.lower()}*"
    return [m for m in MODELS if any(fnmatch.fnmatchcase(text.lower(), wanted) for text in (m.name, m.checkpoint))]


def markdown(models: Sequence[PublishedModel]) -> str:
    """Returns a table of models in Markdown, with columns of even width."""
    rows = [("model", "checkpoint", "family", "patch", "dim", "pixels", "reported by its authors")]
    rows += [_cells(model) for model in models]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["| " + " | ".join(x.ljust(n) for x, n in zip(row, widths, strict=True)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "|".join("-" * (n + 2) for n in widths) + "|", *lines[1:]])


def _cells(model: PublishedModel) -> tuple[str, ...]:
    reported = model.reported
    score = f"{reported.value:g} {reported.metric} ({reported.source})" if reported else "–"
    sizes = str(model.patch_size), str(model.dim), NORMALISATION[model.mean, model.std]
    return (model.name, f"`{model.checkpoint}`", f"`{model.family}`", *sizes, score)
