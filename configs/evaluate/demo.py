"""The evaluation of `scripts/demo`: segmentation or depth on `scenes`, with a small prompt.

    hummingbird evaluate --config=configs/evaluate/demo.py:depth --checkpoint=runs/demo/pretrain --workdir=DIR

The prompt has only 64 images, of 64 px: in a larger one raw pixels find matches by sheer number.
"""


def get_config(variant="segmentation"):
    """Returns `:segmentation` (the default) or `:depth`."""
    tasks = {"segmentation": {}, "depth": {"depth": {"high": 20.0}}}
    return {
        "input_size": 64,
        "data": {"name": "scenes", "task": variant, "scenes": {"prompt_images": 64, "query_images": 128}},
        "retrieval": {"augmentation_epochs": 0},
        **tasks[variant],
    }
