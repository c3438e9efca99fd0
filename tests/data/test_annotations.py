"""Annotations of every format: one picture of three classes, drawn by each tool's own means, is read the same."""

import base64
import json

import numpy as np
import pytest

from hummingbird.config.segment import PromptFiles
from hummingbird.data.annotations import read_annotations
from hummingbird.errors import UserError
from tests.data.files import encode, palette_png, ramp, write
from tests.data.test_shapes import pack_brush

HEIGHT, WIDTH = 24, 32
# Class 1, `cat`: rows 2-9, columns 3-14. Class 2, `dog`: rows 6-19, columns 10-29, over it. The rest is void.
CAT, DOG = (3, 2, 15, 10), (10, 6, 30, 20)  # left, top, right, bottom
TRUTH = np.full((HEIGHT, WIDTH), 255, np.int32)
TRUTH[2:10, 3:15] = 0
TRUTH[6:20, 10:30] = 1


def corners(left, top, right, bottom):
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def area(box):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[box[1] : box[3], box[0] : box[2]] = 1
    return mask


def photo(path, height=HEIGHT, width=WIDTH):
    write(path, encode(ramp(height, width), "JPEG"))


def labelme(root, cat=None, dog=None, **changes):
    shapes = [
        {"label": "cat", "shape_type": "polygon", "points": corners(*CAT), **(cat or {})},
        {"label": "dog", "shape_type": "rectangle", "points": [DOG[:2], DOG[2:]], **(dog or {})},
    ]
    content = {"shapes": shapes, "imagePath": "..\\photos\\a b.jpg", "imageHeight": HEIGHT, "imageWidth": WIDTH}
    photo(root / "photos" / "a b.jpg")
    write(root / "json" / "a b.json", json.dumps({**content, **changes}))


def labelme_mask(root):
    inside = base64.b64encode(encode(np.ones((8, 12), np.uint8))).decode()
    labelme(root, {"shape_type": "mask", "mask": inside, "points": [CAT[:2], [14, 9]]})


def labelme_embedded(root):
    labelme(root, imageData=base64.b64encode(encode(ramp(HEIGHT, WIDTH), "JPEG")).decode())
    (root / "photos" / "a b.jpg").unlink()


def coco(root, cat=None, dog=None, **changes):
    content = {
        "images": [{"id": 7, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH}, {"id": 8, "file_name": "b.jpg"}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}, {"id": 9, "name": "cow"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 1, "segmentation": cat or [np.ravel(corners(*CAT)).tolist()]},
            {"id": 2, "image_id": 7, "category_id": 2, "segmentation": dog or [np.ravel(corners(*DOG)).tolist()]},
        ],
    }
    photo(root / "images" / "a.jpg")
    write(root / "instances.json", json.dumps({**content, **changes}))


def coco_run_lengths(root):
    coder = pytest.importorskip("pycocotools.mask")
    packed = coder.encode(np.asfortranarray(area(CAT)))
    flat = area(DOG).T.ravel()
    turns = np.flatnonzero(np.diff(flat, prepend=0, append=0)) if flat[-1] else np.flatnonzero(np.diff(flat, prepend=0))
    counts = np.diff([0, *turns, flat.size]).tolist()
    sides = [HEIGHT, WIDTH]
    coco(root, {"size": sides, "counts": packed["counts"].decode()}, {"size": sides, "counts": counts})


def coco_boxes(root):
    bbox = lambda box: [box[0], box[1], box[2] - box[0], box[3] - box[1]]
    annotations = [
        {"id": i, "image_id": 7, "category_id": i, "segmentation": [], "bbox": bbox(box)}
        for i, box in ((1, CAT), (2, DOG))
    ]
    coco(root, annotations=annotations)


def cvat(root, shapes=None, labels=("cat", "dog"), more=""):
    shapes = shapes or (
        f'<box label="dog" z_order="1" xtl="{DOG[0]}" ytl="{DOG[1]}" xbr="{DOG[2]}" ybr="{DOG[3]}"/>'
        f'<polygon label="cat" z_order="0" points="{";".join(f"{x},{y}" for x, y in corners(*CAT))}"/>'
    )
    listed = "".join(f"<label><name>{name}</name><color>#{i}0ff00</color></label>" for i, name in enumerate(labels))
    photo(root / "images" / "a.jpg")
    write(
        root / "annotations.xml",
        f"<?xml version='1.0'?><annotations><version>1.1</version><meta><task><labels>{listed}</labels></task></meta>"
        f"<image id='0' name='a.jpg' width='{WIDTH}' height='{HEIGHT}'>{shapes}</image>{more}</annotations>",
    )


def cvat_masks(root):
    rows = lambda box: ",".join(["0", str((box[2] - box[0]) * (box[3] - box[1]))])
    cvat(
        root,
        "".join(
            f'<mask label="{name}" rle="{rows(box)}" left="{box[0]}" top="{box[1]}" width="{box[2] - box[0]}"'
            f' height="{box[3] - box[1]}" z_order="0"/>'
            for name, box in (("cat", CAT), ("dog", DOG))
        ),
    )


def label_studio(root, cat=None, dog=None, name="/data/upload/1/0a1b2c3d-a.jpg", **changes):
    sides = {"original_width": WIDTH, "original_height": HEIGHT}
    percent = lambda x, y: [100 * x / WIDTH, 100 * y / HEIGHT]
    (x, y), (right, bottom) = percent(*DOG[:2]), percent(*DOG[2:])
    box = {"x": x, "y": y, "width": right - x, "height": bottom - y, "rotation": 0, "rectanglelabels": ["dog"]}
    outline = {"points": [percent(*point) for point in corners(*CAT)], "polygonlabels": ["cat"]}
    results = [
        {"type": "polygonlabels", "value": outline, **sides, **(cat or {})},
        {"type": "rectanglelabels", "value": box, **sides, **(dog or {})},
    ]
    photo(root / "images" / "a.jpg")
    annotations = [{"result": results}, {"result": results[:1], "was_cancelled": True}]
    task = {"id": 5, "data": {"image": name}, "annotations": annotations, **changes}
    write(root / "project-1.json", json.dumps([task, {"id": 6, "data": {"image": "b.jpg"}, "annotations": []}]))


def label_studio_brush(root):
    value = {"format": "rle", "rle": pack_brush(area(CAT), False), "brushlabels": ["cat"]}
    label_studio(root, {"type": "brushlabels", "value": value}, name="/data/local-files/?d=images%2Fa.jpg")


def masks(root, mask=None, suffix=".png"):
    photo(root / "images" / "a.jpg")
    photo(root / "images" / "not annotated.jpg")
    write(root / "labels" / f"a{suffix}", encode(user_ids() if mask is None else mask))


def user_ids():
    return np.array([1, 2, *[0] * 253, 255], np.uint8)[TRUTH]


def beside(root):
    photo(root / "x" / "a.jpg")
    write(root / "x" / "a.png", palette_png(user_ids()))
    photo(root / "x" / "lonely.jpg")


WRITERS = {
    "labelme": labelme,
    "labelme, mask": labelme_mask,
    "labelme, embedded image": labelme_embedded,
    "coco": coco,
    "coco, run lengths": coco_run_lengths,
    "coco, boxes": coco_boxes,
    "cvat": cvat,
    "cvat, masks": cvat_masks,
    "label_studio": label_studio,
    "label_studio, brush": label_studio_brush,
    "folder": masks,
    "beside": beside,
}


def read(root, task="segmentation", **settings):
    return read_annotations(str(root), PromptFiles(**settings), task)


@pytest.mark.parametrize("kind", WRITERS)
def test_a_picture_is_read_the_same_in_every_format(tmp_path, kind):
    WRITERS[kind](tmp_path)
    found = read(tmp_path)
    assert found.format == kind.partition(",")[0]
    assert found.classes.ids == (1, 2)
    named = found.format not in ("folder", "beside")
    assert found.classes.names == (("cat", "dog") if named else ("class 1", "class 2"))
    assert len(found.source) == 1
    item = found.source[0]
    np.testing.assert_array_equal(item["label"], TRUTH)
    assert item["image"].shape == (HEIGHT, WIDTH, 3)


def test_images_of_labelme_may_lie_beside_its_folder(tmp_path):
    labelme(tmp_path)
    np.testing.assert_array_equal(read(tmp_path / "json").source[0]["label"], TRUTH)


def test_an_annotation_file_may_be_named_instead_of_its_folder(tmp_path):
    coco(tmp_path)
    write(tmp_path / "other.json", (tmp_path / "instances.json").read_bytes())
    with pytest.raises(UserError, match=r"holds instances.json, other.json; name one of them"):
        read(tmp_path)
    assert read(tmp_path / "instances.json").format == "coco"


def test_classes_keep_the_users_ids_names_and_colours(tmp_path):
    beside(tmp_path / "masks")
    stored = np.random.default_rng(0).integers(0, 256, 768, dtype=np.uint8).reshape(256, 3)  # as of palette_png
    np.testing.assert_array_equal(read(tmp_path / "masks").classes.colours, stored[1:3])

    cvat(tmp_path / "cvat", labels=("cow", "dog", "cat"))
    found = read(tmp_path / "cvat").classes
    assert (found.ids, found.names) == ((2, 3), ("dog", "cat"))
    assert found.colours.tolist() == [[0x10, 0xFF, 0], [0x20, 0xFF, 0]]

    names = write(tmp_path / "names.yaml", "{5: dog, 40: cat, 3: cow}")
    found = read(tmp_path / "cvat", classes=str(names)).classes
    assert (found.ids, found.names) == ((5, 40), ("dog", "cat"))
    write(names, "{5: dog}")
    with pytest.raises(UserError, match=r"prompt.classes: it gives no id to cat"):
        read(tmp_path / "cvat", classes=str(names))


def test_pixels_without_a_shape_may_be_a_class(tmp_path):
    labelme(tmp_path, dog={"label": "__ignore__"})
    with pytest.raises(UserError, match=r"of one class, 'cat'.*prompt.background=background"):
        read(tmp_path)
    found = read(tmp_path, background="rest")
    assert (found.classes.ids, found.classes.names) == ((0, 1), ("rest", "cat"))
    expected = np.array([1, 255, *[0] * 253, 0])[TRUTH]  # cat, ignored, rest
    np.testing.assert_array_equal(found.source[0]["label"], expected)


def test_strokes_mark_what_lies_near_them(tmp_path):
    line = {"shape_type": "linestrip", "points": [[2, 3.5], [12, 3.5]]}
    labelme(tmp_path, line, {"shape_type": "point", "points": [[20.5, 15.5]]})
    label = read(tmp_path, stroke=3).source[0]["label"]
    assert (label[2:5, 3:12] == 0).all()
    assert (label[14:17, 20] == 1).all()
    assert (label != 255).sum() < 60


def test_depth_maps_are_read_as_metres(tmp_path):
    depth = np.linspace(0, 65535, HEIGHT * WIDTH).astype(np.uint16).reshape(HEIGHT, WIDTH)
    masks(tmp_path / "png", depth)
    found = read(tmp_path / "png", "depth", depth_scale=0.0002)
    assert found.classes is None
    np.testing.assert_allclose(found.source[0]["label"][1, 1], depth[1, 1] * 0.0002, rtol=1e-6)
    photo(tmp_path / "npy" / "a.jpg")
    np.save(tmp_path / "npy" / "a.npy", np.full((HEIGHT, WIDTH), 2.5))
    assert (read(tmp_path / "npy", "depth", depth_scale=1).source[0]["label"] == 2.5).all()
    with pytest.raises(UserError, match="set task=depth"):
        read(tmp_path / "png")


def without_image(root):
    coco(root)
    (root / "images" / "a.jpg").unlink()


def two_labels(root):
    beside(root)
    write(root / "x" / "a.tif", encode(user_ids(), "TIFF"))


def two_formats(root):
    coco(root)
    cvat(root)


def two_drawings(root):
    labelme(root)
    write(root / "json" / "again.json", (root / "json" / "a b.json").read_bytes())


OUTSIDE = {"shape_type": "polygon", "points": [[90, 90], [95, 90], [95, 95]]}
REFUSED = {
    "nothing there": (lambda root: None, "does not exist"),
    "an empty folder": (lambda root: root.mkdir(), "is empty: put annotated images there"),
    "images alone": (lambda root: photo(root / "a.jpg"), "no annotations of a known format.*Found: a.jpg"),
    "JSON of another kind": (lambda root: write(root / "a.json", "{}"), "no annotations of a known format"),
    "broken JSON": (lambda root: write(root / "a.json", "{"), "a.json is broken JSON"),
    "broken XML": (lambda root: write(root / "a.xml", "<annotations><"), "a.xml is broken XML"),
    "two formats": (two_formats, "several formats; choose one: prompt.format=coco or cvat"),
    "no shape": (lambda root: labelme(root, shapes=[]), "no pixel is annotated"),
    "void masks": (lambda root: masks(root, np.full((HEIGHT, WIDTH), 255, np.uint8)), "no pixel of the 1 masks"),
    "one class": (
        lambda root: masks(root, np.full((HEIGHT, WIDTH), 3, np.uint8)),
        "of one class, 'class 3'.*void",
    ),
    "a class named twice": (lambda root: cvat(root, labels=("cat", "dog", "cat")), "two classes are called 'cat'"),
    "two masks for one image": (two_labels, "has several files"),
    "two masks of one name": (
        lambda root: (masks(root), masks(root, suffix=".tif")),
        r"are both called a; choose with a pattern such as prompt.labels=labels/\{name\}",
    ),
    "two drawings of one image": (two_drawings, "a b.jpg is annotated twice"),
    "an image that is missing": (without_image, "1 of 1 annotated images are missing"),
    "shapes outside of the image": (lambda root: labelme(root, OUTSIDE, OUTSIDE), "2 of 2 shapes cover no pixel"),
    "another size": (lambda root: labelme(root, imageHeight=99), "is for an image of 32x99 pixels"),
    "a mask of another size": (lambda root: masks(root, user_ids()[:9]), "is 32x9 pixels but its image"),
    "run lengths of another size": (
        lambda root: coco(root, {"size": [9, 9], "counts": [81]}),
        r"its run lengths are for \[9, 9\]",
    ),
    "a category without a name": (lambda root: coco(root, categories=[{"id": 1}]), "name is missing, or not text"),
    "a category that is not listed": (
        lambda root: coco(root, categories=[{"id": 1, "name": "cat"}]),
        "category 2, which is not among",
    ),
    "a shape of another kind": (lambda root: labelme(root, {"shape_type": "blob"}), "shape_type 'blob' is not one of"),
    "a video of CVAT": (lambda root: cvat(root, more="<track/>"), "export it as CVAT for images"),
    "two annotators": (
        lambda root: label_studio(root, annotations=[{"result": []}, {"result": []}]),
        "task 5 has 2 annotations; keep one",
    ),
    "no image named": (lambda root: label_studio(root, name="a.mp4"), "names 0 images in its data"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_annotations_are_refused_in_one_line(tmp_path, case):
    write_files, message = REFUSED[case]
    write_files(tmp_path / "root")
    with pytest.raises(UserError, match=message) as caught:
        list(map(read(tmp_path / "root").source.__getitem__, range(1)))
    assert "\n" not in str(caught.value)


def test_missing_images_are_skipped_if_that_is_set(tmp_path, caplog):
    labelme(tmp_path)
    write(tmp_path / "json" / "gone.json", (tmp_path / "json" / "a b.json").read_text().replace("a b.jpg", "gone.jpg"))
    with pytest.raises(UserError, match="1 of 2 annotated images are missing"):
        read(tmp_path)
    assert len(read(tmp_path, missing="skip").source) == 1
    assert "the others are used" in caplog.text
