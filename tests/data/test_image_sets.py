"""Data sets of whole images: folders, archives, lists, TFDS; splits, classes, and what is refused."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from hummingbird import config
from hummingbird.data.image_sets import SETS, build_labelled
from hummingbird.data.labelled import stratified
from hummingbird.errors import UserError
from tests.data.files import make_tfds


def picture(seed, side=8):
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write(root, counts):
    """Writes `counts` images into each folder."""
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True)
        for i in range(count):
            (root / folder / f"{i}.png").write_bytes(picture(i))


def build(root="", name="images", **changes):
    settings = {"data.name": name, "data.task": "classification", "data.root": str(root), **changes}
    return build_labelled(config.resolve("evaluate", overrides=settings))


def test_official_splits_keep_the_class_ids_of_the_training_images(tmp_path):
    write(tmp_path, {"train/ant": 3, "train/bee": 2, "train/cat": 1, "val/cat": 2, "val/ant": 1})
    splits = build(tmp_path)
    assert splits.train.classes == splits.test.classes == ["ant", "bee", "cat"]
    assert splits.train.labels.tolist() == [0, 0, 0, 1, 1, 2]
    assert splits.test.labels.tolist() == [0, 2, 2]
    assert [splits.test[i]["label"] for i in range(3)] == [0, 2, 2]
    assert splits.test.name(0).endswith("val/ant/0.png")
    assert (splits.validation, splits.choice) == (None, "official")


def test_a_validation_split_is_kept_for_choosing_settings(tmp_path):
    write(tmp_path, {f"{split}/{name}": 2 for split in ("train", "test", "val") for name in "ab"})
    assert build(tmp_path).validation is not None
    assert build(tmp_path, "flowers102").validation is not None
    assert build(tmp_path, "cifar10").validation is None


def test_without_a_test_split_a_fifth_of_each_class_is_held_out(tmp_path):
    write(tmp_path, {"ant": 10, "bee": 5})
    splits = build(tmp_path)
    assert np.bincount(splits.train.labels).tolist() == [8, 4]
    assert np.bincount(splits.test.labels).tolist() == [2, 1]
    assert splits.choice == "stratified 80/20, seed 0"
    names = [{part.name(i) for i in range(len(part))} for part in splits[:2]]
    assert len(names[0] | names[1]) == 15
    other = build(tmp_path, seed=1)
    assert other.train.fingerprint != splits.train.fingerprint


@pytest.mark.parametrize("name", ["n00000001", "ant"])
def test_an_archive_of_each_class_is_read_without_unpacking(tmp_path, name):
    (tmp_path / "train").mkdir()
    for cls in (name, name[:-1] + "2"):
        with tarfile.open(tmp_path / "train" / f"{cls}.tar", "w") as archive:
            for i in range(5):
                data = picture(i)
                member = tarfile.TarInfo(f"{i}.png")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    splits = build(tmp_path)
    assert splits.train.classes == sorted((name, name[:-1] + "2"))
    assert len(splits.train) == 8
    assert splits.train[0]["image"] == picture(splits.train.rows[0])


def test_lists_name_paths_and_labels(tmp_path):
    write(tmp_path, {"photos/a": 3, "photos/b": 3})
    (tmp_path / "train.txt").write_text("photos/a/0.png tulip\na/1.png tulip\nb/0 rose\n")
    (tmp_path / "test.csv").write_text("path,label\nphotos/b/2.png,rose\nphotos/a/2.png,tulip\n")
    splits = build(tmp_path, **{"data.prompt": "train.txt", "data.query": "test.csv"})
    assert splits.train.classes == ["rose", "tulip"]
    assert splits.train.labels.tolist() == [1, 1, 0]
    assert splits.test.labels.tolist() == [0, 1]
    (tmp_path / "numbers.txt").write_text("a/0.png 10\nb/0.png 9\n")
    numbered = build(tmp_path, **{"data.prompt": "numbers.txt", "data.query": "numbers.txt[:1]"})
    assert numbered.train.classes == ["9", "10"]
    assert numbered.test.labels.tolist() == [1]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a/7.png tulip", "train.txt line 2: 'a/7.png' is not in"),
        ("0.png tulip", "line 2: '0.png' names several images"),
        ("top.png", "line 2: 'top.png' has no label"),
    ],
)
def test_a_bad_line_of_a_list_is_named(tmp_path, line, message):
    write(tmp_path, {"a": 2, "b": 2})
    (tmp_path / "top.png").write_bytes(picture(0))
    (tmp_path / "train.txt").write_text(f"a/0.png tulip\n{line}\n")
    with pytest.raises(UserError, match=message):
        build(tmp_path, **{"data.prompt": "train.txt", "data.query": "train.txt"})


def test_what_cannot_be_classified_is_refused(tmp_path):
    write(tmp_path, {"train/ant": 2, "train/bee": 2, "test/cow": 1, "test/ant": 1})
    with pytest.raises(UserError, match="not among the training classes: cow"):
        build(tmp_path)
    (tmp_path / "test").rename(tmp_path / "other")
    (tmp_path / "one.txt").write_text("train/ant/0.png ant\ntrain/bee/0.png bee\n")
    with pytest.raises(UserError, match="has no test split and one image a class"):
        build(tmp_path, **{"data.prompt": "one.txt"})
    with pytest.raises(UserError, match="holds images without labels"):
        build(tmp_path / "train/ant")
    with pytest.raises(UserError, match="there is no list none"):
        build(tmp_path, **{"data.prompt": "none.txt"})
    with pytest.raises(UserError, match="'mnist' is not a data set of whole images; there are scenes, imagenet"):
        build(tmp_path, "mnist")
    write(tmp_path / "more", {f"{split}/{name}": 1 for split in ("train", "val") for name in "abc"})
    with pytest.raises(UserError, match=r"images.classes: .* has 3 classes; list the 100"):
        build(tmp_path / "more", "imagenet100")


def test_classes_can_be_chosen(tmp_path):
    write(tmp_path, {f"{split}/{name}": 2 for split in ("train", "test") for name in ("ant", "bee", "cat")})
    (tmp_path / "two.txt").write_text("cat\nant\n")
    splits = build(tmp_path, **{"images.classes": str(tmp_path / "two.txt")})
    assert splits.train.classes == splits.test.classes == ["cat", "ant"]
    assert splits.train.labels.tolist() == [1, 1, 0, 0]
    (tmp_path / "two.txt").write_text("cat\ncow\n")
    with pytest.raises(UserError, match="there are no images of cow"):
        build(tmp_path, **{"images.classes": str(tmp_path / "two.txt")})


def test_a_prepared_tfds_folder_is_recognised(tmp_path):
    root = make_tfds(tmp_path / "cifar10" / "1.0.0")
    for place in (root, tmp_path):  # the folder itself, or the data_dir that it is in
        splits = build(place, "cifar10")
        assert splits.train.classes == ["cat", "dog"]
        assert (len(splits.train), len(splits.test)) == (3, 2)  # without a test split: a share of each class
        labels = splits.train.labels.tolist()
        assert [splits.train[i]["label"] for i in range(3)] == labels
        assert splits.train[0]["image"].startswith(b"\x89PNG")


def test_data_sets_may_lie_side_by_side(tmp_path):
    write(tmp_path, {f"cub/{split}/{name}": 2 for split in ("train", "test") for name in "ab"})
    assert len(build(tmp_path, "cub").train) == 4


def test_scenes_have_balanced_labels():
    splits = build(name="scenes", **{"data.scenes.prompt_images": 20, "data.scenes.query_images": 10})
    assert np.bincount(splits.train.labels).tolist() == [2] * 10
    assert np.bincount(splits.test.labels).tolist() == [1] * 10


def test_the_shares_of_all_classes_are_equal():
    labels = np.repeat(np.arange(4), [1, 2, 10, 30]).astype(np.int32)
    first, second = stratified(labels, 0.2, seed=3)
    assert np.bincount(labels[second], minlength=4).tolist() == [0, 1, 2, 6]
    assert sorted([*first, *second]) == list(range(43))


def test_every_data_set_has_a_variant_of_the_config():
    for name in SETS:
        resolved = config.resolve("evaluate", f"evaluate/images:{name}")
        assert (resolved.data.name, resolved.data.task) == (name, "classification")
