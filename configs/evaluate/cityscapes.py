"""Cityscapes: 2,975 images of train prompt 500 of val; 19 classes, mIoU. Not in the paper.

    hummingbird evaluate --config=configs/evaluate/cityscapes.py \
        --checkpoint=PATH --workdir=DIR --config.data.root=FOLDER

The folder holds leftImg8bit/ and gtFine/. `:few` has the hyper-parameters of Sec. 4.2, `:fractions` scores parts.
"""

from hummingbird.retrieval.protocol import variants


def get_config(variant="full"):
    """`:full` (Table 6, "Everywhere else"), `:few` (Sec. 4.2's column), or `:fractions` (the same for each part)."""
    return variants({"data": {"name": "cityscapes"}})[variant]
