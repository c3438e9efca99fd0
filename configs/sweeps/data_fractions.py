"""Tables 2, 9 and 10: few annotated images; five draws of each fraction, mean and standard deviation.

    hummingbird sweep --config=configs/evaluate/pascal_voc.py:few --sweep=configs/sweeps/data_fractions.py \
        --checkpoint=PATH --workdir=DIR --config.data.root=VOCdevkit/VOC2012
    hummingbird sweep --config=configs/evaluate/demo.py --sweep=configs/sweeps/data_fractions.py:demo \
        --checkpoint=runs/demo/pretrain --workdir=DIR

Forty evaluations (`:demo`: twelve). For Table 10 use configs/evaluate/ade20k.py:few.
"""

from hummingbird.sweep import Sweep, grid

FRACTIONS = {"": [1 / n for n in (128, 64, 32, 16, 8, 4, 2, 1)], "demo": [1 / 16, 1 / 4, 1]}
SEEDS = {"": 5, "demo": 4}


def get_sweep(variant=""):
    """Returns the paper's fractions and seeds (the default) or `:demo`."""
    return Sweep("evaluate", grid({"data.fraction": FRACTIONS[variant], "seed": list(range(SEEDS[variant]))}))
