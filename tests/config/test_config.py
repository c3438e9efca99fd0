"""Settings are declared once and checked early, with errors that name the fix."""

import pytest

from hummingbird import config
from hummingbird.config.listing import show
from hummingbird.config.schema import Setting
from hummingbird.errors import UserError


def refusal(*overrides, kind="pretrain", path=None):
    with pytest.raises(UserError) as caught:
        config.resolve(kind, path, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["pretrain", "evaluate"])
def test_every_setting_has_a_valid_default_and_a_help_text(kind):
    for key, setting in config.declared(kind).items():
        assert isinstance(setting, Setting), key
        assert setting.check(key, setting.default) == setting.default
        assert len(setting.help) > 4, key


def test_overrides_win_over_the_file_which_wins_over_defaults(tmp_path):
    file = tmp_path / "a.py"
    file.write_text("def get_config(variant=''):\n    return {'batch_size': 64, 'context': {'bank_length': 128}}\n")
    resolved = config.resolve("pretrain", str(file), [("batch_size", "32"), ("encoder.name", "vit_s8")])
    assert (resolved.batch_size, resolved.context.bank_length, resolved.encoder.name) == (32, 128, "vit_s8")
    assert resolved.ema_decay == 0.99


def test_unknown_keys_name_the_nearest_valid_ones():
    assert "optimizer.learning_rate" in refusal(("learning_rate", "1"))
    assert "context.bank_length" in refusal(("context.bank_lenght", "1"))
    assert "optimizer.b1" in refusal(("optimizer", "1"))


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("optimizer.learning_rate", "nan"),
        ("optimizer.learning_rate", "-1"),
        ("optimizer.learning_rate", "fast"),
        ("batch_size", "1.5"),
        ("batch_size", "none"),
        ("pooling", "max"),
        ("encoder.remat", "maybe"),
        ("ema_decay", "1.1"),
        ("augment.crop_area", "0.5,inf"),
    ],
)
def test_wrong_types_and_ranges_are_refused_by_name(key, text):
    assert key in refusal((key, text))


def test_numbers_may_have_underscores_and_exponents():
    resolved = config.resolve("pretrain", None, [("total_steps", "1e5"), ("context.bank_length", "40_960")])
    assert (resolved.total_steps, resolved.context.bank_length) == (100_000, 40_960)
    assert config.resolve("pretrain", None, [("augment.crop_area", "(0.2, 1)")]).augment.crop_area == (0.2, 1.0)
    assert config.resolve("pretrain", None, [("total_steps", "none")]).total_steps is None


def test_a_tilde_in_a_path_stands_for_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    resolved = config.resolve(
        "evaluate", None, [("retrieval.bank", "~/bank"), ("data.root", "~"), ("data.names", "x~y")]
    )
    assert (resolved.retrieval.bank, resolved.data.root) == (f"{tmp_path}/bank", str(tmp_path))
    assert resolved.data.names == "x~y"
    assert config.resolve("pretrain", overrides={"init_from": "~/run"}).init_from == f"{tmp_path}/run"
    assert config.of_run({"data.root": "gs://b/~"}).data.root == "gs://b/~"


def test_settings_can_be_listed_by_group():
    listing = config.list_settings(config.declared("evaluate"))
    assert all(f"\n{key}=" in f"\n{listing}" for key in config.declared("evaluate"))
    assert "retrieval.temperature=0.02  (a number > 0)\n    beta of Eq. 1" in listing
    group = config.list_settings(config.declared("pretrain"), "data.scenes")
    assert [line.partition("=")[0] for line in group.splitlines() if line[0] != " "] == [
        f"data.scenes.{name}" for name in ("size", "seed", "labels", "pretrain_images", "prompt_images", "query_images")
    ]
    assert "from 16 to 1024" in group
    with pytest.raises(UserError, match="did you mean"):
        config.list_settings(config.declared("pretrain"), "data.scene")


def test_listed_defaults_can_be_typed_as_they_are_shown():
    for kind in ("pretrain", "evaluate"):
        for key, setting in config.declared(kind).items():
            assert setting.check(key, setting.parse(key, show(setting.default))) == setting.default, key


def test_a_bank_shorter_than_the_batch_is_refused():
    assert "context.bank_length" in refusal(("batch_size", "64"), ("context.bank_length", "32"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1", "get_config"),
        ("def get_config(variant=''):\n    return {'': {}}[variant]", "variant"),
        ("def get_config():\n    return {}", "takes no variant"),
        ("import nothing_of_that_name", "nothing_of_that_name"),
        ("def get_config(variant=''):\n    return None", "NoneType"),
        ("def get_config(variant=''):\n    return {'batch_size': int('x')}", "ValueError"),
        ("def get_config(variant=''):\n    return {'batch_size': 'many'}", "batch_size"),
    ],
)
def test_a_broken_config_file_is_named(tmp_path, text, said):
    file = tmp_path / "broken.py"
    file.write_text(text)
    assert said in refusal(path=f"{file}:other" if "variant" in said else str(file))


def test_a_config_file_may_declare_a_dataclass(tmp_path):
    """With postponed annotations, `dataclass` looks its module up in `sys.modules`."""
    path = tmp_path / "mine.py"
    path.write_text(
        "from __future__ import annotations\n"
        "import dataclasses\n"
        "@dataclasses.dataclass\n"
        "class Data:\n"
        '    name: str = "scenes"\n'
        "def get_config(variant=''):\n"
        '    return {"input_size": 64, "data": dataclasses.asdict(Data())}\n'
    )
    assert config.resolve("evaluate", str(path)).input_size == 64


def test_supervision_without_a_bank_is_refused():
    assert "supervised.weight" in refusal(("supervised.weight", "0.05"), ("context.bank_length", "0"))


def test_the_smallest_depth_is_above_0_which_marks_invalid_pixels():
    assert "depth.low" in refusal(("depth.low", "0"), kind="evaluate")


def test_a_missing_config_file_is_named():
    assert "nowhere.py" in refusal(path="nowhere.py")


def test_a_config_cannot_be_changed_by_a_typo():
    with pytest.raises((AttributeError, KeyError)):
        config.resolve("pretrain").bach_size = 3


def test_every_shipped_config_resolves(repository):
    for kind in ("pretrain", "evaluate"):
        for file in (repository / "configs" / kind).glob("*.py"):
            config.resolve(kind, str(file))
            assert config.load_file(str(file), kind) is not None
