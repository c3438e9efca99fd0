"""The embedded data set `scenes`: seconds on a laptop. A toy world: its scores mean nothing elsewhere.

    hummingbird evaluate --config=configs/evaluate/scenes.py --checkpoint=PATH --workdir=DIR

`:depth` predicts metric depth. Without augmentation, at the size the images are rendered.
"""


def get_config(variant=""):
    """Segmentation, or `:depth`."""
    config = {"input_size": 96, "data": {"name": "scenes"}, "retrieval": {"augmentation_epochs": 0}}
    depth = {**config, "data": {"name": "scenes", "task": "depth"}, "depth": {"high": 20.0}}
    return {"": config, "depth": depth}[variant]
