"""Checkpoints prove what they hold, damaged ones are skipped, and a resumed run equals one that never stopped."""

import json
import logging
import os
import pathlib
import shutil
import signal

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from hummingbird import hooks, train
from hummingbird.config import to_flat
from hummingbird.data.pipeline import build_batches
from hummingbird.encoder import load_encoder
from hummingbird.errors import Preempted, UserError
from hummingbird.run import checkpoint, fingerprint, saver
from hummingbird.run.files import write_json
from hummingbird.run.saver import Saver
from hummingbird.train import pretraining
from tests import tiny


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A tiny run of four steps with checkpoints at 0, 2 and 4."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    state = tiny.pretrain(workdir)
    return workdir, jax.device_get(state)


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the finished run, to be damaged."""
    return shutil.copytree(finished[0], tmp_path / "run")


def data_files(folder):
    """Lists the files that hold arrays; Orbax keeps some twice."""
    return [p for p in pathlib.Path(folder).rglob("*") if p.is_file() and p.parent.name == "d"]


def flip_a_byte(folder):
    """Flips a bit in the middle of each data file, which TensorStore would restore silently."""
    for file in data_files(folder):
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 0x10
        file.write_bytes(content)


def test_arrays_are_restored_bit_for_bit(finished):
    workdir, state = finished
    _, manifest, arrays = checkpoint.load_newest(workdir)
    assert manifest["step"] == 4
    jax.tree.map(np.testing.assert_array_equal, checkpoint.to_arrays(state), arrays)


def test_a_resumed_run_equals_one_that_never_stopped(finished, tmp_path):
    def stop_at_step_3(step, state, model, batch):
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiny.pretrain(tmp_path / "run", stop_at_step_3)
    state = tiny.pretrain(tmp_path / "run")
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state), finished[1])
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]  # step 3 was taken twice and is logged once


def test_restarting_a_finished_run_changes_nothing(copied):
    before = checkpoint.load_newest(copied)[1]["fingerprint"]
    tiny.pretrain(copied)
    assert checkpoint.load_newest(copied)[1]["fingerprint"] == before


@pytest.mark.parametrize("damage", ["flipped", "truncated", "no manifest", "half a manifest", "empty"])
def test_a_damaged_step_is_skipped_and_named(copied, damage, caplog):
    newest = checkpoint.steps(copied)[0]
    if damage == "flipped":
        flip_a_byte(newest / "state")
    elif damage == "truncated":
        for file in data_files(newest / "state"):
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    elif damage == "no manifest":
        (newest / "manifest.json").unlink()
    elif damage == "half a manifest":
        (newest / "manifest.json").write_text((newest / "manifest.json").read_text()[:200])
    else:
        newest.rmtree()
        newest.mkdir()
    with caplog.at_level(logging.WARNING):
        _, manifest, _ = checkpoint.load_newest(copied)
    assert manifest["step"] == 2
    assert newest.name in caplog.text


def test_a_changed_array_fails_its_checksum(copied, caplog):
    newest = checkpoint.steps(copied)[0]
    # Saved again with one bit changed, so that Orbax notices nothing.
    arrays = checkpoint.load_newest(newest)[2]
    arrays["bank.keys"].view(np.uint32)[0, 0, 0] ^= 1
    checkpoint.checkpointer().save(newest / "state", args=ocp.args.PyTreeSave(arrays), force=True)
    with caplog.at_level(logging.WARNING):
        assert checkpoint.load_newest(copied)[1]["step"] == 2
    assert "bank.keys does not have the checksum" in caplog.text


@pytest.mark.long
def test_a_damaged_newer_step_does_not_count_as_kept(copied):
    flip_a_byte(checkpoint.steps(copied)[0] / "state")

    def stop_in_4(step, state, model, batch):
        if step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiny.pretrain(copied, stop_in_4, keep_checkpoints=1, checkpoint_every=1)
    assert checkpoint.load_newest(copied)[1]["step"] == 3


@pytest.mark.long
def test_a_state_without_a_bank_is_saved_and_restored(tmp_path):
    config = tiny.tiny_config(**{"context.bank_length": 0})
    program = tiny.program(1, **{"context.bank_length": 0})
    state = jax.device_put(tiny.drawn(program.state), program.shardings)
    with Saver(tmp_path, config=to_flat(config), keep=1) as saver:
        saver.save(state, {})
    restored, _ = checkpoint.restore_newest(tmp_path, program.state, program.shardings)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(restored), jax.device_get(state))
    assert load_encoder(str(tmp_path)).dim == 32


@pytest.mark.slow
@pytest.mark.program
def test_a_run_without_a_bank_is_saved_and_resumed(tmp_path):
    without = {"context.bank_length": 0, "checkpoint_every": 1}

    def stop_after_2(step, state, model, batch):
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiny.pretrain(tmp_path / "run", stop_after_2, **without)
    state = tiny.pretrain(tmp_path / "run", **without)
    assert int(state.step) == 4
    assert load_encoder(str(tmp_path / "run")).dim == 32


def test_a_config_of_another_project_is_left_alone(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(UserError, match="not a config of this project"):
        train.pretrain(tiny.tiny_config(), str(tmp_path))
    assert (tmp_path / "config.json").read_text() == '{"model_type": "vit"}'


def test_a_foreign_manifest_is_not_a_checkpoint(tmp_path):
    for content in ("{}", "[]", '{"kind": "other"}'):
        (tmp_path / "manifest.json").write_text(content)
        with pytest.raises(UserError, match="no sound checkpoint"):
            checkpoint.load_newest(tmp_path)


@pytest.mark.program
def test_a_run_resumes_on_more_devices(finished, copied):
    shutil.rmtree(checkpoint.steps(copied)[0])
    state = tiny.pretrain(copied, devices=8)
    assert int(state.step) == 4
    np.testing.assert_allclose(state.bank.keys, finished[1].bank.keys, atol=1e-3)


@pytest.mark.long
def test_online_evaluation_logs_scores(tmp_path):
    changes = {"online_eval.every": 2, "online_eval.max_images": 4, "data.scenes.size": 32}
    beside = hooks.build_hooks(tiny.tiny_config(**changes), str(tmp_path / "run"))
    tiny.pretrain(tmp_path / "run", *beside, **changes)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "eval_miou" in line] == [2, 4]
    assert all(0 <= line["eval_miou"] <= 100 for line in lines if "eval_miou" in line)


def test_local_paths_are_made_absolute_and_buckets_are_kept():
    assert str(checkpoint.absolute("gs://bucket/run")) == "gs://bucket/run"
    assert checkpoint.absolute("runs/x").is_absolute()


def test_a_run_without_a_sound_step_is_an_error(copied):
    for step in checkpoint.steps(copied):
        (step / "manifest.json").unlink()
    with pytest.raises(UserError, match="no sound checkpoint"):
        checkpoint.load_newest(copied)


@pytest.mark.long
def test_only_the_newest_checkpoints_are_kept(tmp_path):
    tiny.pretrain(tmp_path / "run", keep_checkpoints=1)
    assert [p.name for p in checkpoint.steps(tmp_path / "run")] == ["00000004"]


def test_another_config_is_refused_with_the_difference(copied):
    with pytest.raises(UserError, match=r"ema_decay: 0.99 there, 0.5 here"):
        train.pretrain(tiny.tiny_config(ema_decay=0.5), str(copied))


def test_other_data_are_refused(copied):
    manifest = checkpoint.steps(copied)[0] / "manifest.json"
    content = json.loads(manifest.read_text())
    content["data"]["fingerprint"]["seed"] = 7
    manifest.write_text(json.dumps(content))
    with pytest.raises(UserError, match="seed was 7"):
        tiny.pretrain(copied)


def test_a_folder_with_unrelated_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="not empty"):
        train.pretrain(tiny.tiny_config(), str(tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_unwritable_workdir_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        train.pretrain(tiny.tiny_config(), str(tmp_path / "file" / "run"))


@pytest.mark.long
def test_an_interrupted_first_save_loses_nothing(tmp_path, monkeypatch, finished):
    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(saver, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            tiny.pretrain(tmp_path / "run")
    state = tiny.pretrain(tmp_path / "run")
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state), finished[1])


@pytest.mark.long
def test_sigterm_saves_and_the_next_start_resumes(tmp_path, finished):
    def terminate(step, state, model, batch):
        if step == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Preempted, match="step 2 of 4"):
        tiny.pretrain(tmp_path / "run", terminate, checkpoint_every=100)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    state = tiny.pretrain(tmp_path / "run", checkpoint_every=100)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state), finished[1])


def test_a_nonfinite_loss_stops_the_run_and_lists_its_images(tmp_path):
    config = tiny.tiny_config()
    with pytest.raises(UserError, match=r"step \d+: .*not finite.*failure.json.*learning_rate"):
        tiny.pretrain(tmp_path / "run", Poison())
    assert [p.name for p in checkpoint.steps(tmp_path / "run")] == ["00000000"]
    failure = json.loads((tmp_path / "run" / "failure.json").read_text())
    batches = build_batches(config, config.seed)
    expected = [next(batches)["index"] for _ in range(failure["step"])][-1]
    assert failure["images"] == expected.tolist()
    assert failure["metrics"]["loss"] == "nan"


@pytest.mark.parametrize(("kind", "said"), [("dtype", "float32 expected"), ("shape", r"\(32, 96\) float32 expected")])
def test_another_dtype_or_shape_is_refused_not_cast(copied, kind, said):
    newest = checkpoint.steps(copied)[0]
    _, manifest, arrays = checkpoint.load_newest(newest)
    name = "online.encoder.block_00.attention.qkv.kernel"
    arrays[name] = arrays[name].astype(np.float16) if kind == "dtype" else arrays[name][:16]
    checkpoint.checkpointer().save(newest / "state", args=ocp.args.PyTreeSave(arrays), force=True)
    sums = fingerprint.array_checksums(arrays)
    manifest["arrays"] = {n: [str(x.dtype), list(x.shape), sums[n]] for n, x in arrays.items()}
    write_json(newest / "manifest.json", manifest)
    with pytest.raises(UserError, match=f"holds a different model .*{name}.*{said}"):
        tiny.pretrain(copied)


def test_a_dtype_that_differs_from_the_manifest_is_damage(copied, caplog):
    newest = checkpoint.steps(copied)[0]  # Orbax would cast it silently
    arrays = checkpoint.load_newest(newest)[2]
    name = "online.encoder.block_00.attention.qkv.kernel"
    arrays[name] = arrays[name].astype(np.float16)
    checkpoint.checkpointer().save(newest / "state", args=ocp.args.PyTreeSave(arrays), force=True)
    with caplog.at_level(logging.WARNING):
        assert checkpoint.load_newest(copied)[1]["step"] == 2
    assert f"array {name} does not have the checksum" in caplog.text


class Poison:
    """Overwrites a parameter in place, as a faulty device would."""

    def __call__(self, step, state, model, batch):
        if step == 1:
            scale = state.online["encoder"]["norm"]["scale"]
            state.online["encoder"]["norm"]["scale"] = scale * np.nan


@pytest.mark.long
def test_a_given_program_is_used_in_place_of_a_new_one(tmp_path, monkeypatch, finished):
    program = tiny.program()
    monkeypatch.setattr(pretraining, "build_program", lambda *_, **__: pytest.fail("a second program was built"))
    monkeypatch.setattr("hummingbird.run.curves.write", lambda workdir: True)  # which takes seconds
    state = train.pretrain(tiny.tiny_config(), str(tmp_path / "run"), program=program)
    assert jax.tree.all(jax.tree.map(np.array_equal, jax.device_get(state), finished[1]))


@pytest.mark.long
def test_arrays_that_the_state_no_longer_has_are_ignored_on_resume(copied, finished):
    """Runs from before the target network lost its predictor."""
    program = tiny.program()
    shutil.rmtree(checkpoint.steps(copied)[0])
    state, manifest = checkpoint.restore_newest(copied, program.state, program.shardings)
    old = state.replace(target={**state.target, "predictor": state.online["predictor"]})
    with Saver(copied, config=manifest["config"], keep=3) as saver:
        saver.save(old, manifest["data"])
    assert "target.predictor.hidden.kernel" in checkpoint.read_manifest(checkpoint.steps(copied)[0])["arrays"]
    resumed = tiny.pretrain(copied)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(resumed), finished[1])
