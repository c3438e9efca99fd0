"""FUNGI on sounds (its Tables 11 and 12): gradients beside the features of SSAST, on ESC-50 and Speech Commands.

    hummingbird sweep --sweep=configs/sweeps/fungi_audio.py --checkpoint=SSAST-Base-Patch-400.pth --workdir=DIR \
        --config.data.root=DATA
    hummingbird sweep --sweep=configs/sweeps/fungi_audio.py:demo --workdir=DIR --config.data.root=DATA

DATA holds the folders esc50 and speech_commands as published. SimCLR has the settings of Table 12: 16 views, 64 x 2
negatives, heads of 768. `:demo` takes small random weights and your sounds, DATA/train/CLASS/*.wav and
DATA/test/CLASS/*.wav. This sweep has not been run here with published weights.
"""

from hummingbird.sweep import Sweep

SETS = ("esc50", "speech_commands")
GRADIENTS = {"": (), " + K": ("kl",), " + S": ("simclr",), " + K + S": ("kl", "simclr")}
# For each of `SETS`: accuracy with all sounds, and in 5 shots.
TABLE11 = {
    "SSAST": (42.8, 20.0, 27.4, 5.3),
    "SSAST + K": (47.0, 21.2, 29.9, 6.1),
    "SSAST + S": (45.2, 19.0, 25.4, 5.5),
    "SSAST + K + S": (45.8, 21.0, 27.3, 5.8),
}
KEYS = [f"{name}.{key}" for name in SETS for key in ("accuracy", "few_shot_accuracy")]
SMALL = {"sequence.length": 32, "features.dim": 16, "images.neighbours": 3, "images.shots": 2, "images.draws": 2}


def rows(settings):
    """Returns a point for each combination of gradients."""
    return [
        {"name": f"SSAST{suffix}", "features.gradients": gradients, **settings}
        for suffix, gradients in GRADIENTS.items()
    ]


def get_sweep(variant=""):
    """Returns both data sets (the default), or `:demo`."""
    if variant == "demo":
        sounds = {"sounds": "evaluate/sounds"}
        return Sweep("evaluate", rows(SMALL), sounds, checkpoint="random:ssast_tiny", objective="sounds.accuracy")
    published = {name: dict(zip(KEYS, scores, strict=True)) for name, scores in TABLE11.items()}
    evaluate = {name: f"evaluate/sounds:{name}" for name in SETS}
    points = rows({"features.pca": 512, "images.shots": 5})
    return Sweep("evaluate", points, evaluate, objective="mean.accuracy", published=published)
