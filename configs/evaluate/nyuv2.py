"""NYUv2 depth: 795 labelled frames prompt 654, RMSE in metres (Tables 1, 6); no augmentation (App. A.2).

    hummingbird evaluate --config=configs/evaluate/nyuv2.py \
        --checkpoint=PATH --workdir=DIR --config.data.root=FOLDER_OR_MAT

`:few` has the hyper-parameters of Sec. 4.2. Add --config.depth.eigen_crop=true for numbers inside Eigen's crop.
The paper: 30 minutes on an A100; RMSE .718 with ViT-B pretrained on ImageNet-1k (Table 12).
"""

from hummingbird.retrieval.protocol import variants


def get_config(variant="full"):
    """`:full` (Table 6, "Everywhere else"), `:few` (Sec. 4.2's column), or `:fractions` (the same for each part)."""
    config = {"data": {"name": "nyuv2", "task": "depth"}, "depth": {"low": 1e-3, "high": 10.0}}
    return variants(config)[variant]
