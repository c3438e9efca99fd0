"""MoCo v3 (Chen, Xie and He 2021) with ViT-B/16 on ImageNet-1k: batch 4096, 300 epochs.

    hummingbird pretrain --config=configs/pretrain/mocov3_b16_imagenet.py --workdir=gs://BUCKET/mocov3 \
        --config.data.root=gs://BUCKET/imagenet

Hyper-parameters and augmentation are the paper's; the augmentation is BYOL's, which is also the default here. One thing
differs: biases, norms and [CLS] do not decay.

| setting | value | source |
|---|---|---|
| `batch_size` | 4096 | MoCo v3 (Sec. 4) |
| `epochs` | 300 | MoCo v3 (Table 4) |
| `contrastive.temperature` | 0.2 | MoCo v3 (Sec. 4) |
| `ema_decay` | 0.99 | momentum m, MoCo v3 (Sec. 4) |
| `ema_schedule` | cosine | m grows to 1, MoCo v3 |
| `heads.hidden_dim` | 4096 | MoCo v3 (Sec. 4), three layers and two |
| `heads.output_dim` | 256 | MoCo v3 (Sec. 4) |
| `pooling` | cls | MoCo v3 (Sec. 4) |
| `optimizer.learning_rate` | 1.5e-4 | base rate of AdamW, MoCo v3 (Sec. 4) |
| `optimizer.reference_batch` | 256 | rate = base rate * batch / 256 (MoCo v3) |
| `optimizer.warmup_epochs` | 40 | MoCo v3 (Sec. 4) |
| `optimizer.weight_decay` | 0.1 | MoCo v3 (Sec. 4) |
| `optimizer.clip_norm` | none | MoCo v3 |
| `encoder.positions` | sincos2d | MoCo v3 (Sec. 4) |
| `encoder.freeze_patches` | true | random patch projection, MoCo v3 (Sec. 4.2) |

Scores of the paper's model: 76.7% linear probing on ImageNet (MoCo v3); by retrieval 37.2 mIoU on PASCAL VOC, 14.6 on
ADE20K and .771 RMSE on NYUv2 (Hummingbird, Table 1). None has been repeated here.

`:context` adds contextualisation from a bank and QKV attention pooling; `:small` is sized, by estimate, for one GPU
with 16 GB, `:tiny` a run of seconds on `scenes`.
"""

from hummingbird.config.sizes import AS_MOCOV3, CONTEXT, SMALL, TINY


def get_config(variant=""):
    """Returns the paper's recipe (the default), `:context`, `:small` or `:tiny`."""
    config = AS_MOCOV3 | {
        "objective.name": "mocov3",
        "batch_size": 4096,
        "epochs": 300.0,
        "contrastive.temperature": 0.2,
        "ema_decay": 0.99,
        "ema_schedule": "cosine",
        "heads.hidden_dim": 4096,
        "heads.output_dim": 256,
    }
    variants = {"": {}, "context": CONTEXT, "small": SMALL, "tiny": TINY}
    return config | variants[variant]
