"""The weight of the neighbours in each patch: lambda of App. B, 0.2 in the paper.

    hummingbird sweep --config=configs/pretrain/vit_b16_imagenet.py \
        --sweep=configs/sweeps/context_weight.py --workdir=DIR --config.data.root=IMAGENET \
        --config.evaluate.voc.data.root=VOCdevkit/VOC2012 \
        --config.evaluate.ade20k.data.root=ADEChallengeData2016 --config.evaluate.nyuv2.data.root=TFDS_DIR
    hummingbird sweep --config=configs/pretrain/demo.py --sweep=configs/sweeps/context_weight.py:demo --workdir=DIR

Six pretrainings x three seeds. Not yet run here at that size.
"""

from hummingbird.sweep import EVALUATIONS, Sweep, grid


def get_sweep(variant=""):
    """Returns the sweep with the paper's evaluations (the default) or `:demo`."""
    axes = {"context.weight": [0.0, 0.1, 0.2, 0.3, 0.5, 0.8], "seed": [0, 1, 2]}
    return Sweep("pretrain", grid(axes), evaluate=EVALUATIONS[variant])
