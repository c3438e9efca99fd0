"""MaskFeat (Wei et al. 2022) with ViT-B/16 on ImageNet-1k: batch 2048, 1600 epochs, HOG of masked patches.

    hummingbird pretrain --config=configs/pretrain/maskfeat_b16_imagenet.py --workdir=gs://BUCKET/maskfeat \
        --config.data.root=gs://BUCKET/imagenet

Hyper-parameters are those of the paper's ImageNet experiments.

| setting | value | source |
|---|---|---|
| `batch_size` | 2048 | MaskFeat (App., pre-training on ImageNet) |
| `epochs` | 1600 | MaskFeat (Sec. 4.2) |
| `optimizer.learning_rate` | 2e-4 | base rate, MaskFeat (App.) |
| `optimizer.reference_batch` | 256 | rate = base rate * batch / 256, MaskFeat (App.) |
| `optimizer.warmup_epochs` | 30 | MaskFeat (App.) |
| `optimizer.weight_decay` | 0.05 | MaskFeat (App.) |
| `optimizer.b2` | 0.999 | MaskFeat (App.) |
| `optimizer.clip_norm` | 0.02 | MaskFeat (App.) |
| `maskfeat.mask_ratio` | 0.4 | MaskFeat (Sec. 4.2) |
| `maskfeat.bins` | 9 | MaskFeat (Sec. 3.2) |
| `maskfeat.cell` | 8 | MaskFeat (Sec. 3.2) |
| `augment.crop_area` | 0.5,1.0 | MaskFeat (App.) |
| `augment.jitter_probability` | 0.0 | crops and flips only, MaskFeat (App.) |

Score of the paper's model: 84.0% fine-tuned on ImageNet (MaskFeat). It has not been repeated here.

`:small` is sized, by estimate, for one GPU with 16 GB, `:tiny` a run of seconds on `scenes`. There is no context to
add: nothing is pooled.
"""

from hummingbird.config.sizes import IMAGENET, SMALL, TINY


def get_config(variant=""):
    """Returns the paper's recipe (the default), `:small` or `:tiny`."""
    config = IMAGENET | {
        "objective.name": "maskfeat",
        "encoder.cls_token": True,
        "pooling": "mean",
        "batch_size": 2048,
        "epochs": 1600.0,
        "optimizer.learning_rate": 2e-4,
        "optimizer.reference_batch": 256,
        "optimizer.warmup_epochs": 30.0,
        "optimizer.weight_decay": 0.05,
        "optimizer.clip_norm": 0.02,
        "maskfeat.mask_ratio": 0.4,
        "augment.views": 1,
        "augment.crop_area": (0.5, 1.0),
        "augment.jitter_probability": 0.0,
        "augment.grey_probability": 0.0,
        "augment.blur_probability": (0.0, 0.0),
        "augment.solarise_probability": (0.0, 0.0),
    }
    variants = {"": {}, "small": SMALL, "tiny": TINY | {"maskfeat.cell": 4}}
    return config | variants[variant]
