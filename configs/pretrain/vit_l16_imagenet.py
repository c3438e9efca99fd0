"""ViT-L/16 on ImageNet-1k: 300 epochs (App. C.2), layers recomputed going backward so that 16 GiB a device are enough.

    hummingbird pretrain --config=configs/pretrain/vit_l16_imagenet.py --workdir=gs://BUCKET/vit_l16 \
        --config.data.root=gs://BUCKET/imagenet

| variant | what | table |
|---|---|---|
| (none) | Hummingbird | 11 |
| `:supervised` | Hummingbird++ | 11 |

The paper gives fine-tuned scores alone for these two (Table 11: 82.4 and 81.8 VOC mIoU), and 53 h on 128 TPU v3 cores.
Not run here; what the compiler makes of it is in configs/pretrain/README.md.
"""


def get_config(variant=""):
    """Hummingbird, or Hummingbird++."""
    variants = {"": {}, "supervised": {"supervised.weight": 0.05}}
    return {
        "data.name": "imagenet",
        "encoder": {"name": "vit_l16", "remat": True, "scan_layers": True},
        "dtype": "bfloat16",
        **variants[variant],
    }
