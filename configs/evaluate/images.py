"""k-NN, few-shot and linear classification of whole images.

    hummingbird evaluate --config=configs/evaluate/images.py:cifar10 \
        --checkpoint=PATH --workdir=DIR --config.data.root=ROOT

Variants are data sets: imagenet, imagenet100, cifar10, cifar100, food101, pets, flowers102, dtd, eurosat, cars, cub,
aircraft, scenes (the rendered toy world), demo (few small scenes) and, without a variant, any class folders. ROOT is a
prepared TFDS folder or a TFDS data_dir with the set of that name, or holds train/CLASS/* and test/CLASS/* (or val/),
one .tar for each class in place of folders, or CLASS/* alone, of which a fifth of each class is then tested on.

    --config.data.prompt=train.txt --config.data.query=test.txt         lists in ROOT: PATH LABEL on each line
    --config.images.classifiers=knn,weighted_knn,logistic,linear        the first one gives the headline score
    --config.images.shots=5                                             few shots too: mean and spread of five draws
    --config.features.pca=512                                           principal components, as in FUNGI
    --config.images.cache=DIR                                           keeps features; encoding resumes

Published k-NN accuracy on ImageNet (k = 20, weighted vote): DINO ViT-S/16 74.5, ViT-B/16 76.1. Mean accuracy of FUNGI's
11 data sets with plain features (k = 20, majority, its Table 2): DINO ViT-B/16 69.0, DINOv2 ViT-B/14 79.9.
"""

from hummingbird.data.image_sets import SETS

TRANSFORM = {"input_size": 224, "batch_size": 64}
SMALL = {"prompt_images": 1000, "query_images": 500}


def get_config(variant="images"):
    """Returns the evaluation on a data set of `SETS`, on `:scenes` or in `:demo`."""
    if variant in ("scenes", "demo"):
        size = {"scenes": 96, "demo": 64}[variant]
        data = {"name": "scenes", "task": "classification", "scenes": {"labels": True, **SMALL}}
        return {"input_size": size, "batch_size": 64, "data": data, "images": {"crop": "squash"}}
    names = {name: name for name in SETS}
    return {**TRANSFORM, "data": {"name": names[variant or "images"], "task": "classification"}}
