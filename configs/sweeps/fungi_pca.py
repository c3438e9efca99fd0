"""FUNGI with and without PCA (its Table 16): does keeping 512 components cost accuracy?

    hummingbird sweep --sweep=configs/sweeps/fungi_pca.py --checkpoint=checkpoints/deit_b16 --workdir=DIR \
        --config.data.root=DATA
    hummingbird sweep --sweep=configs/sweeps/fungi_pca.py:demo --workdir=DIR

The data are those of fungi_knn.py. Runs with and without PCA share cached features. This sweep has not been run here.
"""

from hummingbird.sweep import Sweep, fungi

# Mean over 11 data sets of torchvision's ViT-B/16 without and with PCA.
TABLE16 = {"": (65.1, 65.3), " + K": (66.0, 66.3), " + K + D": (67.8, 68.1), " + K + D + S": (69.8, 70.1)}


def points(gradients, components):
    """Returns a point without and one with PCA for each combination of gradients."""
    return [
        {"name": f"embeddings{suffix}{after}", "features.gradients": fungi.GRADIENTS[suffix], "features.pca": pca}
        for suffix in gradients
        for after, pca in ((", no PCA", None), (", PCA", components))
    ]


def get_sweep(variant=""):
    """Returns all combinations of gradients (the default), or `:demo`."""
    if variant == "demo":
        rows = [{**row, **fungi.SMALL} for row in points(["", " + K"], 16)]
        scenes = {"scenes": "evaluate/images:demo"}
        return Sweep("evaluate", rows, scenes, checkpoint="random:vit_ti8", objective="scenes.accuracy")
    published = {
        f"embeddings{suffix}{after}": {"mean.accuracy": score}
        for suffix, scores in TABLE16.items()
        for after, score in zip((", no PCA", ", PCA"), scores, strict=True)
    }
    evaluate = fungi.EVALUATIONS
    return Sweep("evaluate", points(TABLE16, 512), evaluate, objective="mean.accuracy", published=published)
