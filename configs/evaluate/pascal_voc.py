"""PASCAL VOC 2012: trainaug (10,582 images) prompts val (1,449); 21 classes, mIoU (Tables 1, 2, 6).

    hummingbird evaluate --config=configs/evaluate/pascal_voc.py \
        --checkpoint=PATH --workdir=DIR --config.data.root=VOCdevkit/VOC2012

`:few` has the hyper-parameters of Sec. 4.2, `:fractions` scores 1/128 (83 images) to all of the prompt with them.
The paper: 15 minutes on an A100; 70.5 with ViT-B pretrained on ImageNet-1k, 73.5 on ImageNet-22k (Table 12).
"""

from hummingbird.retrieval.protocol import variants


def get_config(variant="full"):
    """`:full` (Table 6, "Everywhere else"), `:few` (Sec. 4.2's column), or `:fractions` (the same for each part)."""
    return variants({"data": {"name": "pascal_voc"}})[variant]
