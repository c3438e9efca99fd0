"""DenseCL (Wang et al. 2021) with ViT-B/16 on ImageNet-1k: batch 256, 200 epochs, two queues of 65,536.

    hummingbird pretrain --config=configs/pretrain/densecl_b16_imagenet.py --workdir=gs://BUCKET/densecl \
        --config.data.root=gs://BUCKET/imagenet

The objective, its heads and its augmentation (MoCo v2's) are the paper's, which trained ResNets with SGD. The settings
for a ViT are those of MoCo v3. The 14 x 14 patches of a view are averaged to 7 x 7 places.

| setting | value | source |
|---|---|---|
| `batch_size` | 256 | DenseCL (Sec. 4.1) |
| `epochs` | 200 | DenseCL (Sec. 4.1) |
| `densecl.queue_length` | 65536 | DenseCL (Sec. 4.1) |
| `densecl.grid` | 7 | S, DenseCL (Sec. 3.3) |
| `densecl.weight` | 0.5 | lambda, DenseCL (Sec. 3.4) |
| `contrastive.temperature` | 0.2 | DenseCL (Sec. 4.1) |
| `ema_decay` | 0.999 | DenseCL (Sec. 4.1) |
| `ema_schedule` | constant | DenseCL (Sec. 4.1) |
| `heads.hidden_dim` | 2048 | DenseCL (Sec. 4.1) |
| `heads.output_dim` | 128 | DenseCL (Sec. 4.1) |
| `augment.crop_area` | 0.2, 1.0 | MoCo v2 |
| `augment.saturation` | 0.4 | MoCo v2; brightness and contrast, too |
| `augment.blur_probability` | 0.5, 0.5 | MoCo v2 |
| `augment.solarise_probability` | 0.0, 0.0 | MoCo v2 has none |
| `pooling` | mean | average pooling, DenseCL (Sec. 3.2) |
| `optimizer.learning_rate` | 1.5e-4 | base rate of AdamW, MoCo v3 (Sec. 4) |
| `optimizer.reference_batch` | 256 | rate = base rate * batch / 256 (MoCo v3) |
| `optimizer.warmup_epochs` | 40 | MoCo v3 (Sec. 4) |
| `optimizer.weight_decay` | 0.1 | MoCo v3 (Sec. 4) |
| `optimizer.clip_norm` | none | MoCo v3 |
| `encoder.positions` | sincos2d | MoCo v3 (Sec. 4) |
| `encoder.freeze_patches` | true | random patch projection, MoCo v3 (Sec. 4.2) |

No score with a ViT is published; with ResNet-50 the paper reports 69.4 mIoU of a fine-tuned FCN on PASCAL VOC. It has
not been repeated here.

`:context` adds contextualisation from a bank and QKV attention pooling; `:small` is sized, by estimate, for one GPU
with 16 GB, `:tiny` a run of seconds on `scenes`.
"""

from hummingbird.config.sizes import AS_MOCOV2, AS_MOCOV3, CONTEXT, SMALL, TINY


def get_config(variant=""):
    """Returns the recipe (the default), `:context`, `:small` or `:tiny`."""
    config = (
        AS_MOCOV3
        | AS_MOCOV2
        | {
            "objective.name": "densecl",
            "pooling": "mean",
            "batch_size": 256,
            "epochs": 200.0,
            "densecl.queue_length": 65_536,
            "densecl.grid": 7,
            "densecl.weight": 0.5,
            "contrastive.temperature": 0.2,
            "ema_decay": 0.999,
            "heads.hidden_dim": 2048,
            "heads.output_dim": 128,
        }
    )
    variants = {
        "": {},
        "context": CONTEXT,
        "small": {**SMALL, "batch_size": 256, "micro_batches": 4},
        "tiny": {**TINY, "densecl.queue_length": 32, "densecl.grid": 2},
    }
    return config | variants[variant]
