"""Cityscapes: mIoU over 19 classes; prompt train (2,975 images), query val (500). Not in the paper.

    hummingbird evaluate --config=configs/evaluate/cityscapes.py \
        --checkpoint=PATH --workdir=DIR --config.data.root=FOLDER

FOLDER holds leftImg8bit/ and gtFine/. `:few` uses the hyper-parameters of Sec. 4.2; `:fractions` scores 1/128 to all of
the prompt with them. Images are 2048x1024: --config.resize=shorter keeps their aspect, and
--config.retrieval.augmentation_scale=input shows augmented prompts at the scale of the queries.

At 768 dimensions the longest part of `:fractions` takes 32 GB of memory, and its index some more. A bank for all
parts takes 38 GB beside that, and every image is encoded once; with less memory, parts that do not fit together are
encoded one after the other, with up to six times the encoding and the same scores.
"""

from hummingbird.retrieval.protocol import variants


def get_config(variant="full"):
    """Returns `:full` (Table 6, "Everywhere else"), `:few` (Table 6, Sec. 4.2) or `:fractions` (`:few` by fraction)."""
    return variants({"data": {"name": "cityscapes"}})[variant]
