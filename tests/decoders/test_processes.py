"""A decoder that two processes train is that of one process with two devices, and so are its scores."""

import json

import pytest

from hummingbird.commands import info
from hummingbird.decoders.finetune import finetune
from tests import tiny
from tests.decoders import small
from tests.devices import pair


@pytest.mark.slow
@pytest.mark.process
def test_two_processes_train_and_score_as_one_does(tmp_path, repository):
    changes = {**small.SCENES, "decoder.train_encoder": True, "mesh.data": 2}
    tiny.pretrain(tmp_path / "pretrain")
    encoder = str(tmp_path / "pretrain")
    command = ["-m", "hummingbird", "finetune", "--config=finetune/linear", f"--checkpoint={encoder}"]
    flags = [f"--config.{key}={value}" for key, value in changes.items()]
    ended = pair.run(repository, *command, f"--workdir={tmp_path / 'two'}", *flags)
    assert [process.status for process in ended] == [0, 0], ended
    finetune(small.finetune_config(**changes), encoder, tmp_path / "one")
    two, one = (
        (info.describe(str(run))["fingerprint"], json.loads((run / "metrics.json").read_text())["metrics"])
        for run in (tmp_path / "two", tmp_path / "one")
    )
    assert two == one
