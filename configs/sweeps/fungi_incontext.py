"""FUNGI in context (its Tables 3, 4 and 7): gradient features of patches by preset and projection, five seeds.

    hummingbird sweep --config=configs/evaluate/pascal_voc.py --sweep=configs/sweeps/fungi_incontext.py \
        --checkpoint=PATH --workdir=DIR --config.data.root=VOCdevkit/VOC2012
    hummingbird sweep --config=configs/evaluate/demo.py --sweep=configs/sweeps/fungi_incontext.py:demo \
        --checkpoint=runs/hummingbird --workdir=DIR
    hummingbird sweep --sweep=configs/sweeps/fungi_incontext.py:banks --workdir=DIR \
        --config.evaluate.voc.data.root=VOCdevkit/VOC2012 --config.evaluate.ade20k.data.root=ADEChallengeData2016
    hummingbird sweep --sweep=configs/sweeps/fungi_incontext.py:few --workdir=DIR \
        --config.evaluate.voc.data.root=VOCdevkit/VOC2012 --config.evaluate.ade20k.data.root=ADEChallengeData2016

The seed draws augmentation, the patches that are kept, heads and projection. The default projects by `dense`, as
published; `:demo` by `tensor`, which suits a CPU, and by `dense` for one preset.

`:banks` has the three bank lengths of Tables 3 and 7, `:few` the fractions of Table 4, both for DINO's encoders from
the Hugging Face Hub (extra `hub`) and with the settings of the published code: preset public-code, protocol
open-hummingbird. Neither has been run here.
"""

from hummingbird.sweep import Sweep, cross, grid

PRESETS = [
    {"name": "paper", "features.preset": "paper"},
    {"name": "paper-own-patches", "features.preset": "paper", "features.own_patches": True},
    {"name": "public-code", "features.preset": "public-code"},
    {"name": "public-code-interleaved", "features.preset": "public-code", "features.interleave": True},
    {"name": "attraction", "features.preset": "attraction"},
]
PROJECTIONS = {"": "dense", "demo": "tensor"}

ENCODERS = {name: f"timm:vit_{size}_patch16_224.dino" for name, size in (("ViT-S/16", "small"), ("ViT-B/16", "base"))}
FUNGI = {"features.gradients": ["simclr"], "features.preset": "public-code"}
# mIoU on PASCAL VOC, then on ADE20K, for each bank length.
LENGTHS = {"10^2": 102_400, "10^3": 1_024_000, "10^4": 10_240_000}
TABLES_3_AND_7 = {
    "ViT-S/16": ((37.2, 43.1, 46.6), (11.4, 14.5, 17.0)),
    "ViT-S/16 + FUNGI": ((50.7, 56.3, 58.0), (16.1, 20.0, 22.3)),
    "ViT-B/16": ((44.9, 50.8, 55.7), (14.5, 18.3, 20.8)),
    "ViT-B/16 + FUNGI": ((62.1, 66.1, 67.0), (19.2, 23.5, 25.2)),
}
FRACTIONS = {"1/128": 1 / 128, "1/64": 1 / 64}
TABLE_4 = {
    "ViT-S/16": ((26.3, 31.8), (8.8, 10.0)),
    "ViT-S/16 + FUNGI": ((29.1, 34.0), (10.2, 12.3)),
    "ViT-B/16": ((32.2, 39.0), (9.3, 11.3)),
    "ViT-B/16 + FUNGI": ((38.0, 46.8), (11.7, 13.7)),
}


def compared(key, values, table, config):
    """Returns points, evaluations and published scores: both encoders, without and with gradients, for each value."""
    rows = [
        {"name": name + suffix, "checkpoint": checkpoint, "protocol": "open-hummingbird", **settings}
        for name, checkpoint in ENCODERS.items()
        for suffix, settings in (("", {}), (" + FUNGI", FUNGI))
    ]
    points = cross(rows, [{"name": name, key: value} for name, value in values.items()])
    published = {
        f"{row} {name}": {"voc.miou": voc, "ade20k.miou": ade}
        for row, scores in table.items()
        for name, voc, ade in zip(values, *scores, strict=True)
    }
    evaluate = {"voc": f"evaluate/pascal_voc:{config}", "ade20k": f"evaluate/ade20k:{config}"}
    return points, evaluate, published


def get_sweep(variant=""):
    """Returns the presets with the dense projection (the default), `:demo`, `:banks` or `:few`."""
    if variant == "banks":
        points, evaluate, published = compared("retrieval.memory_length", LENGTHS, TABLES_3_AND_7, "full")
        augmented = [{**point, "retrieval.augmentation_epochs": 1} for point in points]
        return Sweep("evaluate", augmented, evaluate, objective="voc.miou", published=published)
    if variant == "few":
        points, evaluate, published = compared("data.fraction", FRACTIONS, TABLE_4, "few")
        draws = cross(points, grid({"seed": [0, 1, 2, 3, 4]}))
        return Sweep("evaluate", draws, evaluate, objective="voc.miou", published=published)
    simclr = [{"features.gradients": ["simclr"], "features.projection": PROJECTIONS[variant], **x} for x in PRESETS]
    exact = {"name": "attraction-exact", "features.preset": "attraction", "features.projection": "none"}
    others = [
        {"name": "encoder", "retrieval.augmentation_epochs": 1},
        {**exact, "features.gradients": ["simclr"]},
        {"name": "kl", "features.gradients": ["kl"], "features.projection": PROJECTIONS[variant]},
    ]
    if variant == "demo":
        del others[0]["retrieval.augmentation_epochs"]  # its config augments nothing
        dense = {"name": "attraction-dense", "features.preset": "attraction", "features.projection": "dense"}
        others.append({**dense, "features.gradients": ["simclr"]})
    return Sweep("evaluate", cross([*others, *simclr], grid({"seed": [0, 1, 2, 3, 4]})))
