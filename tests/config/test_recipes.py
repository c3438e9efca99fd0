"""Recipes of other papers' objectives: their settings are those of the tables in their docstrings, and they build."""

import ast
import re
from pathlib import Path

import jax
import pytest

from hummingbird import config, train
from hummingbird.config.listing import show
from hummingbird.objectives.optimizer import peak_learning_rate
from hummingbird.objectives.schedules import build_schedules

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


# Hummingbird's own recipes: App. B and C.2, and Table 8 for BYOL's augmentation.
PAPER = {
    "batch_size": 4096,
    "optimizer.learning_rate": 1e-3,
    "optimizer.final_learning_rate": 0.0,
    "optimizer.weight_decay": 0.1,
    "optimizer.clip_norm": 1.0,
    "ema_decay": 0.99,
    "contrastive.temperature": 0.1,
    "context.bank_length": 153_600,
    "context.weight": 0.2,
    "context.hidden_dim": 4096,
    "pooling": "qkv",
    "input_size": 224,
    "augment.crop_area": (0.08, 1.0),
    "augment.crop_aspect": (3 / 4, 4 / 3),
    "augment.flip_probability": 0.5,
    "augment.jitter_probability": 0.8,
    "augment.grey_probability": 0.2,
    "augment.brightness": 0.4,
    "augment.contrast": 0.4,
    "augment.saturation": 0.2,
    "augment.hue": 0.1,
    "augment.blur_sigma": (0.1, 2.0),
    "augment.blur_probability": (1.0, 0.1),
    "augment.solarise_probability": (0.0, 0.2),
}


@pytest.mark.parametrize(
    ("recipe", "epochs", "supervised"),
    [
        ("vit_b16_imagenet", 300, 0.05),
        ("vit_l16_imagenet", 300, 0.05),
        ("vit_b16_imagenet22k", 100, 0.25),
        ("vit_l16_imagenet22k", 100, 0.05),
    ],
)
def test_hummingbird_has_the_settings_of_its_paper(recipe, epochs, supervised):
    values = config.to_flat(resolve(FOLDER / f"{recipe}.py"))
    assert {key: values[key] for key in PAPER} == PAPER
    assert (values["epochs"], values["encoder.name"]) == (epochs, recipe.rpartition("_")[0])
    assert resolve(FOLDER / f"{recipe}.py", ":supervised").supervised.weight == supervised


# Rows of Table 1 that train these objectives: data by epochs and classes, encoder, VOC mIoU, ADE20K mIoU, NYUv2 RMSE.
TABLE_1 = [
    ("supervised", "", "vit_b16", 300, "35.1 | 13.8 | .913"),
    ("supervised", ":in22k", "vit_b16", 90, "63.5 | 28.0 | 1.07"),
    ("supervised", ":l16", "vit_l16", 90, "65.8 | 26.1 | .860"),
    ("mae", "", "vit_b16", 1600, "6.6 | 3.3 | .981"),
    ("mae", ":in22k", "vit_b16", 90, "9.8 | 4.2 | .968"),
    ("mae", ":l16", "vit_l16", 1600, "8.0 | 3.6 | .934"),
    ("loca", "", "vit_b16", 600, "57.5 | 18.5 | .880"),
    ("loca", ":in22k", "vit_b16", 100, "56.4 | 16.8 | .829"),
    ("loca", ":l16", "vit_l16", 100, "59.5 | 17.6 | .912"),
]


@pytest.mark.parametrize(("name", "variant", "encoder", "epochs", "scores"), TABLE_1)
def test_the_other_rows_of_table_1_have_variants(name, variant, encoder, epochs, scores):
    path = FOLDER / f"{name}_b16_imagenet.py"
    settings = resolve(path, variant)
    assert (settings.objective.name, settings.encoder.name, settings.epochs) == (name, encoder, epochs)
    first = f"| `{variant}` |" if variant else "| (none) |"
    (row,) = (line for line in path.read_text().splitlines() if line.startswith(first))
    assert f"ViT-{encoder[4].upper()}/16" in row
    assert row.endswith(f"| {scores} |")
    if name == "supervised":
        assert settings.supervised.classes == (21_841 if variant else 1000)


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


MACHINES = FOLDER / "machines.py"
VARIANTS_BY_MACHINE = re.findall(r"`(\w+)`", ast.get_docstring(ast.parse(MACHINES.read_text())).partition("\nBatch")[0])


def test_every_machine_divides_its_batch_and_bank():
    machines = [name for name in VARIANTS_BY_MACHINE if name not in ("s16", "b16")]
    assert len(machines) == 13
    for machine in machines:
        for encoder in ("s16", "b16"):
            settings = resolve(MACHINES, f":{encoder}_{machine}")
            leading, _, number = machine.rpartition("_")
            devices = int(number) if leading else int(machine.partition("x")[0]) if "x" in machine else 1
            part, left = divmod(settings.batch_size, settings.micro_batches * devices)
            assert (left, settings.context.bank_length % settings.batch_size) in ((0, 0), (0, 2048)), machine
            assert 16 <= part <= (128 if encoder == "s16" else 64), machine


def test_learning_rate_and_ema_decay_follow_the_batch_by_one_rule():
    alone, eight = (resolve(MACHINES, f":b16_{machine}") for machine in ("24gb", "8x24gb"))
    assert (alone.batch_size, eight.batch_size) == (1024, 4096)
    assert peak_learning_rate(alone.optimizer, alone.batch_size) == pytest.approx(2.5e-4)
    assert peak_learning_rate(eight.optimizer, eight.batch_size) == pytest.approx(1e-3)
    decays = [build_schedules(settings, 1000, 100.0)["ema_decay"] for settings in (alone, eight)]
    assert decays == pytest.approx([0.99**0.25, 0.99])
