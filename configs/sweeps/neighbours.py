"""Appendix A.2: neighbours, temperature and re-ordering, with one bank and one index that are built once.

    hummingbird sweep --config=configs/evaluate/pascal_voc.py --sweep=configs/sweeps/neighbours.py \
        --checkpoint=PATH --workdir=DIR --config.data.root=VOCdevkit/VOC2012
    hummingbird sweep --config=configs/evaluate/demo.py --sweep=configs/sweeps/neighbours.py:demo \
        --checkpoint=runs/hummingbird --workdir=DIR

Sixty settings (`:demo`: twenty). In the paper temperature and re-ordering matter most, and k hardly matters.
"""

from hummingbird.sweep import Sweep, grid

ATTENTION = {"retrieval.neighbours": [10, 30, 90, 200], "retrieval.temperature": [0.01, 0.02, 0.05, 0.1, 0.2]}
REORDER = {"retrieval.scann.reorder": [200, 500, 1800]}  # at least the largest number of neighbours


def get_sweep(variant=""):
    """Returns all three settings (the default), or `:demo` without re-ordering: its bank is searched exactly."""
    return Sweep("evaluate", grid({"": {**ATTENTION, **REORDER}, "demo": ATTENTION}[variant]))
