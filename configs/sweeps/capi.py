"""CAPI's patch k-NN: how many neighbours, and which distance between standardised features.

    hummingbird sweep --config=configs/evaluate/ade20k.py --sweep=configs/sweeps/capi.py --checkpoint=PATH \
        --workdir=DIR --config.data.root=ADEChallengeData2016
    hummingbird sweep --config=configs/evaluate/demo.py --sweep=configs/sweeps/capi.py --checkpoint=PATH --workdir=DIR

Eight evaluations, which share one encoding. CAPI chooses the best of the eight on a tenth of the training images, and
reports 35.2, 32.1, 29.7 and 29.2 mIoU on ADE20K for its ViT-L/14 trained on Places205, LVD-142M, ImageNet-22k and
ImageNet-1k. The best of the eight on the query images themselves is a little optimistic.
"""

from hummingbird.sweep import Sweep, grid


def get_sweep():
    """Returns the eight settings."""
    axes = {"retrieval.distance": ["cosine", "l2"], "retrieval.neighbours": [1, 3, 10, 30]}
    return Sweep("evaluate", [{"protocol": "capi", **point} for point in grid(axes)])
