"""Table 5: attention pooling and contextualisation, each with and without the other.

    hummingbird sweep --config=configs/pretrain/vit_b16_imagenet.py \
        --sweep=configs/sweeps/table5.py --workdir=DIR --config.data.root=IMAGENET \
        --config.evaluate.voc.data.root=VOCdevkit/VOC2012 \
        --config.evaluate.ade20k.data.root=ADEChallengeData2016 --config.evaluate.nyuv2.data.root=TFDS_DIR
    hummingbird sweep --config=configs/pretrain/demo.py --sweep=configs/sweeps/table5.py:demo --workdir=DIR

Seven pretrainings, each evaluated on PASCAL VOC, ADE20K and NYUv2 (`:demo`: on `scenes`), not yet run here at that
size. The paper's scores stand beside those measured.
"""

from hummingbird.sweep import EVALUATIONS, Sweep, paper_scores

ROWS = [
    {"name": "MoCLR", "pooling": "mean", "context.bank_length": 0},
    {"name": "+ cont.", "pooling": "mean"},
    {"name": "+ [CLS]", "pooling": "cls", "context.bank_length": 0},
    {"name": "+ [CLS] + cont.", "pooling": "cls"},
    {"name": "+ QK att. + cont.", "pooling": "qk"},
    {"name": "+ QKV att.", "pooling": "qkv", "context.bank_length": 0},
    {"name": "Hummingbird", "pooling": "qkv"},
]
PUBLISHED = paper_scores(
    {
        "MoCLR": (38.6, 4.9, 1.01),
        "+ cont.": (55.6, 15.3, 0.901),
        "+ [CLS]": (64.5, 23.9, 0.741),
        "+ [CLS] + cont.": (65.6, 25.1, 0.731),
        "+ QK att. + cont.": (68.7, 26.3, 0.728),
        "+ QKV att.": (68.0, 27.4, 0.742),
        "Hummingbird": (70.5, 28.3, 0.718),
    }
)


def get_sweep(variant=""):
    """Returns the sweep with the paper's evaluations (the default) or `:demo`."""
    published = {"": PUBLISHED, "demo": {}}[variant]
    return Sweep("pretrain", ROWS, evaluate=EVALUATIONS[variant], published=published)
