"""FUNGI on texts (its Table 5): gradients beside the features of BERT and T5, on five data sets and in few shots.

    hummingbird sweep --sweep=configs/sweeps/fungi_text.py --workdir=DIR --config.data.root=DATA
    hummingbird sweep --sweep=configs/sweeps/fungi_text.py:demo --workdir=DIR --config.data.root=DATA

DATA holds a folder for each data set; evaluate/texts lists their files. Encoders come from the Hugging Face Hub (extra
`hub`) with their tokenizers (extra `text`). Few-shot scores are means over five draws of 5 texts of each class (AG
News: 10); the paper's code draws the same number in total, in the proportions of the classes. `:demo` takes small
random weights and your texts, train.csv and test.csv in DATA. This sweep has not been run here with published weights.
"""

from hummingbird.sweep import Sweep

SETS = ("trec", "banking77", "sst", "ag_news", "tweet_eval")
ENCODERS = {"BERT base": "hf:google-bert/bert-base-uncased", "T5 small": "hf:google-t5/t5-small"}
DEMO = {"random BERT": "random:bert_tiny", "random T5": "random:t5_tiny"}
GRADIENTS = {"": (), " + K": ("kl",), " + K + S": ("kl", "simclr")}
# For each of `SETS`: accuracy with all texts, and in few shots.
TABLE5 = {
    "BERT base": (83.6, 20.0, 55.4, 14.5, 40.0, 20.4, 88.8, 45.8, 23.8, 13.6),
    "BERT base + K": (85.6, 27.6, 67.1, 22.2, 40.7, 23.2, 91.0, 61.4, 24.4, 13.8),
    "BERT base + K + S": (86.8, 23.0, 67.9, 23.8, 41.8, 18.4, 89.6, 61.9, 24.8, 14.5),
    "T5 small": (88.6, 25.6, 29.7, 5.2, 30.0, 25.9, 71.8, 37.4, 23.4, 8.4),
    "T5 small + K": (88.6, 23.6, 33.3, 5.6, 32.7, 24.1, 74.3, 40.6, 24.2, 9.5),
    "T5 small + K + S": (88.4, 23.6, 29.1, 6.1, 32.0, 24.2, 74.8, 41.0, 24.4, 9.9),
}
KEYS = [f"{name}.{key}" for name in SETS for key in ("accuracy", "few_shot_accuracy")]
SMALL = {"sequence.length": 12, "features.dim": 16, "images.neighbours": 3, "images.shots": 2, "images.draws": 2}


def rows(encoders, settings):
    """Returns a point for each encoder and combination of gradients."""
    return [
        {"name": name + suffix, "checkpoint": checkpoint, "features.gradients": gradients, **settings}
        for name, checkpoint in encoders.items()
        for suffix, gradients in GRADIENTS.items()
    ]


def get_sweep(variant=""):
    """Returns the encoders of the hub (the default), or `:demo`."""
    if variant == "demo":
        return Sweep("evaluate", rows(DEMO, SMALL), {"texts": "evaluate/texts"}, objective="texts.accuracy")
    full = {"features.pca": 512, "images.shots": 5, "evaluate.ag_news.images.shots": 10}
    published = {name: dict(zip(KEYS, scores, strict=True)) for name, scores in TABLE5.items()}
    evaluate = {name: f"evaluate/texts:{name}" for name in SETS}
    return Sweep("evaluate", rows(ENCODERS, full), evaluate, objective="mean.accuracy", published=published)
