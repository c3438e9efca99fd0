"""Settings of what is read and how images are augmented: the part of `hummingbird.config` that concerns data."""

from __future__ import annotations

import functools

from hummingbird.config.schema import Bool, Float, Int, Setting, Text

# ---------------------------------------------------------------- settings of every job
DATA = {
    "name": Text("scenes", "data set; `hummingbird.data.sources` lists the names"),
    "root": Text("", "folder, .tar or bucket that holds the data set; not for `scenes`"),
    "lenient": Bool(False, "take JPEGs that are damaged in the middle as they decode"),
    "tfds": {
        "image": Text("", "feature that holds images; empty: image"),
        "label": Text("", "feature that holds labels, masks or depth; empty: the one with a usual name"),
        "classes": Int(0, "number of classes of masks whose data set names none", low=0, high=255),
        "first_id": Int(0, "stored id of the first class; smaller ones are void", low=0, high=255),
        "depth_scale": Float(1.0, "metres per stored unit", above=0),
    },
    "scenes": {
        "size": Int(96, "side of a rendered image, pixels", low=16, high=1024),
        "seed": Int(0, "seed of the world; images of the splits differ under any seed", low=0, high=2**31 - 1),
        "pretrain_images": Int(4096, "images to pretrain on", low=1, high=10**8),
        "prompt_images": Int(256, "annotated images to retrieve from", low=1, high=10**8),
        "query_images": Int(128, "images to predict", low=1, high=10**8),
    },
}
# What pretraining reads, and how fast.
PIPELINE = {
    "split": Text("", "folder or TFDS split to train on, with an optional slice: train[:10%]; empty: the usual one"),
    "max_broken": Int(10, "unreadable images, each replaced by the next one, before the run stops", low=0),
    "workers": Int(0, "processes that read and crop; 0: threads of this process", low=0, high=256, resumable=True),
    "threads": Int(4, "threads that read and crop, in each process", low=0, high=256, resumable=True),
    "read_ahead": Int(4, "batches made ahead of the step, in each process; bounds memory", low=0, resumable=True),
    "start_over": Bool(False, "resuming with other data: begin them anew instead of refusing", resumable=True),
    "cache": Int(1024, "MiB of images kept in memory, in each process; 0: none", low=0, resumable=True),
}
# Table 8. Pairs are (T1, T2) or (low, high).
Pair = functools.partial(Setting, float, many=True)
AUGMENT = {
    "crop_area": Pair((0.08, 1.0), "range of the crop's area, as a fraction (App. C.1)", above=0, high=1),
    "crop_aspect": Pair((3 / 4, 4 / 3), "range of width / height, sampled log-uniformly (App. C.1)", above=0),
    "flip_probability": Float(0.5, "left-right flip", low=0, high=1),
    "jitter_probability": Float(0.8, "the four colour operations together", low=0, high=1),
    "brightness": Float(0.4, "largest brightness shift, added to values in [0, 1]", low=0, high=1),
    "contrast": Float(0.4, "contrast factor is 1 + U[-x, x]", low=0, high=1),
    "saturation": Float(0.2, "saturation factor is 1 + U[-x, x]", low=0, high=1),
    "hue": Float(0.1, "largest hue shift, in turns of the colour circle", low=0, high=0.5),
    "grey_probability": Float(0.2, "colour dropping", low=0, high=1),
    "blur_probability": Pair((1.0, 0.1), "Gaussian blur of T1 and T2", low=0, high=1),
    "blur_kernel": Int(23, "side of the blur's window, pixels (App. C.1)", low=1),
    "blur_sigma": Pair((0.1, 2.0), "range of the blur's standard deviation, pixels (App. C.1)", above=0),
    "blur_relative": Bool(True, "blur_kernel and blur_sigma are for 224 pixels and scale with input_size; ours"),
    "blur_edges": Text("zero", "what lies beyond the border; zero as in BYOL", choices=("zero", "reflect")),
    "solarise_probability": Pair((0.0, 0.2), "solarisation of T1 and T2", low=0, high=1),
    "solarise_threshold": Float(0.5, "values from here on are inverted (App. C.1)", low=0, high=1),
}
