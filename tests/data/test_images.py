"""Images to pretrain on, from class folders, shards or any folder."""

import tarfile

import pytest

from hummingbird.errors import UserError
from tests.data.files import encode, images, pack, ramp, write


def test_imagenet_from_class_folders_class_tars_and_a_tar_of_tars(tmp_path):
    wnids = ["n01440764", "n01443537", "n01484850"]
    for i, wnid in enumerate(wnids):
        for j in range(2):
            write(tmp_path / "folders/train" / wnid / f"{wnid}_{j}.JPEG", encode(ramp(8, 8, 2 * i + j), "JPEG"))
        (tmp_path / "tars").mkdir(exist_ok=True)
        with tarfile.open(tmp_path / "tars" / f"{wnid}.tar", "w") as tar:
            for j in range(2):
                tar.add(tmp_path / "folders/train" / wnid / f"{wnid}_{j}.JPEG", arcname=f"{wnid}_{j}.JPEG")
    pack(tmp_path / "tars", tmp_path / "all.tar")
    sources = [images("imagenet", tmp_path / place) for place in ("folders", "tars", "all.tar")]
    for source in sources:
        assert source.classes == wnids
        assert [source[i]["label"] for i in range(6)] == [0, 0, 1, 1, 2, 2]
        assert [source[i]["image"] for i in range(6)] == [sources[0][i]["image"] for i in range(6)]
    assert len(images("imagenet", tmp_path / "folders", split="train[:50%]")) == 3


def test_shards_may_hold_labels_beside_their_images(tmp_path):
    for shard in range(2):
        for i in range(2):
            write(tmp_path / f"raw{shard}/{shard}{i}.jpg", encode(ramp(8, 8), "JPEG"))
            write(tmp_path / f"raw{shard}/{shard}{i}.cls", str(10 * shard + i))
        (tmp_path / "shards").mkdir(exist_ok=True)
        pack(tmp_path / f"raw{shard}", tmp_path / f"shards/train-{shard}.tar")
    source = images("imagenet", tmp_path / "shards")
    assert [source[i]["label"] for i in range(4)] == [0, 1, 10, 11]


def test_any_folder_of_images_has_labels_only_if_all_lie_in_class_folders(tmp_path):
    write(tmp_path / "cats/1.png", encode(ramp(4, 4)))
    write(tmp_path / "dogs/deep/2.JPG", encode(ramp(4, 4), "JPEG"))
    write(tmp_path / "dogs/notes.txt", "no image")
    source = images("images", tmp_path)
    assert (source.classes, [source[i]["label"] for i in range(2)]) == (["cats", "dogs"], [0, 1])
    write(tmp_path / "3.png", encode(ramp(4, 4)))
    loose = images("images", tmp_path)
    assert (len(loose), loose.classes, loose[0]["label"]) == (3, [], -1)
    with pytest.raises(UserError, match="holds no images"):
        images("images", write(tmp_path / "other/x.txt", "text").parent)
    with pytest.raises(UserError, match="not laid out as imagenet"):
        images("imagenet", tmp_path)
    with pytest.raises(UserError, match="no folder 'val'"):
        images("images", tmp_path, split="val")


def test_shards_without_labels_have_none_and_splits_are_kept_apart(tmp_path):
    for name in ("train-0", "train-1", "val-0"):
        write(tmp_path / "raw" / name / f"{name}.jpg", encode(ramp(8, 8), "JPEG"))
        (tmp_path / "shards").mkdir(exist_ok=True)
        pack(tmp_path / "raw" / name, tmp_path / f"shards/{name}.tar")
    train, val = images("images", tmp_path / "shards"), images("images", tmp_path / "shards", split="val")
    assert [source.name(0).rsplit("/", 1)[-1] for source in (train, val)] == ["train-0.jpg", "val-0.jpg"]
    assert (len(train), train.classes, train[0]["label"]) == (2, [], -1)
    with pytest.raises(UserError, match="begins with 'test'"):
        images("images", tmp_path / "shards", split="test")
    with pytest.raises(UserError, match="not laid out as imagenet"):
        images("imagenet", tmp_path / "shards")
    write(tmp_path / "shards/loose.jpg", encode(ramp(8, 8), "JPEG"))
    with pytest.raises(UserError, match=r"holds archives .* beside images"):
        images("images", tmp_path / "shards")


def test_thumbnails_and_caches_of_other_programs_are_not_images(tmp_path):
    write(tmp_path / "cats/1.png", encode(ramp(4, 4)))
    for side in ("cats/@eaDir/1.png/THUMB.jpg", "lost+found/2.jpg", "__MACOSX/cats/._1.png", ".thumbnails/1.png"):
        write(tmp_path / side, encode(ramp(4, 4), "JPEG"))
    assert len(images("images", tmp_path)) == 1
    assert len(images("images", pack(tmp_path, tmp_path.parent / "photos.tar"))) == 1
