"""`hummingbird report`: finished evaluations on disk, side by side on one page."""

import json

import pytest

from hummingbird import cli
from hummingbird.retrieval.report import Run, read_runs, write_comparison
from hummingbird.retrieval.sample_files import save_samples
from tests.retrieval.test_report import made_metrics, made_samples


def finish(folder, samples=None, **changes):
    """Writes what an evaluation leaves behind."""
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(made_metrics(**changes)))
    if samples:
        save_samples(str(folder / "samples.npz"), samples)
    return folder


def test_the_command_compares_finished_evaluations(tmp_path, capsys):
    config = {"retrieval.neighbours": 30, "retrieval.temperature": 0.02}
    finish(tmp_path / "a", made_samples(), encoder="dino", config=config)
    finish(tmp_path / "b", made_samples(seed=1), encoder="mae", config={**config, "retrieval.neighbours": 90})
    page = tmp_path / "new" / "page.html"
    assert cli.run(["report", str(tmp_path / "a"), str(tmp_path / "b"), f"--out={page}"]) == 0
    assert str(page) in capsys.readouterr().out
    text = page.read_text()
    differs = text.partition("What differs")[2].partition("</section>")[0]
    assert "retrieval.neighbours" in differs
    assert "retrieval.temperature" not in differs
    assert {"dino", "mae"} <= set(differs.replace("<", ">").split(">"))
    for heading in ("Intersection over union by class", "Predictions", "All settings"):
        assert heading in text
    assert "scores do not compare" not in text


def test_the_runs_of_a_sweep_are_named_by_what_differs(tmp_path):
    for weight in ("0.05", "0.2"):
        for evaluation, task in (("scenes", "segmentation"), ("depth", "depth")):
            finish(tmp_path / "runs" / f"weight={weight}" / evaluation, task=task)
    (tmp_path / "runs" / "weight=0.5" / "scenes").mkdir(parents=True)  # not finished
    runs = read_runs([tmp_path, tmp_path / "runs" / "weight=0.2" / "depth"])
    assert [(run.result["task"], run.name) for run in runs] == [
        ("depth", "weight=0.05"),
        ("segmentation", "weight=0.05"),
        ("depth", "weight=0.2"),
        ("segmentation", "weight=0.2"),
    ]


def test_the_current_folder_is_called_by_its_name(tmp_path, monkeypatch):
    for name in ("a", "b"):
        finish(tmp_path / name)
    monkeypatch.chdir(tmp_path / "a")
    assert [run.name for run in read_runs([".", "../b"])] == ["a", "../b"]


def test_runs_of_different_data_sets_are_in_sections_of_their_own(tmp_path):
    finish(tmp_path / "voc", dataset="pascal_voc")
    finish(tmp_path / "ade", dataset="ade20k")
    runs = read_runs([tmp_path / "voc", tmp_path / "ade"])
    assert [run.name for run in runs] == ["vit_ti8"] * 2, "one evaluation of a data set is called by its encoder"
    write_comparison(tmp_path / "page.html", runs)
    text = (tmp_path / "page.html").read_text()
    assert text.count('<h2 class="chapter">') == 2


def test_other_query_images_are_pointed_out(tmp_path):
    results = [made_metrics(data={"query": query}, queries={"images": 5}) for query in ("one", "two")]
    runs = [Run(name, result) for name, result in zip("ab", results, strict=True)]
    write_comparison(tmp_path / "page.html", runs)
    assert "did not predict the same query images" in (tmp_path / "page.html").read_text()


def test_many_runs_have_a_table_of_classes(tmp_path):
    write_comparison(tmp_path / "page.html", [Run(f"run {i}", made_metrics()) for i in range(9)])
    text = (tmp_path / "page.html").read_text()
    assert "<td>wall</td>" in text
    assert "9 encoders or settings" in text


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: None, "does not exist"),
        (lambda folder: folder.write_text(""), "is not a folder"),
        (lambda folder: folder.mkdir(), "holds no metrics.json, so no finished evaluation"),
        (lambda folder: (folder.mkdir(), (folder / "metrics.jsonl").touch()), "is a training run; score it first"),
        (lambda folder: (folder.mkdir(), (folder / "metrics.json").write_text('{"a": 1}')), "is not the result of an"),
        (lambda folder: (folder.mkdir(), (folder / "metrics.json").write_text('{"task"')), "is not the result of an"),
    ],
)
def test_what_is_no_finished_evaluation_is_refused_in_one_line(tmp_path, capsys, make, said):
    make(tmp_path / "run")
    assert cli.run(["report", str(finish(tmp_path / "good")), str(tmp_path / "run"), f"--out={tmp_path / 'page'}"]) == 2
    error = capsys.readouterr().err
    assert f"{tmp_path / 'run'}" in error
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "page").exists()


def test_a_page_that_cannot_be_written_is_refused(tmp_path, capsys):
    assert cli.run(["report", str(finish(tmp_path / "good")), f"--out={tmp_path}"]) == 2
    assert f"--out={tmp_path} cannot be written" in capsys.readouterr().err


def test_beside_a_decoder_only_settings_that_both_have_are_compared(tmp_path):
    shared = {"seed": 0, "input_size": 96}
    finish(tmp_path / "nn", config={**shared, "retrieval.neighbours": 30})
    decoder = {"name": "linear", "iterations": 200, "train_encoder": True}
    finish(tmp_path / "head", config={**shared, "input_size": 64, "batch_size": 16}, decoder=decoder)
    page = tmp_path / "page.html"
    write_comparison(page, read_runs([tmp_path / "nn", tmp_path / "head"]))
    text = page.read_text()
    differs = text.partition("What differs")[2].partition("</section>")[0]
    assert "Dense nearest-neighbour retrieval and trained decoders" in text
    assert all(said in differs for said in ("decoder linear, 200 steps, trained", "input_size"))
    assert not any(key in differs for key in ("retrieval.neighbours", "batch_size"))
