"""SimSiam (Chen and He 2021) with ViT-B/16 on ImageNet-1k: batch 512, 100 epochs.

    hummingbird pretrain --config=configs/pretrain/simsiam_b16_imagenet.py --workdir=gs://BUCKET/simsiam \
        --config.data.root=gs://BUCKET/imagenet

The objective, its heads and its augmentation (MoCo v2's) are the paper's, which trained ResNets with SGD. The settings
for a ViT are those of MoCo v3. The paper keeps the predictor's learning rate constant; here it follows the others.

| setting | value | source |
|---|---|---|
| `batch_size` | 512 | SimSiam (Sec. 3) |
| `epochs` | 100 | SimSiam (Sec. 3) |
| `heads.hidden_dim` | 2048 | SimSiam (Sec. 3), three layers |
| `heads.output_dim` | 2048 | SimSiam (Sec. 3) |
| `simsiam.bottleneck_dim` | 512 | SimSiam (Sec. 3) |
| `augment.crop_area` | 0.2, 1.0 | SimSiam (App. A) |
| `augment.saturation` | 0.4 | SimSiam (App. A); brightness and contrast, too |
| `augment.blur_probability` | 0.5, 0.5 | SimSiam (App. A) |
| `augment.solarise_probability` | 0.0, 0.0 | SimSiam has none |
| `pooling` | mean | average pooling, SimSiam (Sec. 3) |
| `optimizer.learning_rate` | 1.5e-4 | base rate of AdamW, MoCo v3 (Sec. 4) |
| `optimizer.reference_batch` | 256 | rate = base rate * batch / 256 (MoCo v3) |
| `optimizer.warmup_epochs` | 40 | MoCo v3 (Sec. 4) |
| `optimizer.weight_decay` | 0.1 | MoCo v3 (Sec. 4) |
| `optimizer.clip_norm` | none | MoCo v3 |
| `encoder.positions` | sincos2d | MoCo v3 (Sec. 4) |
| `encoder.freeze_patches` | true | random patch projection, MoCo v3 (Sec. 4.2) |

No score with a ViT is published; with ResNet-50 the paper reports 68.1% linear probing on ImageNet after 100 epochs. It
has not been repeated here.

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
            "objective.name": "simsiam",
            "pooling": "mean",
            "batch_size": 512,
            "epochs": 100.0,
            "heads.hidden_dim": 2048,
            "heads.output_dim": 2048,
            "simsiam.bottleneck_dim": 512,
        }
    )
    variants = {
        "": {},
        "context": CONTEXT,
        "small": {**SMALL, "batch_size": 512, "micro_batches": 16},
        "tiny": {**TINY, "simsiam.bottleneck_dim": 8},
    }
    return config | variants[variant]
