"""Table 5: attention pooling and contextualisation, each with and without the other.

    hummingbird sweep --config=configs/pretrain/vit_b16_imagenet.py \
        --sweep=configs/sweeps/table5.py --workdir=DIR --config.data.root=IMAGENET \
        --config.evaluate.voc.data.root=VOCdevkit/VOC2012 \
        --config.evaluate.ade20k.data.root=ADEChallengeData2016 --config.evaluate.nyuv2.data.root=TFDS_DIR
    hummingbird sweep --config=configs/pretrain/demo.py --sweep=configs/sweeps/table5.py:demo --workdir=DIR

Seven pretrainings, each evaluated on PASCAL VOC, ADE20K and NYUv2 (`:demo`: on `scenes`), not yet run here at that
size. The paper reports 38.6, 55.6, 64.5, 65.6, 68.7, 68.0 and 70.5 PASCAL mIoU, from the first row to the last.
"""

from hummingbird.sweep import EVALUATIONS, Sweep

ROWS = [
    {"name": "MoCLR", "pooling": "mean", "context.bank_length": 0},
    {"name": "+ cont.", "pooling": "mean"},
    {"name": "+ [CLS]", "pooling": "cls", "context.bank_length": 0},
    {"name": "+ [CLS] + cont.", "pooling": "cls"},
    {"name": "+ QK att. + cont.", "pooling": "qk"},
    {"name": "+ QKV att.", "pooling": "qkv", "context.bank_length": 0},
    {"name": "Hummingbird", "pooling": "qkv"},
]


def get_sweep(variant=""):
    """Returns the sweep with the paper's evaluations (the default) or `:demo`."""
    return Sweep("pretrain", ROWS, evaluate=EVALUATIONS[variant])
