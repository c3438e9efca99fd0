"""NYUv2 depth: RMSE in metres; prompt 795 labelled frames, query 654, no augmentation (Tables 1, 6; App. A.2).

    hummingbird evaluate --config=configs/evaluate/nyuv2.py \
        --checkpoint=PATH --workdir=DIR --config.data.root=FOLDER_OR_MAT

`:few` uses the hyper-parameters of Sec. 4.2. With --config.depth.eigen_crop=true only Eigen's crop is scored.
The paper reports 30 minutes on an A100, and an RMSE of .718 for a ViT-B pretrained on ImageNet-1k (Table 12).
"""

from hummingbird.retrieval.protocol import variants


def get_config(variant="full"):
    """Returns `:full` (Table 6, "Everywhere else"), `:few` (Table 6, Sec. 4.2) or `:fractions` (`:few` by fraction)."""
    config = {"data": {"name": "nyuv2", "task": "depth"}, "depth": {"low": 1e-3, "high": 10.0}}
    return variants(config)[variant]
