"""A workdir belongs to one run: its config, its files, and one process at a time."""

import json
import subprocess
import sys

import pytest
from etils import epath

from hummingbird import config, train
from hummingbird.errors import UserError
from hummingbird.run import workdir
from tests import tiny

HOLDER = """
import sys, time
from etils import epath
from hummingbird.run import workdir
with workdir.hold(epath.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def flat():
    return config.to_flat(tiny.tiny_config())


@pytest.fixture
def folder(tmp_path):
    return epath.Path(tmp_path) / "run"


@pytest.mark.process
def test_a_second_run_is_refused_until_the_first_process_dies(folder, flat):
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match=r"^workdir .*run: another run is using it; wait for it, or use another"):
            train.pretrain(tiny.tiny_config(), str(folder))
        assert [p.name for p in folder.iterdir()] == [workdir.LOCK]
    finally:
        process.kill()
        process.communicate()
    with workdir.hold(folder):
        workdir.check(folder, flat)


def test_a_run_that_fails_before_it_writes_leaves_no_folder(folder):
    with pytest.raises(UserError, match="none does not exist"):
        train.pretrain(tiny.tiny_config(init_from=str(folder.parent / "none")), str(folder))
    assert not folder.exists()


def test_an_existing_folder_is_never_removed(folder):
    folder.mkdir()
    with pytest.raises(KeyboardInterrupt), workdir.hold(folder):
        raise KeyboardInterrupt
    assert folder.exists()


def test_buckets_are_not_locked(monkeypatch):
    monkeypatch.delattr(workdir.locks, "hold")  # no lock is taken, so that two holders meet
    with workdir.hold(epath.Path("gs://none/run")), workdir.hold(epath.Path("gs://none/run")):
        assert not epath.Path("none").exists()


def test_a_config_without_newer_settings_is_resumed(folder, flat):
    old = {k: v for k, v in flat.items() if k not in ("context.neighbours", "augment.blur_relative")}
    workdir.claim(folder, old)
    workdir.check(folder, flat)
    assert "context.neighbours" not in json.loads((folder / "config.json").read_text())
    assert workdir.recorded(folder, "context.neighbours") is None


def test_lists_in_json_equal_tuples_in_the_config(folder, flat):
    workdir.claim(folder, flat)
    workdir.check(folder, flat)
    assert workdir.recorded(folder, "augment.crop_area") == (0.08, 1.0)


@pytest.mark.parametrize(
    ("changes", "accepted"), [({"total_steps": 9}, True), ({"data.root": "elsewhere"}, True), ({"seed": 3}, False)]
)
def test_only_settings_that_may_change_may_differ(folder, flat, changes, accepted):
    workdir.claim(folder, {**flat, **changes})
    if accepted:
        workdir.check(folder, flat)
        return
    with pytest.raises(UserError, match="seed: 3 there, 0 here"):
        workdir.check(folder, flat)


def test_a_run_older_than_a_setting_had_its_default(folder, flat):
    old = {key: value for key, value in flat.items() if key != "objective.name"}
    workdir.claim(folder, old)
    workdir.check(folder, flat)
    with pytest.raises(UserError, match=r"another config \(objective.name: 'hummingbird' there, 'simclr' here\)"):
        workdir.check(folder, {**flat, "objective.name": "simclr"})
