"""COCO-Stuff: train2017 prompts val2017, mIoU. Not in the paper.

    hummingbird evaluate --config=configs/evaluate/coco_stuff.py \
        --checkpoint=PATH --workdir=DIR --config.data.root=FOLDER

`:few` has the hyper-parameters of Sec. 4.2, `:fractions` scores 1/128 to all of the prompt with them.
"""

from hummingbird.retrieval.protocol import variants


def get_config(variant="full"):
    """`:full` (Table 6, "Everywhere else"), `:few` (Sec. 4.2's column), or `:fractions` (the same for each part)."""
    return variants({"data": {"name": "coco_stuff"}})[variant]
