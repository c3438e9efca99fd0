"""The notebooks run from top to bottom, and are stored without what they printed."""

import re

import nbclient
import nbformat
import pytest

from tests.test_imports import ROOT

NOTEBOOKS = sorted((ROOT / "scripts" / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert not [cell.id for cell in code if cell.outputs or cell.execution_count]


def execute(name, monkeypatch):
    """Executes a notebook; returns how many pictures it shows, and what it prints."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the kernel draws into the notebook
    notebook = nbformat.read(ROOT / f"scripts/notebooks/{name}.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute(cwd=str(ROOT / "scripts/notebooks"))
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    images = sum("image/png" in output.get("data", {}) for output in outputs)
    return images, "".join(output.get("text", "") for output in outputs if output.get("name") == "stdout")


@pytest.mark.slow
@pytest.mark.process
def test_the_quickstart_runs_and_scores_two_encoders(monkeypatch):
    images, printed = execute("quickstart", monkeypatch)
    assert images
    assert re.search(r"mIoU \d+\.\d, pixel accuracy \d+\.\d\nfiles: metrics.json, report.html, samples.npz", printed)
    assert len(re.findall(r"\d neighbours: \d+\.\d mIoU", printed)) == 3


@pytest.mark.slow
@pytest.mark.process
def test_two_annotated_images_segment_the_rest_and_explain_a_pixel(monkeypatch):
    images, printed = execute("incontext", monkeypatch)
    assert images == 2
    assert re.search(r"weight 0\.\d\d, similarity \d\.\d\d, image [12]: \w+", printed)
    assert "answers as before: True" in printed
