"""Images converted to ArrayRecord are the same images; conversions continue where they stopped, and are verified."""

import json
import os
import pickle

import pytest

from hummingbird import cli
from hummingbird.data import array_record_files
from hummingbird.data.array_records import ArrayRecordImages
from hummingbird.errors import UserError
from tests import gcs
from tests.data.files import encode, images, ramp, write

CLASSES = ("n01440764", "n01443537", "n01484850")


@pytest.fixture
def folder(tmp_path):
    for number, wnid in enumerate(CLASSES):
        for i in range(4):
            write(tmp_path / "raw/train" / wnid / f"{wnid}_{i}.JPEG", encode(ramp(8, 8, 4 * number + i), "JPEG"))
    return tmp_path / "raw"


def contents(source):
    return [tuple(source[i].values()) for i in range(len(source))]


def test_converted_images_are_the_same_in_the_same_order(folder, tmp_path, capsys):
    out = str(tmp_path / "records")
    command = ["data", "pretrain/vit_b16_imagenet", "--convert=arrayrecord", f"--out={out}"]
    assert cli.run([*command, f"--config.data.root={folder}"]) == 0
    assert "12 images in 1 shards" in capsys.readouterr().out
    raw, converted = images("imagenet", folder), images("imagenet", out)
    assert isinstance(converted, ArrayRecordImages)
    assert (converted.classes, converted.fingerprint) == (raw.classes, raw.fingerprint)
    assert contents(pickle.loads(pickle.dumps(converted))) == contents(raw)
    assert contents(images("imagenet", out, split="[25%:50%]")) == contents(raw)[3:6]
    with pytest.raises(UserError, match="holds one split"):
        images("imagenet", out, split="val")


def test_an_interrupted_conversion_continues_and_a_finished_one_is_verified(folder, tmp_path, monkeypatch):
    source, out = images("imagenet", folder), tmp_path / "records"
    whole, made = array_record_files._write_shard, []

    def failing(source, numbers, path):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(numbers)
        return whole(source, numbers, path)

    monkeypatch.setattr(array_record_files, "cores", lambda: 1)
    monkeypatch.setattr(array_record_files, "_write_shard", failing)
    with pytest.raises(KeyboardInterrupt):
        array_record_files.write(source, str(out), records=5)
    assert not (out / "dataset.json").exists()
    assert not list(out.glob(".part-*"))
    assert len((out / "progress.jsonl").read_text().splitlines()) == 1 + 2
    made.clear()
    monkeypatch.setattr(array_record_files, "_write_shard", lambda *a: made.append(a) or whole(*a))
    assert array_record_files.write(source, str(out), records=5) == 3
    assert len(made) == 1
    assert contents(images("imagenet", out)) == contents(source)
    assert sorted(os.listdir(out)) == ["dataset.json", *(f"images-0000{i}-of-00003.arrayrecord" for i in range(3))]
    assert array_record_files.write(source, str(out), records=5) == 3
    assert len(made) == 1  # verified, not written
    shard = out / "images-00001-of-00003.arrayrecord"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    with pytest.raises(UserError, match=r"00001-of-00003.arrayrecord differs from its checksum"):
        array_record_files.write(source, str(out), records=5)


def test_what_cannot_be_converted_or_read_is_one_line(folder, tmp_path):
    source = images("imagenet", folder)
    out = tmp_path / "records"
    array_record_files.write(source, str(out))
    with pytest.raises(UserError, match="holds other images"):
        array_record_files.write(images("imagenet", folder, split="train[:3]"), str(out))
    manifest = json.loads((out / "dataset.json").read_text())
    (out / "dataset.json").write_text(json.dumps(manifest | {"format": "other"}))
    with pytest.raises(UserError, match="format 'other', expected"):
        images("imagenet", out)
    assert cli.run(["data", "pretrain/demo", "--convert=webdataset", f"--out={out}"]) == 2
    assert cli.run(["data", "pretrain/demo", "--convert=arrayrecord"]) == 2
    assert cli.run(["data", "pretrain/demo", "--index"]) == 2
    assert cli.run(["data", "pretrain/demo", "--convert=arrayrecord", f"--out={tmp_path / 'scenes'}"]) == 2


def test_shards_are_written_into_a_bucket(folder):
    with gcs.bucket() as store:
        array_record_files.write(images("imagenet", folder), "gs://data/records", records=5)
        names = sorted(name for _, name in store.objects)
    assert names == ["records/dataset.json", *(f"records/images-0000{i}-of-00003.arrayrecord" for i in range(3))]
