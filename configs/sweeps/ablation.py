"""Does the method show at a laptop's size? Mean pooling, + context, + QKV pooling, and both, three seeds of each.

    hummingbird sweep --config=configs/pretrain/small.py:cpu --sweep=configs/sweeps/ablation.py \
        --workdir=runs/ablation --config.data.root=imagenet_mini --config.evaluate.camvid.data.root=camvid_mini
    hummingbird sweep --config=configs/pretrain/demo.py --sweep=configs/sweeps/ablation.py:demo \
        --workdir=runs/ablation-scenes --config.total_steps=800

The four corners of Table 5, at one budget of steps. The first line trains on real images (any folder of them) and
scores street scenes (any folder that configs/evaluate/folder.py reads); `:demo` trains and scores on `scenes`. Twelve
runs of some minutes each on two cores. What came out is in configs/README.md.
"""

from hummingbird.sweep import EVALUATIONS, Sweep, cross, grid

ROWS = [
    {"name": "mean pooling", "pooling": "mean", "context.bank_length": 0},
    {"name": "+ contextualisation", "pooling": "mean"},
    {"name": "+ QKV pooling", "pooling": "qkv", "context.bank_length": 0},
    {"name": "Hummingbird", "pooling": "qkv"},
]
SEEDS = grid({"seed": [0, 1, 2]})
# A scale at which patches are about as large in the scene as in the training views.
STREETS = {"evaluate.camvid.input_size": 128, "evaluate.camvid.retrieval.augmentation_epochs": 0}


SCORED = {"": ([STREETS], {"camvid": "configs/evaluate/folder.py"}), "demo": ([{}], EVALUATIONS["demo"])}


def get_sweep(variant=""):
    """Real images, or `:demo`."""
    settings, evaluations = SCORED[variant]
    return Sweep("pretrain", cross(SEEDS, ROWS, settings), evaluate=evaluations)
