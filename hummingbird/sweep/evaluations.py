"""The evaluations that follow each pretraining of the shipped sweeps, by variant of the sweep file."""

EVALUATIONS: dict[str, dict[str, str]] = {
    # Tables 5 and 12: two semantic segmentations and one depth estimation.
    "": {
        "voc": "configs/evaluate/pascal_voc.py",
        "ade20k": "configs/evaluate/ade20k.py",
        "nyuv2": "configs/evaluate/nyuv2.py",
    },
    # The embedded toy world, for minutes on a laptop.
    "demo": {"scenes": "configs/evaluate/demo.py:segmentation", "scenes_depth": "configs/evaluate/demo.py:depth"},
}
