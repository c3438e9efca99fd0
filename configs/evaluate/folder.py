"""Any folder of images and label pictures; `data.folder.*` says how it is laid out.

    hummingbird evaluate --config=configs/evaluate/folder.py \
        --checkpoint=PATH --workdir=DIR --config.data.root=FOLDER

`:depth` reads metric depth instead of class ids; `:few` has the hyper-parameters of Sec. 4.2.
"""

from hummingbird.retrieval.protocol import FEW_DATA


def get_config(variant=""):
    """Class ids, `:depth`, or `:few`."""
    config = {"data": {"name": "folder"}}
    depth = {"data": {"name": "folder", "task": "depth"}}
    return {"": config, "depth": depth, "few": {**config, **FEW_DATA}}[variant]
