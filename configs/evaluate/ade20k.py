"""ADE20K (ADEChallengeData2016): 20,210 images prompt 2,000; 150 classes, 0 is void, mIoU (Tables 1, 2, 6).

    hummingbird evaluate --config=configs/evaluate/ade20k.py \
        --checkpoint=PATH --workdir=DIR --config.data.root=ADEChallengeData2016

`:few` has the hyper-parameters of Sec. 4.2, `:fractions` scores 1/128 (158 images) to all of the prompt with them.
The paper: 25 minutes on an A100; 28.3 with ViT-B pretrained on ImageNet-1k, 30.7 on ImageNet-22k (Table 12).
"""

from hummingbird.retrieval.protocol import variants


def get_config(variant="full"):
    """`:full` (Table 6, "Everywhere else"), `:few` (Sec. 4.2's column), or `:fractions` (the same for each part)."""
    return variants({"data": {"name": "ade20k"}})[variant]
