"""LOCA (Caron et al. 2022) with ViT-B/16 on ImageNet-1k: batch 1024, 600 epochs, 10 query crops.

    hummingbird pretrain --config=configs/pretrain/loca_b16_imagenet.py --workdir=gs://BUCKET/loca \
        --config.data.root=gs://BUCKET/imagenet

Hyper-parameters are those of the paper and of its code in Scenic ("code", which trains 100 epochs). Queries lie inside
the reference view and nothing is flipped; objectives/loca.py says why. In the code the first query is a view of 224
pixels; here all ten have 96.

| setting | value | source |
|---|---|---|
| `batch_size` | 1024 | LOCA (App., implementation details) |
| `epochs` | 600 | LOCA (App.) |
| `optimizer.learning_rate` | 1e-3 | LOCA (App.) |
| `optimizer.reference_batch` | none | LOCA (App.) |
| `optimizer.warmup_epochs` | 15 | code |
| `optimizer.weight_decay` | 0.1 | LOCA (App.) |
| `optimizer.clip_norm` | 1.0 | code |
| `ema_decay` | 0.996 | code |
| `ema_schedule` | cosine | grows to 1, code |
| `loca.queries` | 10 | LOCA (Sec. 3.1) |
| `loca.query_size` | 96 | LOCA (Sec. 3.1) |
| `loca.mask_ratio` | 0.8 | LOCA (Sec. 3.1) |
| `loca.prototypes` | 4096 | LOCA (Sec. 3.2) |
| `loca.student_temperature` | 0.1 | code |
| `loca.teacher_temperature` | 0.05 | code |
| `dino.hidden_dim` | 2048 | width of the head, code |
| `dino.bottleneck_dim` | 256 | width of the head, code |
| `encoder.drop_path` | 0.1 | code |
| `encoder.mlp` | gelu_tanh | code |

| variant | what | epochs | VOC mIoU | ADE20K mIoU | NYUv2 RMSE |
|---|---|---|---|---|---|
| (none) | ViT-B/16, ImageNet-1k | 600 | 57.5 | 18.5 | .880 |
| `:in22k` | ViT-B/16, ImageNet-22k | 100 | 56.4 | 16.8 | .829 |
| `:l16` | ViT-L/16, ImageNet-22k | 100 | 59.5 | 17.6 | .912 |

Scores by retrieval are Hummingbird's (Table 1). None has been repeated here. `:small` is sized, by estimate, for one
GPU with 16 GB, `:tiny` a run of seconds on `scenes`. There is no context to add: nothing is pooled.
"""

from hummingbird.config.sizes import IMAGENET, SMALL, TINY


def get_config(variant=""):
    """Returns the paper's recipe (the default), `:in22k`, `:l16`, `:small` or `:tiny`."""
    config = IMAGENET | {
        "objective.name": "loca",
        "pooling": "mean",
        "batch_size": 1024,
        "epochs": 600.0,
        "optimizer.learning_rate": 1e-3,
        "optimizer.warmup_epochs": 15.0,
        "optimizer.weight_decay": 0.1,
        "optimizer.clip_norm": 1.0,
        "ema_decay": 0.996,
        "ema_schedule": "cosine",
        "encoder.drop_path": 0.1,
        "encoder.mlp": "gelu_tanh",
        "augment.same_crop": True,
        "augment.flip_probability": 0.0,
    }
    in22k = {"epochs": 100.0}
    tiny = {"dino.hidden_dim": 32, "dino.bottleneck_dim": 8, "loca.prototypes": 16, "loca.queries": 2}
    variants = {
        "": {},
        "in22k": in22k,
        "l16": in22k | {"encoder.name": "vit_l16", "encoder.remat": True, "encoder.scan_layers": True},
        "small": SMALL | {"batch_size": 256},
        "tiny": TINY | tiny | {"loca.query_size": 16},
    }
    return config | variants[variant]
