"""Table 1: published encoders on PASCAL VOC, ADE20K and NYUv2, beside the paper's scores.

    hummingbird sweep --sweep=configs/sweeps/table1.py --workdir=DIR \
        --config.evaluate.voc.data.root=VOCdevkit/VOC2012 \
        --config.evaluate.ade20k.data.root=ADEChallengeData2016 --config.evaluate.nyuv2.data.root=TFDS_DIR
    hummingbird sweep --sweep=configs/sweeps/table1.py:all --workdir=DIR \
        --config.evaluate.voc.data.root=VOCdevkit/VOC2012 \
        --config.evaluate.ade20k.data.root=ADEChallengeData2016 --config.evaluate.nyuv2.data.root=TFDS_DIR
    hummingbird sweep --sweep=configs/sweeps/table1.py:demo --workdir=DIR

Ten encoders of the Hugging Face Hub (extra `hub`), which are downloaded once, with three evaluations each. The paper's
take 15, 25 and 30 minutes per encoder on an A100; not yet run here at that size. Rows of the paper without a public
checkpoint show its scores alone.

The paper does not say which supervised checkpoints it used. Where it names one elsewhere it is DeiT III; that and
AugReg are both run, under the same name. For its NeXt-XL it states 1,300M parameters; the public ConvNeXt-XL has 350M.

`:all` adds encoders that are files: give each the name of `FILES` under checkpoints/, or link it there (MoCo v3 and
LOCA from their projects, Hummingbird from runs of your own: `hummingbird pretrain --config=pretrain/vit_b16_imagenet`).
Names that are not there fail, and everything else is run. `:demo` scores random weights and raw pixels on `scenes`.
"""

from hummingbird.sweep import EVALUATIONS, Sweep, paper_scores

PUBLISHED = paper_scores(
    {
        "Supervised ViT-B IN1K": (35.1, 13.8, 0.913),
        "DINO ViT-B IN1K": (55.9, 21.8, 0.793),
        "MoCo-v3 ViT-B IN1K": (37.2, 14.6, 0.771),
        "MAE ViT-B IN1K": (6.6, 3.3, 0.981),
        "LOCA ViT-B IN1K": (57.5, 18.5, 0.880),
        "Hummingbird ViT-B IN1K": (70.5, 28.3, 0.718),
        "Hummingbird++ ViT-B IN1K": (72.1, 30.5, 0.738),
        "Supervised ViT-B IN22K": (63.5, 28.0, 1.07),
        "MAE ViT-B IN22K": (9.8, 4.2, 0.968),
        "LOCA ViT-B IN22K": (56.4, 16.8, 0.829),
        "Hummingbird ViT-B IN22K": (73.5, 30.7, 0.706),
        "Hummingbird++ ViT-B IN22K": (76.2, 34.1, 0.695),
        "CLIP NFNet-F6 ALIGN": (57.2, 25.0, 0.844),
        "Supervised NeXt-XL IN22K": (58.9, 25.5, 0.791),
        "Supervised ViT-L IN22K": (65.8, 26.1, 0.860),
        "MAE ViT-L IN1K": (8.0, 3.6, 0.934),
        "LOCA ViT-L IN22K": (59.5, 17.6, 0.912),
        "Hummingbird ViT-L IN22K": (76.9, 35.0, 0.671),
        "Hummingbird++ ViT-L IN22K": (77.3, 35.8, 0.671),
    }
)

HUB = [
    ("Supervised ViT-B IN1K", "timm:deit3_base_patch16_224.fb_in1k"),
    ("Supervised ViT-B IN1K", "timm:vit_base_patch16_224.augreg_in1k"),
    ("DINO ViT-B IN1K", "timm:vit_base_patch16_224.dino"),
    ("MAE ViT-B IN1K", "timm:vit_base_patch16_224.mae"),
    ("Supervised ViT-B IN22K", "timm:deit3_base_patch16_224.fb_in22k_ft_in1k"),
    ("Supervised ViT-B IN22K", "timm:vit_base_patch16_224.augreg_in21k"),
    ("Supervised NeXt-XL IN22K", "timm:convnext_xlarge.fb_in22k"),
    ("Supervised ViT-L IN22K", "timm:deit3_large_patch16_224.fb_in22k_ft_in1k"),
    ("Supervised ViT-L IN22K", "timm:vit_large_patch16_224.augreg_in21k"),
    ("MAE ViT-L IN1K", "timm:vit_large_patch16_224.mae"),
]
FILES = [
    ("MoCo-v3 ViT-B IN1K", "checkpoints/mocov3_b"),
    ("LOCA ViT-B IN1K", "checkpoints/loca_b"),
    ("LOCA ViT-B IN22K", "checkpoints/loca_b_in22k"),
    ("LOCA ViT-L IN22K", "checkpoints/loca_l_in22k"),
    ("Hummingbird ViT-B IN1K", "checkpoints/hummingbird_b"),
    ("Hummingbird ViT-B IN22K", "checkpoints/hummingbird_b_in22k"),
    ("Hummingbird ViT-L IN22K", "checkpoints/hummingbird_l_in22k"),
    ("Hummingbird++ ViT-B IN1K", "checkpoints/hummingbird_pp_b"),
    ("Hummingbird++ ViT-B IN22K", "checkpoints/hummingbird_pp_b_in22k"),
    ("Hummingbird++ ViT-L IN22K", "checkpoints/hummingbird_pp_l_in22k"),
]
DEMO = [("random ViT-Ti/8", "random:vit_ti8"), ("raw pixels", "rgb:8")]
VARIANTS = {
    "": (HUB, EVALUATIONS[""], PUBLISHED),
    "all": ([*HUB, *FILES], EVALUATIONS[""], PUBLISHED),
    "demo": (DEMO, EVALUATIONS["demo"], {}),
}


def get_sweep(variant=""):
    """Returns the encoders of the hub (the default), `:all` or `:demo`."""
    rows, evaluations, published = VARIANTS[variant]
    points = [{"name": name, "checkpoint": checkpoint} for name, checkpoint in rows]
    objective = f"{next(iter(evaluations))}.miou"
    return Sweep("evaluate", points, evaluate=evaluations, objective=objective, published=published)
