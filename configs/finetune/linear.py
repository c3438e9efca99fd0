"""A linear head on a frozen encoder: batch norm and a 1x1 convolution on the patch features, as DINOv2 evaluates.

    hummingbird finetune --config=configs/finetune/linear.py:pascal_voc \
        --checkpoint=PATH --workdir=DIR --config.data.root=VOCdevkit/VOC2012

Variants: scenes (the default), pascal_voc, ade20k, cityscapes, coco_stuff, folder. --config.decoder.train_encoder=true
trains the encoder too (end to end); --config.decoder.preset=segmenter, ub, dinov2, dinov2_ms, dinov3 or neco100 takes
another project's settings: README.md beside this file lists them.
"""

from hummingbird.config.decoder_data import CLASSES, on_data_sets


def get_config(variant=""):
    """Returns the config for `:scenes` (the default), `:pascal_voc`, `:ade20k`, `:cityscapes`, ... or `:folder`."""
    return on_data_sets({"decoder": {"name": "bn_linear"}}, CLASSES)[variant]
