"""BYOL (Grill et al. 2020) with ViT-B/16 on ImageNet-1k: batch 4096, 300 epochs.

    hummingbird pretrain --config=configs/pretrain/byol_b16_imagenet.py --workdir=gs://BUCKET/byol \
        --config.data.root=gs://BUCKET/imagenet

BYOL's paper trained ResNets with LARS for 1000 epochs. The settings for a ViT are those of MoCo v3, which also ran BYOL
with a ViT but does not list the learning rate and weight decay that it found for it. Augmentation is BYOL's, the
default.

| setting | value | source |
|---|---|---|
| `batch_size` | 4096 | BYOL (Sec. 3.3) |
| `epochs` | 300 | MoCo v3 (Table 4) |
| `ema_decay` | 0.996 | tau_base, BYOL (Sec. 3.3) |
| `ema_schedule` | cosine | tau grows to 1, BYOL (Sec. 3.3) |
| `heads.hidden_dim` | 4096 | BYOL (Sec. 3.3) |
| `heads.output_dim` | 256 | BYOL (Sec. 3.3) |
| `pooling` | cls | MoCo v3 (Sec. 4) |
| `optimizer.learning_rate` | 1.5e-4 | base rate of AdamW, MoCo v3 (Sec. 4) |
| `optimizer.reference_batch` | 256 | rate = base rate * batch / 256 (MoCo v3) |
| `optimizer.warmup_epochs` | 40 | MoCo v3 (Sec. 4) |
| `optimizer.weight_decay` | 0.1 | MoCo v3 (Sec. 4) |
| `optimizer.clip_norm` | none | MoCo v3 |
| `encoder.positions` | sincos2d | MoCo v3 (Sec. 4) |
| `encoder.freeze_patches` | true | random patch projection, MoCo v3 (Sec. 4.2) |

Scores: 73.9% linear probing on ImageNet with ViT-B/16 (MoCo v3, Table 4); 74.3% with ResNet-50 after 1000 epochs
(BYOL). None has been repeated here.

`:context` adds contextualisation from a bank and QKV attention pooling; `:small` is sized, by estimate, for one GPU
with 16 GB, `:tiny` a run of seconds on `scenes`.
"""

from hummingbird.config.sizes import AS_MOCOV3, CONTEXT, SMALL, TINY


def get_config(variant=""):
    """Returns the recipe (the default), `:context`, `:small` or `:tiny`."""
    config = AS_MOCOV3 | {
        "objective.name": "byol",
        "batch_size": 4096,
        "epochs": 300.0,
        "ema_decay": 0.996,
        "ema_schedule": "cosine",
        "heads.hidden_dim": 4096,
        "heads.output_dim": 256,
    }
    variants = {"": {}, "context": CONTEXT, "small": SMALL, "tiny": TINY}
    return config | variants[variant]
