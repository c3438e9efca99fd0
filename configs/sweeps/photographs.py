"""Does a small encoder trained on photographs beat random weights on other photographs, and does context help it?

    hummingbird sweep --config=configs/pretrain/small.py:photographs --sweep=configs/sweeps/photographs.py \
        --workdir=runs/photographs --config.data.root=tinyimagenet_mini --config.evaluate.camvid.data.root=camvid_mini \
        --config.evaluate.kitchen.data.root=rgbd_kitchen_mini --config.evaluate.voc.data.root=VOCdevkit/VOC2012 \
        --parallel=2

It trains on any images in class folders, and scores on street scenes in any folder that configs/evaluate/folder.py
reads, on depth in the layout of 7-Scenes (`NAME.color.jpg`, `NAME.depth.png` in millimetres; the first half of the
frames is the prompt), and on PASCAL VOC. Runs of a seed begin with the same encoder, so the page compares them in
pairs: the whole with random weights, and with neither contextualisation nor QKV pooling. Five seeds, ten trainings of
13 to 15 minutes on one core each; the sweep resumes where it was stopped. configs/README.md has the results.
"""

from hummingbird.sweep import Sweep, cross, grid

ROWS = [
    {"name": "trained"},
    {"name": "neither part", "pooling": "mean", "context.bank_length": 0},
    # One step at a learning rate next to zero.
    {"name": "random weights", "total_steps": 1, "optimizer.learning_rate": 1e-12},
]
SEEDS = grid({"seed": [0, 1, 2, 3, 4]})
# At 128 px random weights are as good as trained ones: a patch covers most of a car there.
SCORED = {
    "evaluate.camvid.input_size": 256,
    "evaluate.camvid.retrieval.augmentation_epochs": 0,
    "evaluate.voc.input_size": 256,
    "evaluate.voc.retrieval.augmentation_epochs": 0,
    "evaluate.kitchen.input_size": 256,
    "evaluate.kitchen.retrieval.augmentation_epochs": 0,
    "evaluate.kitchen.data.folder.images": "{name}.color.jpg",
    "evaluate.kitchen.data.folder.labels": "{name}.depth.png",
    "evaluate.kitchen.data.prompt": "[:50%]",
    "evaluate.kitchen.data.query": "[50%:]",
}


def get_sweep(variant=""):
    """Returns the sweep; it has no variants."""
    return Sweep(
        "pretrain",
        cross(SEEDS, ROWS, [SCORED]),
        evaluate={"camvid": "evaluate/folder", "kitchen": "evaluate/folder:depth", "voc": "evaluate/pascal_voc"},
        compare=[("trained", "random weights"), ("trained", "neither part")],
    )
