"""Figures 6 and 8, left: the length of the memory bank in pretraining; 0 is no contextualisation.

    hummingbird sweep --config=configs/pretrain/vit_b16_imagenet22k.py \
        --sweep=configs/sweeps/bank_length_pretraining.py --workdir=DIR --config.data.root=IMAGENET22K \
        --config.evaluate.voc.data.root=VOCdevkit/VOC2012 \
        --config.evaluate.ade20k.data.root=ADEChallengeData2016 --config.evaluate.nyuv2.data.root=TFDS_DIR
    hummingbird sweep --config=configs/pretrain/demo.py \
        --sweep=configs/sweeps/bank_length_pretraining.py:demo --workdir=DIR

Six pretrainings; `:supervised` is the other curve, with labels (alpha = 0.25) and a linear classifier instead of
retrieval at length 0. The paper reports gains from 40k entries and none on ADE20K beyond 200k. Not yet run here at that
size.
"""

from hummingbird.sweep import EVALUATIONS, Sweep, grid

# Multiples of the batch sizes of the two configs, so that a bank holds whole batches.
PAPER = [0, 20_480, 40_960, 81_920, 153_600, 307_200]
LENGTHS = {"": PAPER, "supervised": PAPER, "demo": [0, 96, 192, 384, 768, 1536]}


def get_sweep(variant=""):
    """Returns the paper's lengths without labels (the default), with labels (`:supervised`), or `:demo`."""
    points = grid({"context.bank_length": LENGTHS[variant]})
    if variant == "supervised":
        points = [{**point, "supervised.weight": 0.25} for point in points]
        points[0] |= {"supervised.objective": "classifier", "supervised.classes": 21_841}
    return Sweep("pretrain", points, evaluate=EVALUATIONS[variant if variant == "demo" else ""])
