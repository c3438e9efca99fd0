"""Table 12: the retrieval-based supervised objective alone, the self-supervised one alone, and both.

    hummingbird sweep --config=configs/pretrain/vit_b16_imagenet.py \
        --sweep=configs/sweeps/table12.py --workdir=DIR --config.data.root=IMAGENET \
        --config.evaluate.voc.data.root=VOCdevkit/VOC2012 \
        --config.evaluate.ade20k.data.root=ADEChallengeData2016 --config.evaluate.nyuv2.data.root=TFDS_DIR
    hummingbird sweep --config=configs/pretrain/demo.py --sweep=configs/sweeps/table12.py:demo --workdir=DIR

Three pretrainings, not yet run here at that size. The paper's scores on ImageNet-1k stand beside those measured.
`:demo` trains and scores on `scenes`.
"""

from hummingbird.sweep import EVALUATIONS, Sweep, cross, paper_scores

ROWS = [
    {"name": "Supervised retrieval", "contrastive.weight": 0.0, "supervised.weight": 1.0},
    {"name": "Hummingbird", "supervised.weight": 0.0},
    {"name": "Hummingbird++", "supervised.weight": 0.05},
]
PUBLISHED = paper_scores(
    {
        "Supervised retrieval": (56.9, 22.9, 0.787),
        "Hummingbird": (70.5, 28.3, 0.718),
        "Hummingbird++": (72.1, 30.5, 0.738),
    }
)


def get_sweep(variant=""):
    """Returns the sweep with the paper's evaluations (the default) or `:demo`."""
    labels, published = {"": ({}, PUBLISHED), "demo": ({"data.scenes.labels": True}, {})}[variant]
    return Sweep("pretrain", cross(ROWS, [labels]), evaluate=EVALUATIONS[variant], published=published)
