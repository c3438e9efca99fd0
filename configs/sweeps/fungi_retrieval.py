"""FUNGI, image retrieval (its Table 10): mAP on revisited Oxford and Paris with KL and DINO gradients.

    hummingbird sweep --sweep=configs/sweeps/fungi_retrieval.py --workdir=DIR \
        --config.evaluate.oxford.data.root=ROXFORD --config.evaluate.paris.data.root=RPARIS
    hummingbird sweep --sweep=configs/sweeps/fungi_retrieval.py:demo --workdir=DIR \
        --config.evaluate.oxford.data.root=ROXFORD --config.evaluate.paris.data.root=RPARIS

As in the paper's code: central crops, queries that are not cropped to their boxes, inner products after PCA
(`evaluate/landmarks:fungi`). `:demo` takes random weights and small images. Not yet run here with these encoders.
"""

from hummingbird.sweep import Sweep, fungi

ENCODERS = ("DINOv2 ViT-B/14", "DINO ViT-B/16", "CLIP ViT-B/16", "EVA CLIP ViT-B/16")
GRADIENTS = {"": (), " + K": ("kl",), " + D": ("dino",), " + K + D": ("kl", "dino")}
KEYS = ("oxford.map_medium", "oxford.map_hard", "paris.map_medium", "paris.map_hard")
TABLE10 = {
    "DINOv2 ViT-B/14": (69.7, 42.0, 89.4, 77.5),
    "DINOv2 ViT-B/14 + K": (70.4, 42.6, 88.7, 76.2),
    "DINOv2 ViT-B/14 + D": (69.4, 41.2, 89.0, 76.2),
    "DINOv2 ViT-B/14 + K + D": (70.1, 42.0, 88.7, 75.9),
    "DINO ViT-B/16": (39.2, 11.0, 63.8, 37.6),
    "DINO ViT-B/16 + K": (38.6, 11.6, 64.5, 38.4),
    "DINO ViT-B/16 + D": (40.4, 12.9, 65.6, 39.0),
    "DINO ViT-B/16 + K + D": (39.8, 13.0, 65.8, 39.5),
    "CLIP ViT-B/16": (31.4, 10.8, 64.6, 40.4),
    "CLIP ViT-B/16 + K": (40.4, 14.5, 74.7, 52.8),
    "CLIP ViT-B/16 + D": (41.4, 15.3, 72.0, 47.8),
    "CLIP ViT-B/16 + K + D": (42.6, 14.7, 75.1, 52.5),
    "EVA CLIP ViT-B/16": (36.7, 12.7, 69.8, 46.7),
    "EVA CLIP ViT-B/16 + K": (39.9, 13.9, 75.2, 53.9),
    "EVA CLIP ViT-B/16 + D": (40.9, 14.8, 72.9, 50.2),
    "EVA CLIP ViT-B/16 + K + D": (41.2, 14.9, 74.9, 53.0),
    "DeiT ViT-B/16": (36.6, 12.6, 63.0, 37.2),
    "DeiT ViT-B/16 + K": (36.9, 12.6, 63.6, 37.7),
    "DeiT ViT-B/16 + D": (38.8, 12.7, 65.7, 40.2),
    "DeiT ViT-B/16 + K + D": (39.1, 12.8, 65.6, 40.0),
}
EVALUATIONS = {"oxford": "evaluate/landmarks:fungi", "paris": "evaluate/landmarks:rparis6k_fungi"}
SMALL = {"features.projection": "tensor", "features.rank": 1, "features.dim": 32, "input_size": 32}


def get_sweep(variant=""):
    """Returns the encoders of the hub (the default), or `:demo`."""
    demo = variant == "demo"
    encoders = fungi.DEMO if demo else {name: fungi.HUB[name] for name in ENCODERS}
    points = [
        {
            "name": name + suffix,
            "checkpoint": checkpoint,
            "features.gradients": gradients,
            "features.pca": 512,
            **(SMALL if demo else {}),
        }
        for name, checkpoint in encoders.items()
        for suffix, gradients in GRADIENTS.items()
    ]
    published = {} if demo else {name: dict(zip(KEYS, scores, strict=True)) for name, scores in TABLE10.items()}
    return Sweep("evaluate", points, EVALUATIONS, objective="oxford.map_medium", published=published)
