"""The pages under .github/ and the READMEs: their links lead somewhere, their lists are true, the workflows parse."""

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.test_imports import MODULES, tracked

ROOT = Path(__file__).resolve().parent.parent
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
ACTIONS = {
    "actions/checkout",
    "actions/setup-python",
    "actions/upload-artifact",
    "actions/upload-pages-artifact",
    "actions/deploy-pages",
}


def pages() -> list[Path]:
    return tracked("*.md")


def links(text: str) -> list[str]:
    """The relative targets of a Markdown page's links and pictures, without anchors."""
    found = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"(?:src|srcset|href)=\"([^\"]+)\"", text)
    return [target.partition("#")[0] for target in found if not re.match(r"[a-z]+:|#", target)]


def test_links_are_found_in_every_form():
    text = '[a](b.md#c) ![d](e.png) <img src="f.svg"> [g](https://h) [i](#j)'
    assert links(text) == ["b.md", "e.png", "f.svg"]


def test_relative_links_lead_to_files_of_the_checkout():
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages()
        for target in links(page.read_text())
        if not (page.parent / target).exists()
    ]
    assert not broken


def test_contributing_stays_a_page():
    assert len((GITHUB / "CONTRIBUTING.md").read_text().splitlines()) <= 45


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_is_valid_and_uses_known_actions(path):
    workflow = yaml.safe_load(path.read_text())
    assert {"name", "permissions", "jobs"} <= set(workflow)
    assert workflow.get("on", workflow.get(True)), "YAML 1.1 reads the key `on` as true"
    for name, job in workflow["jobs"].items():
        assert job["runs-on"], name
        steps = job["steps"]
        used = [step["uses"].split("@") for step in steps if "uses" in step]
        assert {action for action, _ in used} <= ACTIONS, name
        assert all(re.fullmatch(r"v\d+", version) for _, version in used), "pinned to a major version"
        assert all(("uses" in step) != ("run" in step) for step in steps), name
        for script in re.findall(r"scripts/\w+", " ".join(step.get("run", "") for step in steps)):
            assert (ROOT / script).exists(), script


def test_issue_forms_parse_and_ask_for_something():
    for path in sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml")):
        form = yaml.safe_load(path.read_text())
        if path.name == "config.yml":
            continue
        assert {"name", "description", "body"} <= set(form), path.name
        identifiers = [item["id"] for item in form["body"] if item["type"] != "markdown"]
        assert len(set(identifiers)) == len(identifiers), path.name
        assert any(item.get("validations", {}).get("required") for item in form["body"]), path.name


def test_pre_commit_hooks_are_local_and_of_the_tested_versions():
    tested = (ROOT / "scripts" / "constraints.txt").read_text().lower().replace("_", "-").splitlines()
    settings = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [repository["repo"] for repository in settings["repos"]] == ["local"]
    hooks = settings["repos"][0]["hooks"]
    assert {"ruff-format", "ruff-check", "shellcheck"} <= {hook["id"] for hook in hooks}
    pinned = [package for hook in hooks for package in hook.get("additional_dependencies", ())]
    assert not [package for package in pinned if package not in tested]


@pytest.mark.parity  # needs PyTorch
def test_the_readmes_example_scores_a_pytorch_model(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")

    class Tokens(torch.nn.Module):
        """Stands for DINO: a [CLS] token, then the mean colour of each patch."""

        def get_intermediate_layers(self, x):
            patches = torch.nn.functional.avg_pool2d(x, 16).flatten(2).transpose(1, 2)
            return [torch.cat([patches[:, :1], patches], 1)]

    example = (ROOT / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    monkeypatch.setattr(torch.hub, "load", lambda *names: Tokens())
    monkeypatch.chdir(tmp_path)
    voc = '"pascal_voc", root="VOCdevkit/VOC2012"'
    scenes = '"data.scenes": {"prompt_images": 8, "query_images": 4}'
    small = f'"scenes", overrides={{{scenes}}}, input_size=96, progress=False'
    assert voc in example
    exec(compile(example.replace(voc, small), "README.md", "exec"), {})
    assert 0 < json.loads((tmp_path / "runs/dino-voc/metrics.json").read_text())["metrics"]["miou"] < 100


def test_workflows_give_scripts_test_options_that_it_or_pytest_takes():
    known = set(re.findall(r"--[a-z]+", (ROOT / "scripts" / "test").read_text()))
    known |= set(re.findall(r'addoption\("(--\w+)"', (ROOT / "tests" / "conftest.py").read_text()))
    used = {option for path in WORKFLOWS for option in re.findall(r"scripts/test (--\w+)", path.read_text())}
    assert used == {"--fast", "--all", "--shard"}
    assert used <= known


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # names that are imported for type checkers alone
def test_api_pages_are_built_for_every_module(tmp_path):
    import pdoc

    pdoc.render.configure(docformat="google", math=True)
    names = sorted(set(MODULES) - {"hummingbird.__main__"})
    pdoc.pdoc(*names, output_directory=tmp_path)
    assert not [name for name in names if not (tmp_path / f"{name.replace('.', '/')}.html").exists()]
