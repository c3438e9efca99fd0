"""DINOv2 (Oquab et al. 2023) from scratch with ViT-B/16 on ImageNet-1k: batch 3072, 625,000 steps.

    hummingbird pretrain --config=configs/pretrain/dinov2_b16_imagenet.py --workdir=gs://BUCKET/dinov2 \
        --config.data.root=gs://BUCKET/imagenet

Hyper-parameters are those of ViT-L from scratch (its smaller models are distilled), with patches of 16 pixels and
local crops of 96 instead of 14 and 98, and the defaults of its code ("code"). Three things differ: all layers
have one learning rate, stochastic depth grows with the layer, and training does not end at a higher resolution.

| setting | value | source |
|---|---|---|
| `batch_size` | 3072 | DINOv2 (Table 16) |
| `total_steps` | 625000 | DINOv2 (App. B) |
| `optimizer.learning_rate` | 3.5e-4 | DINOv2 (Table 16) |
| `optimizer.final_learning_rate` | 1e-6 | code |
| `optimizer.warmup_steps` | 100000 | DINOv2 (App. B) |
| `optimizer.weight_decay` | 0.04 | DINOv2 (App. B) |
| `optimizer.final_weight_decay` | 0.2 | cosine, DINOv2 (App. B) |
| `optimizer.clip_norm` | 3.0 | code |
| `ema_decay` | 0.994 | DINOv2 (App. B) |
| `ema_schedule` | cosine | grows to 1, DINOv2 (App. B) |
| `dino.prototypes` | 65536 | code |
| `dino.centring` | sinkhorn | DINOv2 (Sec. 4) |
| `dino.warmup_teacher_temperature` | 0.04 | code |
| `dino.teacher_temperature` | 0.07 | code |
| `ibot.separate_head` | true | DINOv2 (Sec. 4) |
| `ibot.koleo_weight` | 0.1 | DINOv2 (App. B) |
| `ibot.mask_probability` | 0.5 | code |
| `ibot.mask_ratio` | 0.1,0.5 | code |
| `augment.crop_area` | 0.32,1.0 | code |
| `augment.local.count` | 8 | code |
| `augment.local.crop_area` | 0.05,0.32 | code |
| `encoder.layer_scale` | 1e-5 | DINOv2 (App. B) |
| `encoder.drop_path` | 0.4 | DINOv2 (Table 16) |
| `pooling` | cls | DINOv2 (Sec. 4) |

No scores are published for this size from scratch on ImageNet-1k, and none has been measured here. It fits 128 TPU v3
cores: `hummingbird plan --topology=v3:8x8` finds 9.5 of 16 GiB and 12.5 Tflop per step and device.

`:context` adds contextualisation from a bank and QKV attention pooling; `:small` is sized, by estimate, for one GPU
with 16 GB, `:tiny` a run of seconds on `scenes`.
"""

from hummingbird.config.sizes import AS_DINO, CONTEXT, SMALL, TINY_DINO


def get_config(variant=""):
    """Returns the paper's recipe (the default), `:context`, `:small` or `:tiny`."""
    config = AS_DINO | {
        "objective.name": "dinov2",
        "encoder.layer_scale": 1e-5,
        "encoder.drop_path": 0.4,
        "batch_size": 3072,
        "total_steps": 625_000,
        "optimizer.learning_rate": 3.5e-4,
        "optimizer.final_learning_rate": 1e-6,
        "optimizer.warmup_steps": 100_000,
        "optimizer.final_weight_decay": 0.2,
        "ema_decay": 0.994,
        "dino.prototypes": 65_536,
        "dino.centring": "sinkhorn",
        "dino.warmup_epochs": 90.0,  # 37,500 steps: 30 of the code's epochs, which have 1,250
        "ibot.separate_head": True,
        "ibot.koleo_weight": 0.1,
        "ibot.mask_probability": 0.5,
        "ibot.mask_ratio": (0.1, 0.5),
        "augment.crop_area": (0.32, 1.0),
        "augment.local.count": 8,
        "augment.local.crop_area": (0.05, 0.32),
    }
    # Fewer prototypes, and logits of 7 masked patches of a view at a time; an estimate, as the other sizes.
    small = {"micro_batches": 64, "total_steps": None, "optimizer.warmup_steps": None}
    small |= {"dino.prototypes": 8192, "ibot.chunk": 7}
    variants = {"": {}, "context": CONTEXT, "small": SMALL | small, "tiny": TINY_DINO}
    return config | variants[variant]
