"""Whole sweeps, with `fake_hummingbird.py` in place of the command: states, resuming, failures, results."""

import csv
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hummingbird import sweep
from hummingbird.errors import UserError
from hummingbird.sweep.expand import build_schedule
from hummingbird.sweep.folder import DONE, FAILED, RUNNING, SweepFolder
from hummingbird.sweep.local import slot_environment
from hummingbird.sweep.schedule import Command
from hummingbird.sweep.spec import load_sweep
from hummingbird.sweep.worker import Worker

FAKE = [sys.executable, str(Path(__file__).with_name("fake_hummingbird.py"))]
PRETRAIN, SCENES = "configs/pretrain/demo.py:tiny", "configs/evaluate/scenes.py"


@pytest.fixture
def sweep_file(tmp_path):
    def write(points, job="pretrain", more=f"evaluate={{'scenes': {SCENES!r}}}"):
        text = f"from hummingbird.sweep import *\ndef get_sweep(variant=''): return Sweep({job!r}, {points}, {more})\n"
        (tmp_path / "sweep.py").write_text(text)
        return str(tmp_path / "sweep.py")

    return write


def go(tmp_path, file, **more):
    arguments = {"parallel": 2, "program": FAKE, **more}
    return sweep.run(PRETRAIN, file, str(tmp_path / "work"), **arguments)


def rows(tmp_path):
    with open(tmp_path / "work" / "sweep.csv") as file:
        return list(csv.DictReader(file))


def starts(tmp_path, task):
    return len((tmp_path / "work" / "runs" / task / "starts.txt").read_text().splitlines())


@pytest.mark.process
def test_runs_are_pretrained_evaluated_and_sorted(tmp_path, sweep_file, capsys):
    assert go(tmp_path, sweep_file("grid({'context.weight': [0.0, 0.2, 0.5], 'seed': [0, 1]})")) == 0
    found = rows(tmp_path)
    assert [row["context.weight"] for row in found] == ["0.2", "0.2", "0.0", "0.0", "0.5", "0.5"]
    assert [row["state"] for row in found] == ["done"] * 6
    assert float(found[0]["scenes.miou"]) == pytest.approx(50)
    assert float(found[0]["pretrain.loss"]) == pytest.approx(2.2)
    page = (tmp_path / "work" / "sweep.html").read_text()
    assert page.count("<svg") == 2  # mIoU and loss against the one swept key
    assert page.index("hummingbird pretrain") < page.index("All settings")
    assert "weight=0.2,seed=0" in capsys.readouterr().out.splitlines()[0]


@pytest.mark.process
def test_a_failed_run_stops_no_other_and_is_run_again(tmp_path, sweep_file):
    file = sweep_file("grid({'seed': [0, 666, 1]})")
    assert go(tmp_path, file) == 1
    states = {row["seed"]: row["state"] for row in rows(tmp_path)}
    assert states == {"0": "done", "666": "failed", "1": "done"}
    failed = json.loads((tmp_path / "work/runs/seed=666/pretrain.json").read_text())
    assert failed["tail"].endswith("hummingbird: error: bad luck")
    assert "bad luck" in (tmp_path / "work" / "sweep.html").read_text()
    assert go(tmp_path, file) == 1
    assert starts(tmp_path, "seed=0/pretrain") == 1
    assert starts(tmp_path, "seed=666/pretrain") == 2


@pytest.mark.process
def test_a_killed_run_is_named_and_resumed(tmp_path, sweep_file):
    file = sweep_file("grid({'seed': [778]})")
    assert go(tmp_path, file) == 1
    assert "SIGKILL" in json.loads((tmp_path / "work/runs/seed=778/pretrain.json").read_text())["tail"]
    assert go(tmp_path, file) == 0
    assert rows(tmp_path)[0]["state"] == "done"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.process
def test_a_killed_sweep_resumes_where_it_stopped(tmp_path, sweep_file, how):
    file = sweep_file("grid({'seed': [0, 777, 1]})")
    code = "import sys; from hummingbird import sweep; sweep.run(*sys.argv[1:4], parallel=1, program=sys.argv[4:])"
    process = subprocess.Popen([sys.executable, "-c", code, PRETRAIN, file, str(tmp_path / "work"), *FAKE])
    ready = tmp_path / "work/runs/seed=777/pretrain/ready"
    deadline = time.monotonic() + 30
    while not ready.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with pytest.raises(UserError, match="another sweep process"):
        go(tmp_path, file)
    os.kill(process.pid, how)
    process.wait()
    assert go(tmp_path, file) == 0
    assert [row["state"] for row in rows(tmp_path)] == ["done"] * 3
    assert starts(tmp_path, "seed=0/pretrain") == 1  # finished before
    assert starts(tmp_path, "seed=777/pretrain") == 2
    assert starts(tmp_path, "seed=777/scenes") == 1


@pytest.mark.process
def test_a_sweep_may_grow_but_not_change(tmp_path, sweep_file):
    assert go(tmp_path, sweep_file("grid({'seed': [0, 1]})")) == 0
    assert go(tmp_path, sweep_file("grid({'seed': [0, 1, 2]})")) == 0
    assert starts(tmp_path, "seed=0/pretrain") == 1
    with pytest.raises(UserError, match=r"other runs, such as seed=0"):
        go(tmp_path, sweep_file("grid({'seed': [1, 2]})"))
    with pytest.raises(UserError, match="its overrides"):
        go(tmp_path, sweep_file("grid({'seed': [0, 1, 2]})"), overrides=[("total_steps", "5")])
    with pytest.raises(UserError, match="its evaluate"):
        go(tmp_path, sweep_file("grid({'seed': [0, 1, 2]})", more=""))


@pytest.mark.process
def test_an_added_evaluation_scores_finished_trainings_without_training_again(tmp_path, sweep_file):
    assert go(tmp_path, sweep_file("grid({'seed': [0, 1]})")) == 0
    both = f"evaluate={{'scenes': {SCENES!r}, 'knn': 'evaluate/images:demo'}}"
    assert go(tmp_path, sweep_file("grid({'seed': [0, 1]})", more=both)) == 0
    for seed in (0, 1):
        assert [starts(tmp_path, f"seed={seed}/{stage}") for stage in ("pretrain", "scenes", "knn")] == [1, 1, 1]
    assert all(float(row["knn.miou"]) > 0 for row in rows(tmp_path))
    with pytest.raises(UserError, match="its evaluate"):
        go(tmp_path, sweep_file("grid({'seed': [0, 1]})"))  # an evaluation cannot be removed


@pytest.mark.process
def test_decoders_are_trained_beside_retrieval_and_resumed(tmp_path, sweep_file):
    more = f"evaluate={{'nn': {SCENES!r}}}, finetune={{'linear': 'finetune/linear'}}, checkpoint='rgb:8'"
    file = sweep_file("grid({'seed': [0, 1]})", "evaluate", more)
    run = {"parallel": 2, "program": FAKE}
    assert sweep.run(None, file, str(tmp_path / "work"), **run) == 0
    assert sweep.run(None, file, str(tmp_path / "work"), **run) == 0
    assert [starts(tmp_path, f"seed={seed}/{stage}") for seed in (0, 1) for stage in ("nn", "linear")] == [1] * 4
    found = rows(tmp_path)
    assert all(float(row["nn.miou"]) > 0 and float(row["linear.miou"]) > 0 for row in found)
    assert all(float(row["linear.adaptation_seconds"]) == 2.5 and row["linear.images"] == "7" for row in found)
    assert "nn: configs/evaluate/scenes.py, linear: finetune/linear" in (tmp_path / "work" / "sweep.html").read_text()


@pytest.mark.process
def test_what_follows_a_failed_pretraining_is_not_run(tmp_path, sweep_file):
    assert go(tmp_path, sweep_file("[{'seed': 666}]", more="finetune={'linear': 'finetune/linear'}")) == 1
    assert not (tmp_path / "work" / "runs" / "seed=666" / "linear").exists()


def test_another_default_is_refused_unless_a_run_would_resume_with_it(sweep_file):
    made = build_schedule(load_sweep(sweep_file("grid({'seed': [0]})")), PRETRAIN, [], None, "DIR")

    def started_with(**settings):
        before = {**made.reference["settings"]["pretrain"], **settings}
        reference = {**made.reference, "settings": {**made.reference["settings"], "pretrain": before}}
        return dataclasses.replace(made, reference=reference)

    SweepFolder("DIR").check_same_sweep(started_with(**{"data.threads": 3}), made)
    for key, value in (("ema_decay", 0.5), ("total_steps", 7)):
        with pytest.raises(UserError, match=f"{key} of pretrain was {value} when the sweep was started"):
            SweepFolder("DIR").check_same_sweep(started_with(**{key: value}), made)


def test_nothing_is_written_for_a_bad_sweep(tmp_path, sweep_file):
    for points, message in (("grid({'sed': [0]})", "did you mean seed"), ("[]", "no runs")):
        with pytest.raises(UserError, match=message):
            go(tmp_path, sweep_file(points))
    good = sweep_file("grid({'seed': [0]})")
    with pytest.raises(UserError, match="--launcher=lsf"):
        go(tmp_path, good, launcher="lsf")
    with pytest.raises(UserError, match="--parallel=0"):
        go(tmp_path, good, parallel=0)
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("stage", "path"),
    [
        ("evaluate", "evaluate/folder"),
        ("evaluate", "evaluate/folder:depth"),
        ("evaluate", "evaluate/images"),
        ("finetune", "finetune/linear:pascal_voc"),
    ],
)
def test_data_that_cannot_be_opened_stops_a_sweep_before_its_first_run(tmp_path, sweep_file, stage, path):
    file = sweep_file("grid({'seed': [0, 1]})", more=f"{stage}={{'streets': {path!r}}}")
    nowhere = str(tmp_path / "nowhere")
    settings = [(f"{stage}.streets.data.root", nowhere)]
    with pytest.raises(UserError, match=rf"^sweep run seed=0/streets: .*{nowhere}"):
        go(tmp_path, file, overrides=settings)
    assert not (tmp_path / "work").exists()
    go(tmp_path, file, overrides=settings, launcher="print")  # another machine may have it


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path, sweep_file):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.txt").touch()
    with pytest.raises(UserError, match="holds no sweep"):
        go(tmp_path, sweep_file("grid({'seed': [0]})"))
    assert [p.name for p in (tmp_path / "work").iterdir()] == ["thesis.txt"]


def test_print_gives_commands_and_collects_later(tmp_path, sweep_file, capsys):
    file = sweep_file("grid({'seed': [3, 4]})")
    assert go(tmp_path, file, launcher="print") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    first, second = lines[0].split(" && ")
    assert first.startswith(f"hummingbird pretrain --config={PRETRAIN} --config.seed=3 --workdir=")
    assert second.startswith(f"hummingbird evaluate --config={SCENES} --checkpoint=")


FAKE_SBATCH = """#!/bin/sh
cp "$2" "$(dirname "$0")/submitted.sh"
echo 4242
"""
FAKE_SQUEUE = """#!/bin/sh
cat "$(dirname "$0")/queue" 2>/dev/null || exit 1
"""


@pytest.mark.process
def test_slurm_submits_an_array_that_works(tmp_path, sweep_file, monkeypatch, capsys):
    file = sweep_file("grid({'seed': [0, 1, 2]})")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="sbatch is not installed"):
        go(tmp_path, file, launcher="slurm")
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, text in (("sbatch", FAKE_SBATCH), ("squeue", FAKE_SQUEUE)):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:/usr/bin:/bin")
    go(tmp_path, file, launcher="slurm")
    script = (commands / "submitted.sh").read_text()
    assert "#SBATCH --array=0,1,2%2\n" in script
    assert "submitted array 4242 with 3 jobs" in capsys.readouterr().out

    (commands / "queue").write_text("1\n2\n")  # element 0 has left the queue without running
    go(tmp_path, file, launcher="slurm")
    assert "#SBATCH --array=0%2\n" in (commands / "submitted.sh").read_text()

    environment = {**os.environ, "SLURM_ARRAY_TASK_ID": "1", "PYTHONPATH": os.getcwd()}
    subprocess.run(["bash", commands / "submitted.sh"], env=environment, check=True)
    assert SweepFolder(tmp_path / "work").state("seed=1/scenes") == "done"


def test_workers_get_their_share_of_the_gpus():
    assert slot_environment(0, 1, ["0", "1"]) == {}
    assert slot_environment(1, 2, ["0", "1", "2", "3"]) == {"CUDA_VISIBLE_DEVICES": "1,3"}
    shared = slot_environment(3, 4, ["0", "1"])
    assert shared == {"CUDA_VISIBLE_DEVICES": "1", "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.45"}
    assert slot_environment(1, 2, []) == {}


@pytest.mark.process
@pytest.mark.parametrize(
    "points", ["grid({'retrieval.neighbours': [3, 5]})", pytest.param("grid({'seed': [0]})", marks=pytest.mark.slow)]
)
def test_a_sweep_works_beside_the_users_own_random_py(tmp_path, sweep_file, points):
    """One evaluation runs the command itself, two run in a process that shares their encoding."""
    (tmp_path / "random.py").write_text("raise RuntimeError('this is not the random you are looking for')\n")
    file = sweep_file(points, "evaluate", "checkpoint='no/such/checkpoint'")
    code = "from hummingbird.cli import main; import sys; sys.exit(main(sys.argv[1:]))"
    scenes = Path(SCENES).resolve()
    arguments = ["sweep", f"--config={scenes}", f"--sweep={file}", f"--workdir={tmp_path / 'work'}"]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    result = subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    states = [row["state"] for row in rows(tmp_path)]
    assert states == ["failed"] * len(states), result.stderr
    logs = "".join(path.read_text() for path in (tmp_path / "work" / "runs").rglob("*.log"))
    assert "no/such/checkpoint does not exist" in logs
    assert "looking for" not in logs + result.stderr


def test_what_failed_before_is_tried_again_after_a_crash(tmp_path, monkeypatch):
    """A process for several commands dies at the first one; those that failed in an earlier call come after it."""
    commands = [Command(f"run{i}/evaluate", "evaluate", "config.py", [], "rgb:8", bank="banks/one") for i in range(3)]
    folder = SweepFolder(tmp_path)
    for command in commands:
        folder.set_status(command.id, FAILED)
    worker, started = Worker(folder, commands, ["hummingbird"]), []

    def run_process(id, process_command, begun):
        ids = process_command[process_command.index(str(tmp_path)) + 1 :]
        started.append(ids)
        folder.set_status(ids[0], RUNNING)
        if len(started) == 1:
            return -signal.SIGKILL
        for other in ids:
            folder.workdir(other).mkdir(parents=True)  # results
            folder.set_status(other, DONE)
        return 0

    monkeypatch.setattr(worker, "_run_process", run_process)
    worker.run()
    assert [len(ids) for ids in started] == [3, 2]
    assert [folder.state(command.id) for command in commands] == [FAILED, DONE, DONE]
