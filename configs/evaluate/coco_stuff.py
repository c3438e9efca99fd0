"""COCO-Stuff: train2017 prompts val2017, mIoU. Not in the paper.

    hummingbird evaluate --config=configs/evaluate/coco_stuff.py \
        --checkpoint=PATH --workdir=DIR --config.data.root=FOLDER

`:few` has the hyper-parameters of Sec. 4.2.
"""

from hummingbird.retrieval.protocol import FEW_DATA


def get_config(variant="full"):
    """`:full`, Table 6's "Everywhere else"; `:few`, Sec. 4.2's column for small parts of the prompt."""
    config = {"data": {"name": "coco_stuff"}}
    few = {**config, **FEW_DATA}
    return {"": config, "full": config, "few": few}[variant]
