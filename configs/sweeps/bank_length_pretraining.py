"""Figures 6 and 8, left: how long the memory bank of pretraining should be; 0 is no contextualisation.

    hummingbird sweep --config=configs/pretrain/vit_b16_imagenet.py \
        --sweep=configs/sweeps/bank_length_pretraining.py --workdir=DIR --config.data.root=IMAGENET \
        --config.evaluate.voc.data.root=VOCdevkit/VOC2012 \
        --config.evaluate.ade20k.data.root=ADEChallengeData2016 --config.evaluate.nyuv2.data.root=NYUV2
    hummingbird sweep --config=configs/pretrain/demo.py \
        --sweep=configs/sweeps/bank_length_pretraining.py:demo --workdir=DIR

Six pretrainings. The paper: gains from 40k entries, flat on ADE20K from 200k. Not yet run here at that size.
"""

from hummingbird.sweep import EVALUATIONS, Sweep, grid

# Multiples of the batch sizes of the two configs: no longer than it must be to hold whole batches.
LENGTHS = {"": [0, 20_480, 40_960, 81_920, 153_600, 307_200], "demo": [0, 96, 192, 384, 768, 1536]}


def get_sweep(variant=""):
    """The paper's lengths, or `:demo`."""
    return Sweep("pretrain", grid({"context.bank_length": LENGTHS[variant]}), evaluate=EVALUATIONS[variant])
