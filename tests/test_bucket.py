"""A run with its workdir in a bucket equals a local one, also after a kill, and can be read from there."""

import json
import logging
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from hummingbird import cli, train
from hummingbird.commands import info
from hummingbird.encoder import load_encoder
from hummingbird.errors import UserError
from hummingbird.run import checkpoint
from tests import gcs, tiny

pytestmark = pytest.mark.process

RUN = "gs://tests/runs/one"


@pytest.fixture(scope="module")
def bucket():
    """The store of a bucket that all clients in this process and its children connect to."""
    from tensorboardX import record_writer

    with gcs.bucket() as store:
        yield store
        # Event writers upload once more when they are collected, by then to a server that is gone.
        record_writer.GCSRecordWriter.__del__ = lambda self: None


@pytest.fixture(scope="module")
def runs(bucket, tmp_path_factory):
    """A local run, and the same run in the bucket, in one go."""
    local = tmp_path_factory.mktemp("bucket") / "local"
    tiny.pretrain(local, keep_checkpoints=1)
    tiny.pretrain(RUN, keep_checkpoints=1)
    return local


def test_it_ends_like_a_local_run(runs):
    assert info.describe(RUN)["fingerprint"] == info.describe(str(runs))["fingerprint"]


@pytest.mark.slow
def test_killed_during_a_save_it_ends_like_a_local_run(runs, bucket, repository, caplog):
    # With the packages alone that scripts/launch/tpu installs.
    killed = RUN.replace("one", "killed")
    command = [sys.executable, "-m", "tests.extras", "tpu", "pretrain", f"--config={tiny.CONFIG}"]
    command += [f"--workdir={killed}", *(f"--config.{key}={value}" for key, value in tiny.DATA.items())]
    environment = {**os.environ, **tiny.ONE_DEVICE}
    process = subprocess.Popen(command, cwd=repository, env=environment, stderr=subprocess.PIPE, text=True)
    bucket.instead["runs/killed/checkpoints/00000002/manifest.json"] = process.kill
    output = process.communicate()[1]
    assert process.returncode == -signal.SIGKILL, output
    assert ("tests", "runs/killed/checkpoints/00000000/manifest.json") in bucket.objects

    with caplog.at_level(logging.INFO, "hummingbird"):
        tiny.pretrain(killed, keep_checkpoints=1)
    assert "00000002 is skipped: it is unfinished" in caplog.text
    assert "resuming from step 0 of 4" in caplog.text
    assert info.describe(killed)["fingerprint"] == info.describe(str(runs))["fingerprint"]


def test_records_events_and_config_are_in_the_bucket(runs, bucket):
    stored = {name.removeprefix("runs/one/"): x[0] for (_, name), x in bucket.objects.items() if "runs/one" in name}
    ours = [json.loads(line) for line in stored["metrics.jsonl"].decode().splitlines()]
    theirs = [json.loads(line) for line in (runs / "metrics.jsonl").read_text().splitlines()]
    assert [(m["step"], m["loss"]) for m in ours] == [(m["step"], m["loss"]) for m in theirs]
    assert json.loads(stored["config.json"]) == json.loads((runs / "config.json").read_text())
    events = [content for name, content in stored.items() if name.startswith("events.out.tfevents")]
    assert any(b"loss" in content for content in events)


def test_an_encoder_is_loaded_from_the_bucket_and_scored(runs, tmp_path, capsys):
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(load_encoder(RUN)(images), load_encoder(str(runs))(images))
    small = ["--config.data.max_images=4", "--config.input_size=32", "--config.data.scenes.size=32"]
    small += ["--config.retrieval.augmentation_epochs=0", "--config.report.enabled=false"]
    command = ["evaluate", "--config=configs/evaluate/scenes.py", f"--checkpoint={RUN}", f"--workdir={tmp_path / 'e'}"]
    assert cli.run([*command, *small]) == 0
    assert "miou" in capsys.readouterr().out


def test_old_and_unfinished_steps_are_removed(runs, bucket):
    assert [p.name for p in checkpoint.steps(RUN)] == ["00000004"]
    assert not [name for _, name in bucket.objects if "checkpoints/0000000" in name and "/00000004/" not in name]


def test_a_bucket_without_access_is_one_line(bucket, monkeypatch):
    monkeypatch.setattr(gcs.Handler, "route", lambda self, *_: self.fault(403, "tests has no access"))
    with pytest.raises(UserError, match=r"workdir gs://tests/none cannot be read: Forbidden"):
        train.pretrain(tiny.tiny_config(), "gs://tests/none")
