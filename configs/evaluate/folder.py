"""Any folder of images and label files; `data.folder.*` describes its layout.

    hummingbird evaluate --config=configs/evaluate/folder.py \
        --checkpoint=PATH --workdir=DIR --config.data.root=FOLDER

By default FOLDER (or FOLDER.tar) holds images/, labels/ with PNGs of class ids under the same names, and the lists
train.txt and val.txt with the names of prompt and query. `hummingbird data` shows what is read. For other layouts:

    --config.data.folder.classes=classes.yaml                            [sky, road, tree], or {7: road, 11: tree}
    --config.data.prompt='[:80%]' --config.data.query='[80%:]'           without lists: parts of the sorted names
    --config.data.prompt=few.txt                                         another list in FOLDER
    --config.data.folder.images='rgb/{split}/*/{name}_rgb.png'           other folders or file names
    --config.data.folder.labels='gt/{split}/*/{name}_mask.png'
    --config.data.folder.depth_scale=0.0002                              with :depth, PNGs in 1/5000 m (default: mm)

`:depth` reads metric depth instead of class ids; `:few` and `:depth_few` use the hyper-parameters of Sec. 4.2.
"""

from hummingbird.retrieval.protocol import variants


def get_config(variant=""):
    """Returns class ids (the default), `:depth`, `:few` (class ids) or `:depth_few`."""
    classes = {"data": {"name": "folder"}}
    depth = {"data": {"name": "folder", "task": "depth"}}
    return {
        "": classes,
        "depth": depth,
        "few": variants(classes)["few"],
        "depth_few": variants(depth)["few"],
    }[variant]
