"""FUNGI over seeds (its Table 9): how much heads, projections, crops and negatives matter, on 8 data sets.

    hummingbird sweep --sweep=configs/sweeps/fungi_seeds.py --checkpoint=checkpoints/deit_b16 --workdir=DIR \
        --config.data.root=DATA
    hummingbird sweep --sweep=configs/sweeps/fungi_seeds.py:demo --workdir=DIR
    hummingbird sweep --config=configs/evaluate/images.py --sweep=configs/sweeps/fungi_seeds.py:own --checkpoint=PATH \
        --workdir=DIR --config.data.root=FOLDER

The data are those of fungi_knn.py. The encoder is torchvision's supervised ViT-B/16, which the paper calls DeiT; others
can be given. The seed also draws EuroSAT's test images. The paper's standard deviations are 0.0 to 0.6. `:own` scores
one encoder on any images, with all of them and in 5 shots, by the classifiers in --config.images.classifiers, over five
seeds. Only `:demo` and `:own` have been run here (hummingbird/gradients/README.md).
"""

from hummingbird.sweep import Sweep, cross, fungi, grid

DATASETS = ("cars", "cub", "dtd", "eurosat", "pets", "food101", "aircraft", "flowers102")
TABLE9 = {
    "": (32.3, 56.0, 58.6, 90.7, 90.8, 60.5, 23.5, 56.9),
    " + K": (33.5, 57.9, 60.4, 91.6, 91.3, 61.5, 22.9, 60.7),
    " + K + D": (36.2, 60.9, 63.1, 93.4, 91.8, 65.2, 24.2, 64.3),
    " + K + D + S": (39.3, 63.6, 64.1, 95.0, 92.1, 67.3, 28.3, 69.3),
}
SEEDS = grid({"seed": [0, 1, 2]})


def get_sweep(variant=""):
    """Returns three seeds of each combination of gradients (the default), `:demo` or `:own`."""
    if variant == "own":
        rows = [
            {"name": f"embeddings{suffix}", "features.gradients": fungi.GRADIENTS[suffix], "images.shots": 5}
            for suffix in TABLE9
        ]
        return Sweep("evaluate", cross(rows, grid({"seed": list(range(5))})))
    if variant == "demo":
        rows = [{**row, **fungi.SMALL} for row in fungi.rows(fungi.DEMO, ["", " + K"])]
        scenes = {"scenes": "evaluate/images:demo"}
        return Sweep("evaluate", cross(rows, SEEDS), evaluate=scenes, objective="scenes.accuracy")
    points = [
        {"name": f"embeddings{suffix}", "features.gradients": fungi.GRADIENTS[suffix], "features.pca": 512}
        for suffix in TABLE9
    ]
    published = {
        f"embeddings{suffix}": {f"{data}.accuracy": score for data, score in zip(DATASETS, scores, strict=True)}
        for suffix, scores in TABLE9.items()
    }
    evaluations = {name: fungi.EVALUATIONS[name] for name in DATASETS}
    return Sweep("evaluate", cross(points, SEEDS), evaluate=evaluations, objective="mean.accuracy", published=published)
