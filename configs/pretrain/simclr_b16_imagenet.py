"""SimCLR (Chen et al. 2020) with ViT-B/16 on ImageNet-1k: batch 4096, 300 epochs.

    hummingbird pretrain --config=configs/pretrain/simclr_b16_imagenet.py --workdir=gs://BUCKET/simclr \
        --config.data.root=gs://BUCKET/imagenet

The objective and its augmentation are the paper's, which trained ResNets with LARS for up to 1000 epochs. The settings
for a ViT are those of MoCo v3, which also ran SimCLR with a ViT but does not list the learning rate and weight decay
that it found for it. Brightness is shifted, as in BYOL; SimCLR scales it.

| setting | value | source |
|---|---|---|
| `batch_size` | 4096 | SimCLR (Sec. 2) |
| `epochs` | 300 | MoCo v3 (Table 4) |
| `contrastive.temperature` | 0.1 | SimCLR (Table 5) |
| `heads.hidden_dim` | 2048 | SimCLR: as wide as ResNet-50 |
| `heads.output_dim` | 128 | SimCLR (Sec. 2) |
| `augment.crop_area` | 0.08, 1.0 | SimCLR (App. A) |
| `augment.brightness` | 0.8 | SimCLR (App. A), strength 1 |
| `augment.contrast` | 0.8 | SimCLR (App. A) |
| `augment.saturation` | 0.8 | SimCLR (App. A) |
| `augment.hue` | 0.2 | SimCLR (App. A) |
| `augment.blur_probability` | 0.5, 0.5 | SimCLR (App. A) |
| `augment.solarise_probability` | 0.0, 0.0 | SimCLR has none |
| `pooling` | cls | MoCo v3 (Sec. 4) |
| `optimizer.learning_rate` | 1.5e-4 | base rate of AdamW, MoCo v3 (Sec. 4) |
| `optimizer.reference_batch` | 256 | rate = base rate * batch / 256 (MoCo v3) |
| `optimizer.warmup_epochs` | 40 | MoCo v3 (Sec. 4) |
| `optimizer.weight_decay` | 0.1 | MoCo v3 (Sec. 4) |
| `optimizer.clip_norm` | none | MoCo v3 |
| `encoder.positions` | sincos2d | MoCo v3 (Sec. 4) |
| `encoder.freeze_patches` | true | random patch projection, MoCo v3 (Sec. 4.2) |

Scores: 73.9% linear probing on ImageNet with ViT-B/16 (MoCo v3, Table 4); 69.3% with ResNet-50 after 1000 epochs
(SimCLR). None has been repeated here.

`:context` adds contextualisation from a bank and QKV attention pooling; `:small` is sized, by estimate, for one GPU
with 16 GB, `:tiny` a run of seconds on `scenes`.
"""

from hummingbird.config.sizes import AS_MOCOV3, CONTEXT, SMALL, TINY


def get_config(variant=""):
    """Returns the recipe (the default), `:context`, `:small` or `:tiny`."""
    config = AS_MOCOV3 | {
        "objective.name": "simclr",
        "batch_size": 4096,
        "epochs": 300.0,
        "contrastive.temperature": 0.1,
        "heads.hidden_dim": 2048,
        "heads.output_dim": 128,
        "augment.brightness": 0.8,
        "augment.contrast": 0.8,
        "augment.saturation": 0.8,
        "augment.hue": 0.2,
        "augment.blur_probability": (0.5, 0.5),
        "augment.solarise_probability": (0.0, 0.0),
    }
    variants = {"": {}, "context": CONTEXT, "small": SMALL, "tiny": TINY}
    return config | variants[variant]
