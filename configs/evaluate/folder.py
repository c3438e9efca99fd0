"""Any folder of images and label pictures; `data.folder.*` says how it is laid out.

    hummingbird evaluate --config=configs/evaluate/folder.py \
        --checkpoint=PATH --workdir=DIR --config.data.root=FOLDER

As it stands FOLDER (or FOLDER.tar) holds images/, labels/ with PNGs of class ids under the same names, and train.txt
and val.txt, which list the names of the prompt and of the query. `hummingbird data` shows what is read. Elsewhere:

    --config.data.folder.classes=classes.yaml                            [sky, road, tree], or {7: road, 11: tree}
    --config.data.prompt='[:80%]' --config.data.query='[80%:]'           no lists: parts of all names, in their order
    --config.data.prompt=few.txt                                         another list in FOLDER
    --config.data.folder.images='rgb/{split}/*/{name}_rgb.png'           folders or names of another kind
    --config.data.folder.labels='gt/{split}/*/{name}_mask.png'
    --config.data.folder.depth_scale=0.0002                              with :depth, PNGs of 1/5000 m (default: mm)

`:depth` reads metric depth instead of class ids; `:few` and `:depth_few` have the hyper-parameters of Sec. 4.2.
"""

from hummingbird.retrieval.protocol import variants


def get_config(variant=""):
    """Class ids, `:depth`, `:few` (class ids), or `:depth_few`."""
    classes = {"data": {"name": "folder"}}
    depth = {"data": {"name": "folder", "task": "depth"}}
    return {
        "": classes,
        "depth": depth,
        "few": variants(classes)["few"],
        "depth_few": variants(depth)["few"],
    }[variant]
