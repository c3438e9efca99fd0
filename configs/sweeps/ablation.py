"""The four corners of Table 5 at a laptop's size: mean pooling, + context, + QKV pooling, and both; paired seeds.

    hummingbird sweep --config=configs/pretrain/small.py:cpu --sweep=configs/sweeps/ablation.py \
        --workdir=runs/ablation --config.data.root=imagenet_mini --config.evaluate.camvid.data.root=camvid_mini
    hummingbird sweep --config=configs/pretrain/demo.py --sweep=configs/sweeps/ablation.py:demo \
        --workdir=runs/ablation-scenes --config.total_steps=800 --parallel=2
    hummingbird sweep --config=configs/pretrain/demo.py --sweep=configs/sweeps/ablation.py:further \
        --workdir=runs/ablation-further --config.total_steps=800 --parallel=2
    hummingbird sweep --config=configs/pretrain/demo.py --sweep=configs/sweeps/ablation.py:beyond \
        --workdir=runs/ablation-scenes --config.total_steps=800 --parallel=2
    hummingbird sweep --config=configs/pretrain/demo.py:simclr --sweep=configs/sweeps/ablation.py:both \
        --workdir=runs/ablation-simclr --parallel=2
    hummingbird sweep --config=configs/pretrain/demo.py:simclr --sweep=configs/sweeps/ablation.py:tokens \
        --workdir=runs/ablation-tokens --config.total_steps=1600 --parallel=2
    hummingbird sweep --config=configs/pretrain/demo.py:simclr --sweep=configs/sweeps/ablation.py:tokens196 \
        --workdir=runs/ablation-tokens196 --config.total_steps=400 --parallel=2

Within a command all runs have the same number of steps. The first trains on photographs (any folder of images) and
scores on street scenes (any folder that configs/evaluate/folder.py reads); the others train and score on `scenes`.
`:demo` has twenty runs and takes 80 minutes on two cores; all resume where they were stopped. `:beyond` has the same
twenty runs and 35 more, with single changes to the whole and with SimCLR's loss, which take two to three hours more; in
the folder of the second command only these run. The others compare only the whole with neither part: `:further` with
ten new seeds (20 runs, an hour), `:both`, `:tokens` and `:tokens196` with five (10 runs each) under the recipe of
`scripts/demo` (40 minutes), a third of it with 64 tokens a view (an hour), and a twelfth of it with 196 (50 minutes).
The page compares runs with the same seed in pairs; they share the data order and the initial encoder. configs/README.md
has the results.
"""

from hummingbird.sweep import EVALUATIONS, Sweep, cross, grid

ROWS = [
    {"name": "mean pooling", "pooling": "mean", "context.bank_length": 0},
    {"name": "+ contextualisation", "pooling": "mean"},
    {"name": "+ QKV pooling", "pooling": "qkv", "context.bank_length": 0},
    {"name": "Hummingbird", "pooling": "qkv"},
]
SEEDS = grid({"seed": [0, 1, 2, 3, 4]})
FURTHER_SEEDS = grid({"seed": list(range(5, 15))})
# What if SimCLR's loss, which learns `scenes` best, has both parts; and single changes to the last corner.
BEYOND = [
    {"name": "SimCLR", "objective.name": "simclr", "pooling": "mean", "context.bank_length": 0},
    {"name": "SimCLR, both", "objective.name": "simclr", "pooling": "qkv"},
    {"name": "16x bank", "pooling": "qkv", "context.bank_length": 6144},
    {"name": "beta = 0.005", "pooling": "qkv", "context.temperature": 0.005},
    {"name": "nearest entry only", "pooling": "qkv", "context.neighbours": 1},
    {"name": "stored values", "pooling": "qkv", "context.values": "stored"},
    {"name": "lambda = 0.5", "pooling": "qkv", "context.weight": 0.5},
]
COMPARE = [
    ("+ contextualisation", "mean pooling"),
    ("Hummingbird", "+ QKV pooling"),
    ("+ QKV pooling", "mean pooling"),
    ("Hummingbird", "mean pooling"),
]
COMPARE_BEYOND = [
    ("SimCLR, both", "SimCLR"),
    ("SimCLR", "mean pooling"),
    ("SimCLR, both", "Hummingbird"),
    *((row["name"], "Hummingbird") for row in BEYOND[2:]),
]
# At this size a patch covers about as much of the scene as in the training views.
STREETS = {"evaluate.camvid.input_size": 128, "evaluate.camvid.retrieval.augmentation_epochs": 0}
# 64 or 196 tokens a view instead of 16: a view of the same crop has 4 or 12 times the pixels, and scenes are scored at
# the scale of the views.
TOKENS = {
    tokens: {"input_size": size, "evaluate.scenes.input_size": 2 * size, "evaluate.scenes_depth.input_size": 2 * size}
    for tokens, size in [("64", 64), ("196", 112)]
}
ENDS = [ROWS[0], ROWS[-1]]  # neither part and both
VARIANTS = {
    "": (SEEDS, ROWS, STREETS, {"camvid": "evaluate/folder"}, COMPARE),
    "demo": (SEEDS, ROWS, {}, EVALUATIONS["demo"], COMPARE),
    "further": (FURTHER_SEEDS, ENDS, {}, EVALUATIONS["demo"], COMPARE[-1:]),
    "both": (SEEDS, ENDS, {}, EVALUATIONS["demo"], COMPARE[-1:]),
    "tokens": (SEEDS, ENDS, TOKENS["64"], EVALUATIONS["demo"], COMPARE[-1:]),
    "tokens196": (SEEDS, ENDS, TOKENS["196"], EVALUATIONS["demo"], COMPARE[-1:]),
    "beyond": (SEEDS, [*ROWS, *BEYOND], {}, EVALUATIONS["demo"], [*COMPARE, *COMPARE_BEYOND]),
}


def get_sweep(variant=""):
    """Returns the sweep on photographs (the default), `:demo`, or another of `VARIANTS`."""
    seeds, rows, settings, evaluations, compare = VARIANTS[variant]
    return Sweep("pretrain", cross(seeds, rows, [settings]), evaluate=evaluations, compare=compare)
