"""One table of all objectives: the same data, number of steps, encoder and seeds, scored by retrieval and k-NN.

    hummingbird sweep --config=configs/pretrain/demo.py --sweep=configs/sweeps/objectives.py:demo --workdir=DIR
    hummingbird sweep --config=configs/pretrain/small.py:cpu --sweep=configs/sweeps/objectives.py:small --workdir=DIR \
        --config.data.root=imagenet_mini --config.evaluate.camvid.data.root=camvid_mini
    hummingbird sweep --config=configs/pretrain/demo.py --sweep=configs/sweeps/objectives.py:demo_context --workdir=DIR

Three seeds of each objective, of Hummingbird++ and of random weights. `:demo` trains and scores on `scenes`, `:small`
trains on photographs in class folders and scores on street scenes. `:demo_context` asks what a memory bank and QKV
attention pooling add to each objective of `POOLED`: every one with and without both.

`:demo` takes 41 to 55 minutes a seed on two cores with `--parallel=2`. Each run then has a core of its own; together
they process a fifth more images a second than one run on both cores. It resumes where it was stopped.
configs/README.md has the table, and why four objectives do not beat random weights here; .github/NEGATIVE_RESULTS.md
has the rates, decays and temperatures that were tried. The table does not show which objective is better in general:
hyper-parameters are scaled down from each paper by hand, and steps have equal numbers, not equal costs (`scripts/bench
objectives` compares these).
"""

from hummingbird.objectives import OBJECTIVES
from hummingbird.sweep import EVALUATIONS, Sweep, chain, cross, grid

DINO = {
    "dino.hidden_dim": 512,
    "dino.bottleneck_dim": 64,
    "dino.prototypes": 512,
    "dino.warmup_epochs": 3.0,
    "augment.local.count": 4,
    "augment.local.size": 16,
    "augment.local.crop_area": (0.03, 0.12),
}
ONE_VIEW = {"augment.views": 1}
# What makes an objective fit views of 4 x 4 or 6 x 6 patches and a small batch; nothing: its defaults do.
CHANGES = {
    "byol": {"ema_schedule": "cosine"},
    "simsiam": {"simsiam.bottleneck_dim": 64},
    "mocov3": {"contrastive.temperature": 0.2, "ema_schedule": "cosine"},
    "densecl": {
        "densecl.queue_length": 768,
        "densecl.grid": 2,
        "contrastive.temperature": 0.2,
        "ema_decay": 0.999,
    },
    "supervised": {**ONE_VIEW, "supervised.label_smoothing": 0.1},
    "dino": DINO,
    "ibot": {**DINO, "pooling": "cls"},
    "dinov2": {**DINO, "pooling": "cls", "dino.centring": "sinkhorn", "ibot.separate_head": True},
    "mae": {**ONE_VIEW, "mae.decoder_dim": 64, "mae.decoder_depth": 2, "mae.decoder_heads": 4},
    "maskfeat": ONE_VIEW,
    "loca": {
        "augment.same_crop": True,
        "augment.flip_probability": 0.0,
        "dino.hidden_dim": 512,
        "dino.bottleneck_dim": 64,
        "loca.queries": 4,
        "loca.query_size": 16,
        "loca.prototypes": 256,
    },
}
POOLED = ("simclr", "byol", "simsiam", "mocov3", "densecl", "supervised", "dino")
ALONE = {"context.bank_length": 0, "pooling": "mean"}

ROWS = [
    {"name": "hummingbird++", "supervised.weight": 0.05},
    *(
        {"name": name, "objective.name": name, **({} if name == "hummingbird" else ALONE), **CHANGES.get(name, {})}
        for name in OBJECTIVES
    ),
]
# The baseline without training: one step at a learning rate next to zero.
RANDOM = {"name": "random weights", "objective.name": "simclr", **ALONE, "optimizer.learning_rate": 1e-12}
CONTEXT = [
    {"name": name + suffix, "objective.name": name, **CHANGES.get(name, {}), **more}
    for name in POOLED
    for suffix, more in (("", ALONE), (" + context", {"pooling": "qkv"}))
]
SEEDS = grid({"seed": [0, 1, 2]})
# At this size a patch covers about as much of the scene as in the training views.
STREETS = {"evaluate.camvid.input_size": 128, "evaluate.camvid.retrieval.augmentation_epochs": 0}
# Half the steps of pretrain/demo; labels, though few objectives use them, so that all see the same images.
LABELS = {"total_steps": 600, "data.scenes.labels": True, "supervised.classes": 10}
SMALL = (ROWS, {**STREETS, "supervised.classes": 1000}, {"camvid": "evaluate/folder"})
VARIANTS = {
    "": SMALL,
    "small": SMALL,
    "demo": (ROWS, LABELS, EVALUATIONS["demo"]),
    "demo_context": (CONTEXT, LABELS, EVALUATIONS["demo"]),
}


def get_sweep(variant=""):
    """Returns the sweep on photographs (the default, also `:small`), `:demo` or `:demo_context`."""
    rows, settings, evaluations = VARIANTS[variant]
    points = chain(cross(SEEDS, rows, [settings]), cross(SEEDS, [RANDOM], [{**settings, "total_steps": 1}]))
    return Sweep("pretrain", points, evaluate=evaluations)
