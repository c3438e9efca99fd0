"""The paper's run: ViT-B/16 on ImageNet-1k, batch 4096, 300 epochs, bank of 153,600 (App. B, C.2).

    hummingbird pretrain --config=configs/pretrain/vit_b16_imagenet.py --workdir=gs://BUCKET/vit_b16 \
        --config.data.root=gs://BUCKET/imagenet

The paper: 0.81 s a step and 21 h on 128 TPU v3 cores; 70.5 mIoU on PASCAL VOC by retrieval. Not yet run here.
"""


def get_config(variant=""):
    """The defaults are the paper's; `:supervised` is Hummingbird++ (Sec. 3.4)."""
    config = {"data": {"name": "imagenet"}, "dtype": "bfloat16"}
    supervised = {**config, "supervised": {"weight": 0.05}}
    return {"": config, "supervised": supervised}[variant]
