"""Config and sweep files are found by path or by name, and a missing one by neither."""

import pytest

from hummingbird import config
from hummingbird.config.names import canonical, find
from hummingbird.errors import UserError
from hummingbird.sweep.spec import load_sweep


@pytest.fixture(autouse=True)
def from_an_empty_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["evaluate/pascal_voc:few", "pascal_voc:few", "configs/evaluate/pascal_voc.py:few", "evaluate/pascal_voc.py:few"],
)
def test_a_shipped_config_has_one_meaning_in_every_spelling(name):
    resolved = config.resolve("evaluate", name)
    assert (resolved.data.name, resolved.retrieval.neighbours) == ("pascal_voc", 90)
    assert canonical(name, "evaluate") == "configs/evaluate/pascal_voc.py:few"


def test_a_shipped_sweep_is_found_by_name():
    assert len(load_sweep("sweeps/table5:demo").points) == len(load_sweep("table5").points) == 7


def test_a_file_wins_over_a_shipped_config(tmp_path):
    file = tmp_path / "configs" / "evaluate" / "pascal_voc.py"
    file.parent.mkdir(parents=True)
    file.write_text("def get_config():\n    return {'seed': 5}\n")
    assert config.resolve("evaluate", "configs/evaluate/pascal_voc.py").seed == 5
    assert config.resolve("evaluate", "evaluate/pascal_voc").seed == 0


@pytest.mark.parametrize(
    ("name", "folder", "said"),
    [
        ("evaluate/pascal_vok", "evaluate", "did you mean evaluate/pascal_voc?"),
        ("pascalvoc:few", "evaluate", "did you mean evaluate/pascal_voc?"),
        ("pretrain/densecl_imagenet", "pretrain", "pretrain/densecl_b16_imagenet"),
        ("mine.py", "evaluate", "shipped ones are evaluate/ade20k, evaluate/cityscapes"),
        ("sweeps/table6", "sweeps", "sweep sweeps/table6 does not exist"),
        ("../configs/evaluate/pascal_voc.py", "evaluate", "does not exist, neither as a file"),
        ("~nobody-of-this-name/mine.py", "evaluate", "does not exist, neither as a file"),
    ],
)
def test_an_unknown_name_lists_the_nearest_ones(name, folder, said):
    with pytest.raises(UserError) as caught:
        find(name, folder)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_holds_no_python_is_refused(tmp_path):
    (tmp_path / "settings.yaml").write_text("seed: 1\n")
    with pytest.raises(UserError, match=r"settings.yaml is not a Python file"):
        config.resolve("evaluate", "settings.yaml")
