"""Recipes of other papers' objectives: their settings are those of the tables in their docstrings, and they build."""

import ast
import re
from pathlib import Path

import jax
import pytest

from hummingbird import config, train
from hummingbird.config.listing import show

FOLDER = Path(__file__).parents[2] / "configs" / "pretrain"
RECIPES = [path for path in sorted(FOLDER.glob("*.py")) if "| setting | value | source |" in path.read_text()]
VARIANTS = ("", ":context", ":in22k", ":l16", ":small", ":tiny")


def cited(path):
    """{key: value as text} of the first table of a recipe's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text()))
    table = text[text.index("| setting | value | source |") :].partition("\n\n")[0]
    return dict(re.findall(r"^\| `([\w.]+)` \| (.+?) \| .+ \|$", table, re.MULTILINE))


def resolve(path, variant="", **changes):
    return config.resolve("pretrain", f"{path}{variant}", changes)


def test_there_are_recipes():
    names = {path.stem.removesuffix("_b16_imagenet") for path in RECIPES}
    assert {"mocov3", "byol", "simclr", "simsiam", "densecl", "supervised"} <= names
    assert {"dino", "ibot", "dinov2", "mae", "maskfeat", "loca"} <= names


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_has_the_settings_of_the_table_that_it_cites(path):
    rows, settings = cited(path), config.declared("pretrain")
    assert len(rows) >= 8
    values = config.to_flat(resolve(path))
    for key, text in rows.items():
        assert values[key] == settings[key].check(key, settings[key].parse(key, text)), f"{key}: {show(values[key])}"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_peak_learning_rate_follows_the_batch(path):
    optimizer = resolve(path).optimizer
    given = ("dinov2", "loca")  # their papers name the rate itself
    assert optimizer.reference_batch in ((None,) if path.stem.startswith(given) else (256, 512))


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_variant_builds_its_program_for_many_devices(path, variant):
    text = path.read_text()
    if f"`{variant}`" not in text and variant:
        pytest.skip(f"has no {variant}")
    settings = resolve(path, variant, **{"encoder.depth": 1})  # faster; no layer has sizes of its own
    devices = jax.devices()[: 1 if variant == ":small" else 8]
    program = train.build_program(settings, 1_281_167, devices)
    if variant == ":context":
        assert program.state.bank.keys.size
        assert "value_head" in program.state.online
        assert "pool" in program.state.online
    elif settings.total_steps is None:
        assert program.total_steps == -(-settings.epochs * 1_281_167 // settings.batch_size)
