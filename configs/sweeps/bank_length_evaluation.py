"""Figures 6 and 8, right: how long the memory bank of evaluation should be, with and without sampling.

    hummingbird sweep --config=configs/evaluate/pascal_voc.py --sweep=configs/sweeps/bank_length_evaluation.py \
        --checkpoint=PATH --workdir=DIR --config.data.root=VOCdevkit/VOC2012
    hummingbird sweep --config=configs/evaluate/demo.py --sweep=configs/sweeps/bank_length_evaluation.py:demo \
        --checkpoint=runs/demo/pretrain --workdir=DIR

Five lengths, patches sampled by Eq. 5 or all of as many images as fit. The paper: gains up to 10 million entries.
"""

from hummingbird.sweep import Sweep, grid

LENGTHS = {
    "": [102_400, 320_000, 1_024_000, 3_200_000, 10_240_000],
    "demo": [256, 512, 1024, 2048, 4096],
}


def get_sweep(variant=""):
    """The paper's lengths, or `:demo`."""
    axes = {"retrieval.memory_length": LENGTHS[variant], "retrieval.sampling": ["salient", "all"]}
    return Sweep("evaluate", grid(axes))
