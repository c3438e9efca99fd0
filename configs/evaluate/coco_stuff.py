"""COCO-Stuff: mIoU over 171 classes; prompt train2017 (118,287 images), query val2017 (5,000). Not in the paper.

    hummingbird evaluate --config=configs/evaluate/coco_stuff.py \
        --checkpoint=PATH --workdir=DIR --config.data.root=FOLDER

The folder holds images/ and annotations/, each with train2017/ and val2017/. `:few` uses the hyper-parameters of Sec.
4.2; `:fractions` scores 1/128 to all of the prompt with them. The COCO of open-hummingbird-eval has 12 or 15 coarse
classes, so its protocol is refused here, as is DIP's, which is a copy.

At 768 dimensions the longest part of `:fractions` takes 32 GB of memory, and its index some more. A bank for all
parts takes 358 GB beside that, and every image is encoded once; with less memory, parts that do not fit together are
encoded one after the other, with up to six times the encoding and the same scores.
"""

from hummingbird.retrieval.protocol import variants


def get_config(variant="full"):
    """Returns `:full` (Table 6, "Everywhere else"), `:few` (Table 6, Sec. 4.2) or `:fractions` (`:few` by fraction)."""
    return variants({"data": {"name": "coco_stuff"}})[variant]
