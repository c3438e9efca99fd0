"""Cityscapes: mIoU over 19 classes; prompt train (2,975 images), query val (500). Not in the paper.

    hummingbird evaluate --config=configs/evaluate/cityscapes.py \
        --checkpoint=PATH --workdir=DIR --config.data.root=FOLDER

FOLDER holds leftImg8bit/ and gtFine/. `:few` uses the hyper-parameters of Sec. 4.2; `:fractions` scores 1/128 to all of
the prompt with them.
"""

from hummingbird.retrieval.protocol import variants


def get_config(variant="full"):
    """Returns `:full` (Table 6, "Everywhere else"), `:few` (Table 6, Sec. 4.2) or `:fractions` (`:few` by fraction)."""
    return variants({"data": {"name": "cityscapes"}})[variant]
