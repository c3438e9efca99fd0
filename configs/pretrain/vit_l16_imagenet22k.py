"""ViT-L/16 on ImageNet-22k: 100 epochs (App. C.2); the paper's best encoders.

    hummingbird pretrain --config=configs/pretrain/vit_l16_imagenet22k.py --workdir=gs://BUCKET/vit_l16_22k \
        --config.data.root=gs://BUCKET/imagenet22k

| variant | what | table | VOC mIoU | ADE20K mIoU | NYUv2 RMSE |
|---|---|---|---|---|---|
| (none) | Hummingbird | 1 | 76.9 | 35.0 | .671 |
| `:supervised` | Hummingbird++, alpha = 0.05 | 1 | 77.3 | 35.8 | .671 |

Scores are the paper's, by retrieval; none of these runs has been repeated here. The paper reports 128 h on 256 TPU v3
cores.
"""


def get_config(variant=""):
    """Returns Hummingbird (the default) or Hummingbird++."""
    variants = {"": {}, "supervised": {"supervised.weight": 0.05}}
    return {
        "data.name": "imagenet",
        "epochs": 100.0,
        "encoder": {"name": "vit_l16", "remat": True, "scan_layers": True},
        "dtype": "bfloat16",
        **variants[variant],
    }
