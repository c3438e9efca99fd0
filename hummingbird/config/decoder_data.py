"""The data sets that configs/finetune names as variants, with the settings that each needs."""

from __future__ import annotations

from collections.abc import Mapping

from hummingbird.config.schema import Tree, flatten

# Rendered images are small and their classes few: seconds on a laptop.
SMALL: Tree = {
    "input_size": 64,
    "batch_size": 16,
    "checkpoint_every": 500,
    "augment.scale": (1.0, 1.5),
    "augment.most_of_a_class": 1.0,
}
SCENES: Tree = {**SMALL, "data.name": "scenes", "data.scenes.prompt_images": 64, "data.scenes.query_images": 128}
CLASSES: Mapping[str, Tree] = {
    "scenes": {**SCENES, "data.task": "segmentation"},
    "pascal_voc": {"data.name": "pascal_voc"},
    "ade20k": {"data.name": "ade20k"},
    "cityscapes": {"data.name": "cityscapes"},
    "coco_stuff": {"data.name": "coco_stuff"},
    "folder": {"data.name": "folder"},
}
DEPTHS: Mapping[str, Tree] = {
    "scenes": {**SCENES, "data.task": "depth", "depth.high": 20.0},
    "nyuv2": {"data.name": "tfds/nyu_depth_v2", "data.task": "depth"},
    "nyuv2_labelled": {"data.name": "nyuv2", "data.task": "depth"},
    "folder": {"data.name": "folder", "data.task": "depth"},
}


def on_data_sets(config: Tree, data_sets: Mapping[str, Tree]) -> dict[str, Tree]:
    """Returns a config for each data set by name, and for the first one under "".

    Example:
      >>> found = on_data_sets({"decoder.name": "linear"}, CLASSES)
      >>> found["ade20k"], found[""] == found["scenes"]
      ({'decoder.name': 'linear', 'data.name': 'ade20k'}, True)
    """
    found = {name: {**flatten(config), **settings} for name, settings in data_sets.items()}
    return {"": next(iter(found.values())), **found}
