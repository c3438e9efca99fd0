"""NYUv2 depth: RMSE in metres; prompt 47,584 frames, query 654, no augmentation (Tables 1, 6; App. A.2).

    hummingbird evaluate --config=configs/evaluate/nyuv2.py \
        --checkpoint=PATH --workdir=DIR --config.data.root=TFDS_DIR
    hummingbird evaluate --config=configs/evaluate/nyuv2.py:labelled \
        --checkpoint=PATH --workdir=DIR --config.data.root=FOLDER_OR_MAT

TFDS_DIR is a data_dir of TensorFlow Datasets that holds nyu_depth_v2 prepared with file_format=array_record.

| variant | prompt | hyper-parameters | RMSE to expect of a ViT-B |
|---|---|---|---|
| `:full` | 47,584 frames of TFDS | Table 6, "Everywhere else" | .718 (ImageNet-1k), .706 (ImageNet-22k): Table 12 |
| `:few` | the same | Table 6, Sec. 4.2 | unknown |
| `:fractions` | 1/128 (372) to all of them | as `:few` | unknown |
| `:labelled` | the 795 frames of nyu_depth_v2_labeled.mat | as `:full` | unknown |

The paper does not name its prompt. Its times fit only TFDS's: 15 minutes for 22,600 images of PASCAL VOC, 25 for 42,400
of ADE20K, 30 for NYUv2. The 654 query frames are the official test split in both. `rmse` is over all pixels of the
query set; `rmse_per_image`, its mean over images, is what most papers on depth report. --config.depth.eigen_crop=true
scores Eigen's crop.
"""

from hummingbird.retrieval.protocol import variants


def get_config(variant="full"):
    """Returns `:full`, `:few`, `:fractions` or `:labelled`."""
    depth = {"depth": {"low": 1e-3, "high": 10.0}}
    frames = {"data": {"name": "tfds/nyu_depth_v2", "task": "depth"}, **depth}
    labelled = {"data": {"name": "nyuv2", "task": "depth"}, **depth}
    return {**variants(frames), "labelled": labelled}[variant]
