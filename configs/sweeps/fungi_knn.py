"""FUNGI, k-NN (its Tables 1, 2 and 8): gradients beside the features of 13 encoders, on 11 data sets and in 5 shots.

    hummingbird sweep --sweep=configs/sweeps/fungi_knn.py --workdir=DIR --config.data.root=DATA
    hummingbird sweep --sweep=configs/sweeps/fungi_knn.py:files --workdir=DIR --config.data.root=DATA
    hummingbird sweep --sweep=configs/sweeps/fungi_knn.py:demo --workdir=DIR

DATA is a TFDS data_dir, or holds a folder for each data set (aircraft/train/CLASS/*, ...). Each run scores an encoder
of the Hugging Face Hub (extra `hub`) on all of them; `mean.accuracy` and `mean.few_shot_accuracy` are the means that
the paper prints, shown beside its own. `:files` takes the encoders that are files (`FILES`) from checkpoints/. SimCLR
costs 49 encodings an image. The AugReg rows are Figure 11. The paper's few shots are the first five of each class,
once: images.draw=first.

Not yet run here with these encoders. The paper's rows "DeiT" are no gradients of the output projection, since its code
misses torchvision's; its DINO and SimCLR views of AugReg and CLIP encoders have the wrong pixel statistics.
"""

from hummingbird.sweep import Sweep, fungi

# Tables 2 and 8: mean over the data sets without gradients, with K, K + D and K + D + S.
FULL = {
    "DINOv2 ViT-B/14": (79.9, 80.6, 81.3, 81.7),
    "DINO ViT-B/16": (69.0, 69.4, 70.1, 70.9),
    "DeiT ViT-B/16": (65.3, 66.3, 68.1, 70.1),
    "MoCo v3 ViT-B/16": (63.2, 63.4, 64.7, 65.8),
    "DeiT ViT-B/32": (61.7, 63.3, 65.7, 67.3),
    "AugReg IN1K ViT-S/16": (60.8, 60.3, 62.6, 64.3),
    "AugReg IN1K ViT-B/16": (59.2, 58.9, 61.1, 63.6),
    "EVA CLIP ViT-B/16": (83.2, 83.8, 84.1, 83.4),
    "AugReg IN21K ViT-L/16": (74.7, 75.0, 76.2, 76.5),
    "CLIP ViT-B/16": (73.7, 76.9, 77.7, 74.6),
    "AugReg IN21K ViT-B/16": (66.4, 67.1, 68.6, 69.3),
    "AugReg IN21K ViT-S/16": (65.6, 65.3, 67.1, 67.6),
    "MAE ViT-B/16": (24.0, 44.4, 45.4, 38.8),
}
FEW = {
    "DINOv2 ViT-B/14": (47.6, 48.1, 49.1, 50.3),
    "DINO ViT-B/16": (39.3, 39.4, 39.7, 40.5),
    "DeiT ViT-B/16": (38.4, 38.7, 39.1, 41.1),
    "MoCo v3 ViT-B/16": (34.7, 35.8, 36.6, 38.2),
    "DeiT ViT-B/32": (36.2, 36.6, 37.6, 39.0),
    "AugReg IN1K ViT-S/16": (34.9, 34.2, 35.0, 36.5),
    "AugReg IN1K ViT-B/16": (33.9, 33.5, 34.5, 36.7),
    "EVA CLIP ViT-B/16": (53.1, 54.0, 54.1, 53.7),
    "AugReg IN21K ViT-L/16": (47.7, 48.3, 48.5, 50.2),
    "CLIP ViT-B/16": (43.0, 47.2, 47.9, 44.4),
    "AugReg IN21K ViT-B/16": (38.6, 40.2, 40.3, 41.0),
    "AugReg IN21K ViT-S/16": (37.4, 37.7, 38.7, 39.5),
    "MAE ViT-B/16": (7.5, 18.5, 19.2, 14.0),
}
# Table 1, in the order of `fungi.DATASETS`; FUNGI has all three gradients.
TABLE1 = {
    "AugReg IN1K ViT-B/16": (21.3, 42.0, 54.3, 89.0, 66.3, 89.4, 87.3, 52.3, 77.2, 17.9, 53.8),
    "AugReg IN1K ViT-B/16 + K + D + S": (27.2, 50.1, 58.6, 93.4, 69.7, 90.7, 89.5, 58.9, 78.8, 21.4, 61.6),
    "AugReg IN21K ViT-B/16": (21.0, 74.0, 58.4, 91.8, 58.4, 82.9, 83.6, 70.6, 72.1, 23.0, 95.0),
    "AugReg IN21K ViT-B/16 + K + D + S": (25.1, 74.2, 65.0, 94.7, 63.5, 85.7, 85.7, 73.4, 74.5, 24.3, 96.6),
}
PUBLISHED = fungi.means(FULL, FEW)
for name, scores in TABLE1.items():
    PUBLISHED[name] |= {f"{data}.accuracy": score for data, score in zip(fungi.DATASETS, scores, strict=True)}


def get_sweep(variant=""):
    """Returns the encoders of the hub (the default), `:files` or `:demo`."""
    if variant == "demo":
        points = [{**row, **fungi.SMALL} for row in fungi.rows(fungi.DEMO, shots=3)]
        return Sweep("evaluate", points, evaluate={"scenes": "evaluate/images:demo"}, objective="scenes.accuracy")
    points = fungi.rows({"": fungi.HUB, "files": fungi.FILES}[variant], shots=5)
    return Sweep("evaluate", points, evaluate=fungi.EVALUATIONS, objective="mean.accuracy", published=PUBLISHED)
