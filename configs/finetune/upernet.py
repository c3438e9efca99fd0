"""UperNet with the encoder trained: MAE's protocol (He et al. 2022), by which Tables 4 and 11 fine-tune.

    hummingbird finetune --config=configs/finetune/upernet.py:ade20k \
        --checkpoint=PATH --workdir=DIR --config.data.root=ADEChallengeData2016

Variants: scenes (the default, a tiny one), pascal_voc, ade20k, cityscapes, coco_stuff, folder. 160,000 steps on ADE20K
are MAE's; the paper gives no number for PASCAL VOC, and 40,000 (60 epochs) is our choice.
"""

from hummingbird.config.decoder_data import CLASSES, on_data_sets

SCENES = {
    "decoder.width": 64,
    "decoder.inference": "whole",
    "total_steps": 400,
    "optimizer.learning_rate": 1e-3,
    "optimizer.warmup_steps": 40,
}


def get_config(variant=""):
    """Returns the config for `:scenes` (the default), `:pascal_voc`, `:ade20k`, `:cityscapes`, ... or `:folder`."""
    config = on_data_sets({"decoder": {"preset": "mae_upernet"}}, CLASSES)[variant]
    shorter = {"": SCENES, "scenes": SCENES, "pascal_voc": {"total_steps": 40_000}}
    return {**config, **shorter.get(variant, {})}
