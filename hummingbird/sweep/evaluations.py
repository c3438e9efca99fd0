"""The evaluations that follow each pretraining of the shipped sweeps, by variant of the sweep file."""

EVALUATIONS: dict[str, dict[str, str]] = {
    # Tables 5 and 12: two semantic segmentations and one depth estimation.
    "": {
        "voc": "evaluate/pascal_voc",
        "ade20k": "evaluate/ade20k",
        "nyuv2": "evaluate/nyuv2",
    },
    # The embedded toy world, for minutes on a laptop.
    "demo": {"scenes": "evaluate/demo:segmentation", "scenes_depth": "evaluate/demo:depth"},
}
