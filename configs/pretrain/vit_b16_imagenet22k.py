"""ViT-B/16 on ImageNet-22k: 100 epochs of 14 million images (App. C.2).

    hummingbird pretrain --config=configs/pretrain/vit_b16_imagenet22k.py --workdir=gs://BUCKET/vit_b16_22k \
        --config.data.root=gs://BUCKET/imagenet22k

| variant | what | table | VOC mIoU | ADE20K mIoU | NYUv2 RMSE |
|---|---|---|---|---|---|
| (none) | Hummingbird | 1, 12 | 73.5 | 30.7 | .706 |
| `:supervised` | Hummingbird++, alpha = 0.25 | 1, 12 | 76.2 | 34.1 | .695 |
| `:supervised_retrieval` | labels from the bank alone | 12 | 69.3 | 30.3 | .739 |
| `:supervised_vit` | softmax classifier alone | 1 | 63.5 | 28.0 | 1.07 |
| `:no_bank` | L_SSL alone, no bank | 6, at 0 | (plot) | (plot) | |
| `:classifier` | linear classifier beside L_SSL, no bank | 6, at 0 | (plot) | (plot) | |

Scores are the paper's, by retrieval; none of these runs has been repeated here. For Figures 6 and 8, with banks of 0 to
300,000 entries, see configs/sweeps/bank_length_pretraining.py. The paper reports 60 h on 256 TPU v3 cores. `data.root`
holds a folder or, better, a .tar for each of the 21,841 classes; scripts/README.md lists them once for all hosts.
"""


def get_config(variant=""):
    """Returns Hummingbird (the default) or one of the variants above."""
    classifier = {"supervised.objective": "classifier", "supervised.classes": 21_841, "context.bank_length": 0}
    variants = {
        "": {},
        "supervised": {"supervised.weight": 0.25},
        "supervised_retrieval": {"contrastive.weight": 0.0, "supervised.weight": 1.0},
        "supervised_vit": {"contrastive.weight": 0.0, "supervised.weight": 1.0, "pooling": "cls", **classifier},
        "no_bank": {"context.bank_length": 0},
        "classifier": {"supervised.weight": 0.25, **classifier},
    }
    return {"data.name": "imagenet", "epochs": 100.0, "dtype": "bfloat16", **variants[variant]}
