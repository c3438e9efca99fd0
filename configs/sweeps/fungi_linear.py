"""FUNGI, linear probing (its Tables 13 and 14): logistic regression on features with and without gradients.

    hummingbird sweep --sweep=configs/sweeps/fungi_linear.py --workdir=DIR --config.data.root=DATA
    hummingbird sweep --sweep=configs/sweeps/fungi_linear.py:files --workdir=DIR --config.data.root=DATA
    hummingbird sweep --sweep=configs/sweeps/fungi_linear.py:demo --workdir=DIR

Data and encoders are those of fungi_knn.py. Of five penalties, the best on validation images is taken: on the official
ones, or on a fifth of each class; in few shots on one image of five, where the paper's code takes a fifth of all
training images.

This sweep has not been run here with these encoders. Table 13 prints MoCo v3 as ViT-B/32; it is the ViT-B/16 of the
other tables.
"""

from hummingbird.sweep import Sweep, fungi

FULL = {
    "DINOv2 ViT-B/14": (88.3, 88.3, 88.8, 88.7),
    "DINO ViT-B/16": (81.0, 80.4, 81.2, 80.7),
    "DeiT ViT-B/16": (78.2, 78.5, 80.7, 80.5),
    "MoCo v3 ViT-B/16": (77.3, 77.7, 79.4, 78.7),
    "DeiT ViT-B/32": (73.1, 73.4, 76.2, 76.4),
    "AugReg IN1K ViT-B/16": (71.6, 70.9, 73.0, 73.1),
    "AugReg IN1K ViT-S/16": (71.4, 70.5, 73.0, 73.0),
    "EVA CLIP ViT-B/16": (86.9, 87.2, 87.8, 87.7),
    "AugReg IN21K ViT-L/16": (82.9, 82.0, 83.3, 83.2),
    "CLIP ViT-B/16": (81.8, 82.6, 83.9, 83.0),
    "AugReg IN21K ViT-B/16": (76.8, 76.1, 77.9, 77.8),
    "AugReg IN21K ViT-S/16": (75.6, 74.4, 76.6, 76.8),
    "MAE ViT-B/16": (38.6, 63.4, 66.2, 63.1),
}
FEW = {
    "DINOv2 ViT-B/14": (76.7, 76.3, 76.7, 76.6),
    "DINO ViT-B/16": (62.9, 62.2, 62.4, 61.6),
    "DeiT ViT-B/16": (61.0, 61.7, 63.5, 63.4),
    "MoCo v3 ViT-B/16": (58.0, 57.6, 59.2, 58.7),
    "DeiT ViT-B/32": (57.2, 57.8, 60.2, 60.1),
    "AugReg IN1K ViT-B/16": (54.8, 54.4, 56.5, 57.0),
    "AugReg IN1K ViT-S/16": (54.4, 53.5, 55.9, 56.0),
    "EVA CLIP ViT-B/16": (78.0, 78.6, 78.9, 77.5),
    "AugReg IN21K ViT-L/16": (68.9, 69.0, 70.1, 69.5),
    "CLIP ViT-B/16": (66.2, 69.3, 70.4, 65.9),
    "AugReg IN21K ViT-B/16": (58.4, 59.1, 60.7, 59.8),
    "AugReg IN21K ViT-S/16": (57.6, 57.6, 59.3, 58.6),
    "MAE ViT-B/16": (23.9, 36.0, 37.3, 32.3),
}
LOGISTIC = {"images.classifiers": ["logistic"]}


def get_sweep(variant=""):
    """Returns the encoders of the hub (the default), `:files` or `:demo`."""
    if variant == "demo":
        points = [{**row, **LOGISTIC, **fungi.SMALL} for row in fungi.rows(fungi.DEMO, ["", " + K"], shots=3)]
        return Sweep("evaluate", points, evaluate={"scenes": "evaluate/images:demo"}, objective="scenes.accuracy")
    points = [{**row, **LOGISTIC} for row in fungi.rows({"": fungi.HUB, "files": fungi.FILES}[variant], shots=5)]
    published = fungi.means(FULL, FEW)
    return Sweep("evaluate", points, evaluate=fungi.EVALUATIONS, objective="mean.accuracy", published=published)
