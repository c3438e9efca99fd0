"""PASCAL VOC 2012: mIoU over 21 classes; prompt trainaug (10,582 images), query val (1,449) (Tables 1, 2, 6).

    hummingbird evaluate --config=configs/evaluate/pascal_voc.py \
        --checkpoint=PATH --workdir=DIR --config.data.root=VOCdevkit/VOC2012

The data are VOC's own folder plus SegmentationClassAug/, the masks of trainaug by Hariharan et al.; without them, use
--config.data.prompt=train (1,464 images).

`:few` uses the hyper-parameters of Sec. 4.2; `:fractions` scores 1/128 (83 images) to all of the prompt with them. The
paper reports 15 minutes on an A100, and 70.5 for a ViT-B pretrained on ImageNet-1k, 73.5 on ImageNet-22k (Table 12).

`--config.protocol=dip` evaluates as DIP does, which reports 79.4 and 79.0 for DINOv2 with registers, ViT-S/14 and B/14
(ADE20K: 39.3 and 40.8), and 81.0 and 82.1 for its own (arXiv 2506.18463).

At 768 dimensions the longest part of `:fractions` takes 32 GB of memory, and its index some more. A bank for all
parts takes 115 GB beside that, and every image is encoded once; with less memory, parts that do not fit together are
encoded one after the other, with up to six times the encoding and the same scores.
"""

from hummingbird.retrieval.protocol import variants


def get_config(variant="full"):
    """Returns `:full` (Table 6, "Everywhere else"), `:few` (Table 6, Sec. 4.2) or `:fractions` (`:few` by fraction)."""
    return variants({"data": {"name": "pascal_voc"}})[variant]
