"""FUNGI in context (its Tables 3, 4 and 7): gradient features of patches by preset and projection, five seeds.

    hummingbird sweep --config=configs/evaluate/pascal_voc.py --sweep=configs/sweeps/fungi_incontext.py \
        --checkpoint=PATH --workdir=DIR --config.data.root=VOCdevkit/VOC2012
    hummingbird sweep --config=configs/evaluate/demo.py --sweep=configs/sweeps/fungi_incontext.py:demo \
        --checkpoint=runs/demo/pretrain --workdir=DIR

The seed draws augmentation, the patches that are kept, heads and projection. `:demo` projects by `tensor`, as suits a
CPU, and by `dense` for one preset; the default by `dense`, as published. Published for DINO ViT-B/16 on PASCAL VOC,
under the protocol open-hummingbird and by the preset public-code, mIoU without and with gradients: 44.9 and 62.1 with a
bank of 1024 x 10^2 entries, 50.8 and 66.1 with ten times that, 55.7 and 67.0 with a hundred times.
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


def get_sweep(variant=""):
    """Returns the presets with the dense projection (the default), or `:demo`."""
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
