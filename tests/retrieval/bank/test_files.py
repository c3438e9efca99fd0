import json
import mmap
import os
import pathlib

import cv2
import numpy as np
import pytest

from hummingbird.data.sources import build_dense_source
from hummingbird.errors import UserError
from hummingbird.retrieval import capacity, checksums, evaluate, measure
from hummingbird.retrieval.bank import build as bank_build
from hummingbird.retrieval.bank import files as bank_files
from hummingbird.retrieval.bank import writing as bank_writing
from hummingbird.retrieval.evaluation import build_evaluation
from hummingbird.retrieval.own_encodings import Kept
from tests.retrieval.fakes import FakeSource, MeanColour
from tests.retrieval.test_evaluate import make_config


def run(folder, task="segmentation", encoder=None, prompt=None, **changes):
    config = make_config(**{"retrieval.bank": str(folder), **changes})
    return measure(encoder or MeanColour(), config, prompt or FakeSource(6, task, 0), FakeSource(3, task, 1))[0]


@pytest.mark.parametrize("task", ["segmentation", "depth"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_bank_is_built_once_and_gives_the_same_result(tmp_path, task, dtype):
    changes = {"retrieval.key_dtype": dtype, "retrieval.augmentation_epochs": 1}
    plain = measure(MeanColour(), make_config(**changes), FakeSource(6, task, 0), FakeSource(3, task, 1))[0]
    first = run(tmp_path / "bank", task, **changes)
    encoder = MeanColour()
    again = run(tmp_path / "bank", task, encoder, **changes)
    assert plain["metrics"] == first["metrics"] == again["metrics"]
    assert len(encoder.batches) == 1 + 1  # the preflight and the queries only


def test_neighbours_and_temperature_change_without_encoding_again(tmp_path):
    run(tmp_path / "bank")
    encoder = MeanColour()
    run(tmp_path / "bank", encoder=encoder, **{"retrieval.neighbours": 3, "retrieval.temperature": 0.5})
    assert len(encoder.batches) == 1 + 1


def test_bank_can_be_moved(tmp_path):
    first = run(tmp_path / "bank")
    (tmp_path / "bank").rename(tmp_path / "elsewhere")
    assert run(tmp_path / "elsewhere")["metrics"] == first["metrics"]


@pytest.mark.parametrize(
    ("change", "named"),
    [({"seed": 1}, "seed"), ({"input_size": 32}, "input_size"), ({"retrieval.augmentation_epochs": 1}, "augmentation")],
)
def test_bank_of_another_protocol_is_refused(tmp_path, change, named):
    run(tmp_path / "bank")
    with pytest.raises(UserError, match=rf"built with {named}.*another folder"):
        run(tmp_path / "bank", **change)


def test_bank_of_another_encoder_or_data_is_refused(tmp_path):
    run(tmp_path / "bank")
    other = MeanColour()
    other.fingerprint = "another"
    with pytest.raises(UserError, match=r"built with encoder='mean-colour-1'"):
        run(tmp_path / "bank", encoder=other)
    elsewhere = MeanColour()
    elsewhere.device_kind = "TPU v4"
    with pytest.raises(UserError, match=r"built with device_kind=None, this evaluation has 'TPU v4'"):
        run(tmp_path / "bank", encoder=elsewhere)
    with pytest.raises(UserError, match=r"built with data="):
        run(tmp_path / "bank", prompt=FakeSource(7))
    other.fingerprint = None
    with pytest.raises(UserError, match=r"no `fingerprint`"):
        run(tmp_path / "bank", encoder=other)


@pytest.mark.parametrize("column", ["keys", "label_counts", "image"])
def test_a_flipped_bit_is_found(tmp_path, column):
    run(tmp_path / "bank")
    file = tmp_path / "bank" / f"{column}.bin"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    for use in (lambda: run(tmp_path / "bank"), lambda: bank_files.verify_bank(str(tmp_path / "bank"))):
        with pytest.raises(UserError, match=rf"{column}.bin does not match its checksum"):
            use()


def test_a_short_or_missing_file_is_found(tmp_path):
    run(tmp_path / "bank")
    file = tmp_path / "bank" / "keys.bin"
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(UserError, match=r"keys.bin has \d+ bytes, expected"):
        run(tmp_path / "bank")
    file.unlink()
    with pytest.raises(UserError, match=r"keys.bin has no bytes"):
        bank_files.verify_bank(str(tmp_path / "bank"))


def test_a_damaged_description_is_refused(tmp_path):
    run(tmp_path)
    manifest = json.loads((tmp_path / "bank.json").read_text())
    lacking = {**manifest, "columns": {k: v for k, v in manifest["columns"].items() if k != "label_counts"}}
    strange = {**manifest, "columns": {**manifest["columns"], "keys": {"dtype": "float8", "bytes": 1, "row": []}}}
    for text, message in (
        ("{", "cannot be read"),
        (json.dumps(lacking), "lacks label_counts"),
        (json.dumps(strange), "column keys"),
    ):
        (tmp_path / "bank.json").write_text(text)
        for use in (
            run,
            lambda folder: bank_files.verify_bank(str(folder)),
            lambda folder: bank_files.describe_bank(str(folder)),
        ):
            with pytest.raises(UserError, match=rf"bank.json .*{message}"):
                use(tmp_path)


class Interrupted(MeanColour):
    """Stops after the two images of the preflight and two of the prompt, one in a batch."""

    def __call__(self, images):
        if len(self.batches) == 2 + 2:
            raise KeyboardInterrupt
        return super().__call__(images)


def test_interrupted_building_goes_on_and_ends_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(bank_writing, "COMMIT_SECONDS", 0.0)
    changes = {"batch_size": 1, "retrieval.augmentation_epochs": 2}
    whole = run(tmp_path / "whole", **changes)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "bank", encoder=Interrupted(), **changes)
    assert not bank_files.is_bank(str(tmp_path / "bank"))
    with pytest.raises(UserError, match=r"unfinished"):
        bank_files.load_bank(str(tmp_path / "bank"))
    # What was written after the last commit is cut off again.
    with open(tmp_path / "bank" / "keys.bin", "ab") as file:
        file.write(b"half a row")
    encoder = MeanColour()
    assert run(tmp_path / "bank", encoder=encoder, **changes)["metrics"] == whole["metrics"]
    assert len(encoder.batches) == 2 + 12 - 2 + 3
    for name in ("keys", "label_counts", "patch"):
        assert (tmp_path / "bank" / f"{name}.bin").read_bytes() == (tmp_path / "whole" / f"{name}.bin").read_bytes()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "keys.bin").write_bytes(b"short"), r"keys.bin has lost committed rows"),
        (lambda folder: (folder / "image.bin").unlink(), r"image.bin has lost committed rows"),
        (lambda folder: (folder / "building.json").write_text("{"), r"building.json cannot be read"),
        (lambda folder: (folder / "building.json").write_text('{"done": 1}'), r"building.json cannot be read"),
    ],
)
def test_an_unfinished_bank_that_lost_something_is_refused(tmp_path, monkeypatch, damage, message):
    monkeypatch.setattr(bank_writing, "COMMIT_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, encoder=Interrupted(), batch_size=1)
    damage(tmp_path)
    with pytest.raises(UserError, match=message):
        run(tmp_path, batch_size=1)


def test_two_commands_never_build_one_bank(tmp_path):
    identity = {"task": "depth", "channels": 1, "versions": {}}
    with (
        bank_writing.FileColumns(tmp_path / "bank", identity),
        pytest.raises(UserError, match=r"another command is writing it"),
    ):
        run(tmp_path / "bank")
    assert run(tmp_path / "bank")["memory"]["length"] > 0  # the lock ends with its owner


def test_a_refused_folder_is_free_again_at_once(tmp_path):
    run(tmp_path)
    with pytest.raises(UserError, match=r"built with channels") as kept:  # as a notebook keeps the last error
        bank_writing.FileColumns(tmp_path, {"task": "depth", "channels": 99, "versions": {}})
    with bank_writing.lock(tmp_path):
        pass
    assert kept.value.args


def test_a_bank_that_another_command_has_just_finished_is_loaded_not_written_again(tmp_path, monkeypatch):
    first = run(tmp_path)
    before = {file.name: file.stat().st_mtime_ns for file in tmp_path.glob("*.bin")}
    (tmp_path / "index-scann-0").mkdir()
    # Both looked for it before it was there.
    monkeypatch.setattr(bank_files, "is_bank", lambda path: False)
    assert run(tmp_path)["metrics"] == first["metrics"]
    identity = bank_files.read_manifest(tmp_path)["identity"]
    bank_writing.save_bank(str(tmp_path), identity, bank_files.load_bank(str(tmp_path)))
    assert {file.name: file.stat().st_mtime_ns for file in tmp_path.glob("*.bin")} == before
    assert (tmp_path / "index-scann-0").exists()


def test_a_new_bank_never_uses_the_index_of_an_old_one(tmp_path):
    run(tmp_path / "bank")
    (tmp_path / "bank" / "index-scann-0").mkdir()
    (tmp_path / "bank" / "bank.json").unlink()
    other = MeanColour()
    other.fingerprint = "another"
    run(tmp_path / "bank", encoder=other)
    assert not list((tmp_path / "bank").glob("index-*"))


@pytest.mark.parametrize("place", ["a file", "gs://bucket/bank"])
def test_a_place_that_can_hold_no_bank_is_refused(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written|local folder"):
        run(place)
    assert [p.name for p in tmp_path.iterdir()] == ["a file"]


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="needs the device /dev/full of Linux")
@pytest.mark.parametrize("column", ["keys", "label_counts"])
def test_full_disk_is_one_clear_line_and_leaves_no_bank(tmp_path, column):
    (tmp_path / f"{column}.bin").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"the disk is full; make room"):
        run(tmp_path)
    assert not bank_files.is_bank(str(tmp_path))


def test_too_little_disk_or_memory_is_said_before_anything_is_stored(tmp_path, monkeypatch):
    monkeypatch.setattr(capacity.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10}))
    with pytest.raises(UserError, match=r"the bank needs .* the disk has"):
        run(tmp_path / "bank")
    assert not list((tmp_path / "bank").glob("*.bin"))
    monkeypatch.setattr(capacity, "available_memory", lambda: 10)
    with pytest.raises(UserError, match=r"retrieval.memory_length.*retrieval.bank=FOLDER"):
        run("")


def test_info_says_what_a_bank_is(tmp_path):
    result = run(tmp_path / "bank")
    info = bank_files.describe_bank(str(tmp_path / "bank"))
    assert info["length"] == result["memory"]["length"]
    assert (info["kind"], info["dim"], info["key_dtype"]) == ("bank", 7, "float32")
    assert info["config"]["encoder"] == "mean-colour-1"
    assert info["bytes"] == sum(f.stat().st_size for f in (tmp_path / "bank").glob("*.bin"))
    json.dumps(info)
    assert bank_files.verify_bank(str(tmp_path / "bank"))["verified"]
    with pytest.raises(UserError, match=r"holds no memory bank"):
        bank_files.describe_bank(str(tmp_path))


def test_keys_are_mapped_not_read(tmp_path):
    run(tmp_path / "bank")
    keys = bank_files.load_bank(str(tmp_path / "bank")).keys
    owner = keys
    while isinstance(owner, np.ndarray):
        owner = owner.base
    assert isinstance(owner.obj if isinstance(owner, memoryview) else owner, mmap.mmap)
    assert not keys.flags.writeable
    np.testing.assert_allclose(np.linalg.norm(keys, axis=1), 1, rtol=1e-5)


def test_a_bank_built_beforehand_serves_the_evaluation(tmp_path):
    changes = {"data.scenes.prompt_images": 3, "data.scenes.query_images": 2, "data.scenes.size": 64}
    config = make_config(**changes, **{"retrieval.bank": str(tmp_path / "bank")})
    Kept().bank(build_evaluation(MeanColour(), config, build_dense_source(config, "prompt")))
    assert bank_files.describe_bank(str(tmp_path / "bank"))["length"] == 3 * 64
    encoder = MeanColour()
    evaluate(encoder, config, str(tmp_path / "run"))
    assert len(encoder.batches) == 1 + 1


def test_a_bank_is_read_for_its_checksums_once(tmp_path, monkeypatch):
    read, real = [], checksums.checksum
    run(tmp_path)
    monkeypatch.setattr(checksums, "checksum", lambda path: read.append(path.name) or real(path))
    bank_files.load_bank(str(tmp_path))
    first = len(read)
    assert first == len(list(tmp_path.glob("*.bin")))
    bank_files.load_bank(str(tmp_path))
    assert len(read) == first
    bank_files.verify_bank(str(tmp_path))
    assert len(read) == 2 * first
    os.utime(tmp_path / "patch.bin", (0, 0))
    bank_files.load_bank(str(tmp_path))
    assert read[2 * first :] == ["patch.bin"]
    (tmp_path / checksums.STAMPS).write_text("[")
    bank_files.load_bank(str(tmp_path))
    assert len(read) == 3 * first + 1


def test_a_bank_of_another_version_of_the_code_is_refused(tmp_path, monkeypatch):
    run(tmp_path)
    monkeypatch.setattr(bank_build, "BANK_VERSION", bank_build.BANK_VERSION + 1)
    with pytest.raises(UserError, match=r"was built with bank_version="):
        run(tmp_path)


def test_another_numpy_finds_a_shared_bank_again(tmp_path, monkeypatch):
    parts = {"data.fractions": (0.5,), "data.subsets": 1}
    run(tmp_path, **parts)
    monkeypatch.setattr(np, "__version__", "99.0")
    encoder = MeanColour()
    run(tmp_path, encoder=encoder, **parts)
    assert len(encoder.batches) == 1 + 1
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("kind", ["labels", "images"])
def test_files_corrected_in_place_are_not_taken_for_those_of_a_bank(tmp_path, kind):
    """Uncompressed pictures keep their size whatever they show."""
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for number in range(4):
        item = FakeSource(4)[number]
        item["label"][item["label"] == 255] = 0
        cv2.imwrite(str(tmp_path / "images" / f"{number}.bmp"), item["image"])
        cv2.imwrite(str(tmp_path / "labels" / f"{number}.bmp"), item["label"].astype(np.uint8))
    changes = {"data.name": "folder", "data.root": str(tmp_path), "data.prompt": "[:3]", "data.query": "[3:]"}
    config = make_config(**changes, **{"retrieval.bank": str(tmp_path / "bank")})
    score = lambda: evaluate(MeanColour(), config, str(tmp_path / "run"))["metrics"]
    assert score() == score()
    path = tmp_path / kind / "1.bmp"
    size = path.stat().st_size
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(path), picture[::-1])
    assert path.stat().st_size == size
    with pytest.raises(UserError, match=r"was built with labels="):
        score()
