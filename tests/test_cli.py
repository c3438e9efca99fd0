"""The command line: exit statuses, one-line errors, help, and pretraining plus evaluation end to end."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from hummingbird import cli
from hummingbird.train import pretraining
from tests import tiny

TINY = [f"--config={tiny.CONFIG}", *(f"--config.{key}={value}" for key, value in tiny.DATA.items())]
EVALUATE = [
    "--config=configs/evaluate/demo.py",
    "--config.input_size=32",
    "--config.data.scenes.size=32",
    "--config.data.scenes.prompt_images=6",
    "--config.data.scenes.query_images=3",
    "--config.report.queries=2",
]


@pytest.fixture(autouse=True)
def from_the_root(monkeypatch, repository):
    monkeypatch.chdir(repository)


@pytest.mark.long
def test_pretrain_evaluate_and_info_from_the_command_line(tmp_path, capsys, monkeypatch):
    program = tiny.program()  # compiled once for all tests
    monkeypatch.setattr(pretraining, "build_program", lambda *_: program)
    result = tmp_path / "eval"
    run = pathlib.Path(os.path.relpath(tmp_path / "run"))  # as people type it; Orbax wants absolute paths
    assert not run.is_absolute()
    assert cli.run(["pretrain", *TINY, f"--workdir={run}", "--config.checkpoint_every", "4"]) == 0
    config = json.loads((run / "config.json").read_text())
    assert config["checkpoint_every"] == 4
    logged = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    expected = {"loss", "learning_rate", "images_per_second", "seconds_data_wait", "seconds_compute"}
    assert expected | {"pooling_entropy", "bank_similarity", "top1"} <= set(logged[-1])
    assert any(p.name.startswith("events.out.tfevents") for p in run.iterdir())
    capsys.readouterr()

    assert cli.run(["info", str(run), "--json"]) == 0
    info = json.loads(capsys.readouterr().out)
    assert {"kind", "step", "fingerprint", "parameters", "config", "versions"} <= set(info)
    assert info["step"] == 4
    assert cli.run(["info", str(run)]) == 0
    shown = capsys.readouterr().out
    assert info["fingerprint"] in shown
    assert "  checkpoint_every = 4\n" in shown
    assert "mae." not in shown  # a default of another objective

    assert cli.run(["evaluate", *EVALUATE, f"--checkpoint={run}", f"--workdir={result}"]) == 0
    metrics = json.loads((result / "metrics.json").read_text())
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["miou"] == metrics["metrics"]["miou"]
    assert (line["index"], line["recall_at_k"]) == ("exact", None)
    assert 0 <= metrics["metrics"]["miou"] <= 100
    assert {"encode_prompt", "build_index", "encode_query", "search", "decode", "total"} <= set(metrics["seconds"])
    assert "<html" in (result / "report.html").read_text()[:200]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["pretrain", "--config=nowhere.py", "--workdir=w"], "nowhere.py"),
        (["pretrain", *TINY, "--workdir=w", "--config.batch_sizes=3"], "batch_size"),
        (["pretrain", *TINY, "--workdir=w", "--config.optimizer.learning_rate=-1"], "optimizer.learning_rate"),
        (["pretrain", *TINY, "--workdir=w", "--config.mesh.data=3"], "multiple of the 3 devices"),
        (["pretrain", *TINY, "--workdir=w", "--config.encoder.patch_size=7"], "patch size 7"),
        (["pretrain", *TINY, "--workdir=w", "--config.data.name=scene"], "scenes"),
        (["pretrain", *TINY, "--workdir=README.md"], "README.md"),
        (["evaluate", *EVALUATE, "--checkpoint=nowhere", "--workdir=w"], "nowhere"),
        (["evaluate", *EVALUATE, "--checkpoint=configs", "--workdir=w"], "configs"),
        (["evaluate", *EVALUATE, "--checkpoint=rgb:8", "--workdir=gs://bucket/w"], "gs://bucket/w"),
        (["info", "nowhere"], "nowhere"),
        (["bank", "build", "w"], "--checkpoint"),
        (["info", "nowhere", "--config.seed=1"], "info takes no settings"),
        (["pretrain", *TINY, "--workdir=w", "--config.seed"], "--config.seed=VALUE"),
        (["evaluate", "--config.help=retrievel"], "did you mean retrieval."),
    ],
)
def test_bad_input_is_one_line_and_status_2(argv, said, capsys, tmp_path):
    argv = [a.replace("--workdir=w", f"--workdir={tmp_path / 'w'}") for a in argv]
    assert cli.run(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert err.startswith("hummingbird: error: ")
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("reason", "said"),
    [("JAX TPU support not installed; cannot generate TPU topology.", "[tpu]"), ("Unknown topology v9", "v5e:16x16")],
)
def test_an_unsupported_topology_names_the_fix(reason, said, monkeypatch, capsys):
    from jax.experimental import topologies

    def refuse(**_):
        raise RuntimeError(reason)

    monkeypatch.setattr(topologies, "get_topology_desc", refuse)
    assert cli.run(["plan", *TINY, "--topology=v9:1x1"]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert reason in err


@pytest.mark.process
def test_a_closed_pipe_is_not_an_error(repository):
    shown = "from hummingbird.commands.printing import show; show({str(i): 'x' * 1000 for i in range(1000)})"
    program = subprocess.Popen(
        [sys.executable, "-c", shown], cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert program.stdout is not None
    program.stdout.read(10)
    program.stdout.close()
    assert program.wait(60) == 0
    assert program.stderr is not None
    assert program.stderr.read() == b""


@pytest.mark.parametrize("argv", [[], ["pretrian"], ["pretrain", "--workdir=w"], ["info", "x", "--yaml"]])
def test_unknown_commands_and_arguments_are_usage_errors(argv, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.run(argv)
    assert stopped.value.code == 2
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_a_short_help(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.run([command, "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    declared = cli.COMMANDS[command]
    assert f"usage: hummingbird {command}" in text
    assert ("--config.help" in text) == bool(declared.settings)
    for option in declared.options:
        words = option.keywords["help"].split()
        assert 1 <= len(words) <= 26, option.name


@pytest.mark.parametrize(
    ("argv", "keys", "absent"),
    [
        (["pretrain", "--config.help"], ["batch_size=4096", "data.root="], ["retrieval.bank="]),
        (["evaluate", "--config.help=retrieval.scann"], ["retrieval.scann.leaves=auto"], ["seed=0"]),
        (["data", "x.py", "--config.help=context"], ["context.bank_length="], ["`hummingbird evaluate`"]),
        (["data", "--config.help=seed"], ["`hummingbird pretrain`", "`hummingbird evaluate`", "seed=0"], []),
    ],
)
def test_settings_are_listed_on_request(argv, keys, absent, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.run(argv)
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert [key for key in keys if key not in text] == []
    assert [key for key in absent if key in text] == []


def test_a_tilde_is_expanded_in_every_argument_that_is_a_path(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    lines = {
        "pretrain --config=~/c.py:big --workdir=~/run --init_from ~/old": ("config", "workdir", "init_from"),
        "evaluate --config=~/c.py --checkpoint=~/run --workdir=~/x": ("config", "checkpoint", "workdir"),
        "sweep --config ~/c.py --sweep=~/s.py --workdir=~/x --checkpoint=~/w.pth": ("sweep", "checkpoint"),
        "import ~/a.pth ~/b": ("src", "dst"),
        "export ~/a ~/b": ("src", "dst"),
        "info ~/a.pth": ("path",),
        "data ~/c.py --out=~/pictures": ("config", "out"),
        "bank build ~/bank --config=~/c.py": ("path", "config"),
    }
    for line, names in lines.items():
        arguments, _ = cli.parse(line.split())
        for name in names:
            value = getattr(arguments, name)
            assert value.startswith(f"{tmp_path}/"), (line, name)
    assert cli.parse(["info", "gs://bucket/~x"])[0].path == "gs://bucket/~x"


def test_values_may_begin_with_a_minus():
    arguments, _ = cli.parse(["import", "a", "b", "--layers", "-2,-1"])
    assert arguments.layers == (-2, -1)
    arguments, overrides = cli.parse(["data", "--config.mesh.data", "-1", "x.py", "--config.data.root", "here"])
    assert (arguments.config, overrides) == ("x.py", [("mesh.data", "-1"), ("data.root", "here")])


@pytest.mark.process
@pytest.mark.parametrize(
    ("variable", "value", "status", "said"),
    [("JAX_PLATFORMS", "cuda", 2, "JAX_PLATFORMS=cuda"), ("JAX_ENABLE_X64", "1", 0, "JAX_ENABLE_X64 is ignored")],
)
def test_variables_left_in_the_shell_are_named_in_one_line(variable, value, status, said, tmp_path, repository):
    command = [sys.executable, "-m", "hummingbird", "evaluate", *EVALUATE, "--checkpoint=rgb:8"]
    quiet = ["--config.retrieval.neighbours=4", "--config.progress=false", "--config.report.enabled=false"]
    environment = {**os.environ, "PYTHONPATH": str(repository), variable: value}
    result = subprocess.run(
        [*command, *quiet, f"--workdir={tmp_path}"], env=environment, capture_output=True, text=True, cwd=repository
    )
    assert result.returncode == status, result.stderr
    assert [said in line for line in result.stderr.splitlines()] == [True], result.stderr
