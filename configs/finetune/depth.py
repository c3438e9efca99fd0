"""Depth by 256 bins on a frozen encoder, as DINOv2 evaluates: SigLoss, and half as much of a loss of the slopes.

    hummingbird finetune --config=configs/finetune/depth.py:nyuv2 --checkpoint=PATH --workdir=DIR \
        --config.data.root=TFDS_DIR --config.depth.eigen_crop=true

Variants: scenes (the default), nyuv2 (47,584 frames of TFDS), nyuv2_labelled (795 frames of the .mat file), folder.
--config.decoder.preset=dinov2_depth or dinov3_depth takes their settings; --config.decoder.name=regression predicts the
depth as a number.
"""

from hummingbird.config.decoder_data import DEPTHS, on_data_sets


def get_config(variant=""):
    """Returns the config for `:scenes` (the default), `:nyuv2`, `:nyuv2_labelled` or `:folder`."""
    return on_data_sets({"decoder": {"name": "depth_bins"}}, DEPTHS)[variant]
