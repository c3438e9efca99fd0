"""FUNGI's choices one by one (its Tables 6 and 15, Figures 6, 8 and 10): k-NN with gradients alone, on ImageNet-100.

    hummingbird sweep --sweep=configs/sweeps/fungi_ablations.py --checkpoint=checkpoints/deit_b16 --workdir=DIR \
        --config.data.root=IMAGENET --config.images.classes=imagenet100.txt
    hummingbird sweep --sweep=configs/sweeps/fungi_ablations.py:layers --checkpoint=checkpoints/deit_b16 --workdir=DIR \
        --config.data.root=IMAGENET --config.images.classes=imagenet100.txt
    hummingbird sweep --sweep=configs/sweeps/fungi_ablations.py:shots --checkpoint=checkpoints/deit_b16 --workdir=DIR \
        --config.data.root=IMAGENET --config.images.classes=imagenet100.txt
    hummingbird sweep --sweep=configs/sweeps/fungi_ablations.py:demo --workdir=DIR

imagenet100.txt lists 100 WordNet ids.

- The default scores the embedding and the gradient of each objective alone (Figure 10), then varies head, normalisation
  and DINO's views (Tables 6 and 15). Figure 10 also has DeepCluster and iBOT; the paper found their gradients worse
  than the embedding, and they are left out here.
- `:layers` takes gradients at each of the 12 blocks (Figure 8).
- `:shots` varies the number of images of each class (Figure 6).

Figure 11 compares sizes of AugReg encoders; fungi_knn has these. Our copy of Table 6 lacks its check marks, so only two
of its rows can be assigned: neither normalisation nor head, and the paper's choice. This sweep has not been run here
with the paper's weights.
"""

from hummingbird.sweep import Sweep, cross, fungi

OBJECTIVES = {"K": "kl", "D": "dino", "S": "simclr"}
ALONE = {"features.variant.alone": True, "features.pca": 512}
HEADS = {
    "": {},
    ", no norm, no head": {"features.variant.unit": "no", "features.variant.head": "none"},
    ", norm, no head": {"features.variant.unit": "yes", "features.variant.head": "none"},
    ", no norm": {"features.variant.unit": "no"},
    ", norm": {"features.variant.unit": "yes"},
}
# Settings that differ from the default: KL and DINO normalise by default, SimCLR does not and needs a head.
KEPT = {"K": ("", ", no norm, no head", ", norm, no head", ", no norm"), "S": ("", ", norm, no head", ", norm")}
DINO = {
    ", shared head": {"features.variant.shared_heads": True},
    ", DINO's augmentation": {"features.variant.augmentation": "dino"},
}
# Tables 6 and 15. Table 15 has two scores for the default: 89.1 among heads, 90.1 among augmentations.
PUBLISHED = {
    "K": 89.1,
    "D": 90.1,
    "S": 88.7,
    "K, no norm, no head": 88.3,
    "D, no norm, no head": 79.3,
    "D, shared head": 88.4,
    "D, DINO's augmentation": 88.9,
}
IMAGENET100 = {"imagenet100": "evaluate/images:imagenet100"}


def heads():
    """Returns the embedding, and the gradient of each objective with each head."""
    points = [{"name": "embeddings", "features.pca": 512}]
    for name, objective in OBJECTIVES.items():
        own = {head: HEADS[head] for head in KEPT.get(name, KEPT["K"])} | (DINO if name == "D" else {})
        points += [
            {"name": name + suffix, "features.gradients": [objective], **ALONE, **settings}
            for suffix, settings in own.items()
        ]
    return points


def layers(depth):
    """Returns the gradient of each objective at each block."""
    blocks = [{"name": f"block {i}", "features.variant.layer": i} for i in range(depth)]
    return cross([{"name": name, "features.gradients": [x], **ALONE} for name, x in OBJECTIVES.items()], blocks)


def shots(counts):
    """Returns embeddings without and with KL and SimCLR, for each number of images of a class."""
    rows = [{"name": "embeddings"}, {"name": "embeddings + K + S", "features.gradients": ["kl", "simclr"]}]
    few = [{"name": f"{k} shots", "images.shots": k} for k in counts]
    return cross([{**row, "features.pca": 512} for row in rows], few)


def get_sweep(variant=""):
    """Returns heads and views (the default), `:layers`, `:shots`, or `:demo` with a few runs of each."""
    if variant == "demo":
        chosen = ("K, norm, no head", "D, DINO's augmentation", "S, norm")
        points = [x for x in heads() if x["name"] in chosen] + layers(2)[:1] + shots((2,))[:1]
        few = {"data.scenes.prompt_images": 30, "data.scenes.query_images": 10}
        points = [{**x, **fungi.SMALL, **few} for x in points]
        scenes = {"scenes": "evaluate/images:demo"}
        return Sweep("evaluate", points, scenes, checkpoint="random:vit_ti8", objective="scenes.accuracy")
    points = {"": heads, "layers": lambda: layers(12), "shots": lambda: shots((1, 2, 3, 4, 5, 6, 8, 10))}[variant]()
    score = "few_shot_accuracy" if variant == "shots" else "accuracy"
    published = {name: {"imagenet100.accuracy": x} for name, x in PUBLISHED.items()} if not variant else {}
    return Sweep("evaluate", points, IMAGENET100, objective=f"imagenet100.{score}", published=published)
