"""The rendered data set `scenes`: seconds on a laptop. Its scores mean nothing on other data.

    hummingbird evaluate --config=configs/evaluate/scenes.py --checkpoint=PATH --workdir=DIR

`:depth` predicts metric depth. There is no augmentation, and images keep the size at which they are rendered.
"""


def get_config(variant=""):
    """Returns segmentation (the default) or `:depth`."""
    config = {"input_size": 96, "data": {"name": "scenes"}, "retrieval": {"augmentation_epochs": 0}}
    depth = {**config, "data": {"name": "scenes", "task": "depth"}, "depth": {"high": 20.0}}
    return {"": config, "depth": depth}[variant]
