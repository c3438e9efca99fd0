"""The weight of the labels: alpha of Sec. 3.4, in the paper 0.05, and 0.25 for ViT-B on ImageNet-22k.

    hummingbird sweep --config=configs/pretrain/vit_b16_imagenet.py \
        --sweep=configs/sweeps/supervised_weight.py --workdir=DIR --config.data.root=IMAGENET \
        --config.evaluate.voc.data.root=VOCdevkit/VOC2012 \
        --config.evaluate.ade20k.data.root=ADEChallengeData2016 --config.evaluate.nyuv2.data.root=TFDS_DIR
    hummingbird sweep --config=configs/pretrain/demo.py --sweep=configs/sweeps/supervised_weight.py:demo --workdir=DIR

Six pretrainings, not yet run here at that size. `:demo` trains and scores on `scenes`.
"""

from hummingbird.sweep import EVALUATIONS, Sweep, cross, grid


def get_sweep(variant=""):
    """Returns the sweep with the paper's evaluations (the default) or `:demo`."""
    labels = {"": {}, "demo": {"data.scenes.labels": True}}[variant]
    axes = {"supervised.weight": [0.0, 0.01, 0.05, 0.1, 0.25, 1.0]}
    return Sweep("pretrain", cross(grid(axes), [labels]), evaluate=EVALUATIONS[variant])
