"""Figures 6 and 8, right: the length of the memory bank in evaluation, with and without sampling.

    hummingbird sweep --config=configs/evaluate/pascal_voc.py --sweep=configs/sweeps/bank_length_evaluation.py \
        --checkpoint=PATH --workdir=DIR --config.data.root=VOCdevkit/VOC2012
    hummingbird sweep --config=configs/evaluate/demo.py --sweep=configs/sweeps/bank_length_evaluation.py:demo \
        --checkpoint=runs/hummingbird --workdir=DIR

Five lengths; patches are sampled by Eq. 5, or all patches are kept until the bank is full. The paper reports gains up
to 10 million entries.
"""

from hummingbird.sweep import Sweep, grid

LENGTHS = {
    "": [102_400, 320_000, 1_024_000, 3_200_000, 10_240_000],
    "demo": [256, 512, 1024, 2048, 4096],
}


def get_sweep(variant=""):
    """Returns the paper's lengths (the default) or `:demo`."""
    axes = {"retrieval.memory_length": LENGTHS[variant], "retrieval.sampling": ["salient", "all"]}
    return Sweep("evaluate", grid(axes))
