"""Image retrieval on revisited Oxford and Paris: mAP, medium and hard.

    hummingbird evaluate --config=configs/evaluate/landmarks.py:rparis6k \
        --checkpoint=PATH --workdir=DIR --config.data.root=ROOT

Variants: roxford5k (the default) and rparis6k. ROOT holds gnd_roxford5k.pkl or gnd_rparis6k.pkl and the images, in
folders of any names. `:fungi` and `:rparis6k_fungi` are as in FUNGI's code (App. A.1): a central crop, queries that are
not cropped to their boxes, and inner products after PCA.

Published mAP of FUNGI (Table 10), plain features, medium / hard: DINO ViT-B/16 39.2 / 11.0 on Oxford, 63.8 / 37.6 on
Paris; DINOv2 ViT-B 69.7 / 42.0 and 89.4 / 77.5.
"""

OFFICIAL = {"crop": "aspect"}
FUNGI = {"crop": "centre", "crop_query": False, "renormalise": False}


def get_config(variant="roxford5k"):
    """Returns `:roxford5k` (the default), `:rparis6k`, `:fungi` or `:rparis6k_fungi`."""
    name, images = {
        "roxford5k": ("roxford5k", OFFICIAL),
        "rparis6k": ("rparis6k", OFFICIAL),
        "fungi": ("roxford5k", FUNGI),
        "rparis6k_fungi": ("rparis6k", FUNGI),
    }[variant]
    return {"input_size": 224, "batch_size": 32, "data": {"name": name, "task": "image_retrieval"}, "images": images}
