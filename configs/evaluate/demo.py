"""What `scripts/demo` scores: a small prompt of `scenes`, segmentation or depth.

    hummingbird evaluate --config=configs/evaluate/demo.py:depth --checkpoint=runs/demo/pretrain --workdir=DIR

64 annotated images of 64 px: few, because a larger prompt lets raw pixels find their match by sheer number.
"""


def get_config(variant="segmentation"):
    """`:segmentation` (default) or `:depth`."""
    tasks = {"segmentation": {}, "depth": {"depth": {"high": 20.0}}}
    return {
        "input_size": 64,
        "data": {"name": "scenes", "task": variant, "scenes": {"prompt_images": 64, "query_images": 128}},
        "retrieval": {"augmentation_epochs": 0},
        **tasks[variant],
    }
