"""ADE20K (ADEChallengeData2016): mIoU over 150 classes; 20,210 prompt and 2,000 query images (Tables 1, 2, 6).

    hummingbird evaluate --config=configs/evaluate/ade20k.py \
        --checkpoint=PATH --workdir=DIR --config.data.root=ADEChallengeData2016

The folder holds images/ and annotations/, each with training/ and validation/. `:few` uses the hyper-parameters of Sec.
4.2; `:fractions` scores 1/128 (158 images) to all of the prompt with them. The paper reports 25 minutes on an A100, and
28.3 for a ViT-B pretrained on ImageNet-1k, 30.7 on ImageNet-22k (Table 12). Under --config.protocol=open-hummingbird
the mean runs over 151 classes: there void is one, which no query holds. Under --config.protocol=dip it is one that
counts as others. --config.protocol=capi is CAPI's patch k-NN, see configs/sweeps/capi.py.

At 768 dimensions the longest part of `:fractions` takes 32 GB of memory, and its index some more. A bank for all
parts takes 175 GB beside that, and every image is encoded once; with less memory, parts that do not fit together are
encoded one after the other, with up to six times the encoding and the same scores.
"""

from hummingbird.retrieval.protocol import variants


def get_config(variant="full"):
    """Returns `:full` (Table 6, "Everywhere else"), `:few` (Table 6, Sec. 4.2) or `:fractions` (`:few` by fraction)."""
    return variants({"data": {"name": "ade20k"}})[variant]
