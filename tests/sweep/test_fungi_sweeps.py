"""The sweeps of FUNGI's tables of images, texts and sounds: what they schedule, and every command of their demos."""

import json
import pickle
from pathlib import Path

import pytest

import hummingbird as hb
from hummingbird.sweep import fungi
from hummingbird.sweep.collect import collect
from hummingbird.sweep.expand import build_schedule
from hummingbird.sweep.folder import DONE, SweepFolder
from hummingbird.sweep.spec import load_sweep
from tests.data.test_image_sets import picture
from tests.data.test_sounds import write_sounds
from tests.data.test_texts import write_texts

SWEEPS = Path(__file__).parents[2] / "configs" / "sweeps"
IMAGE_LEVEL = ("fungi_knn", "fungi_linear", "fungi_seeds", "fungi_pca", "fungi_retrieval", "fungi_ablations")
SEQUENCES = {"fungi_text": write_texts, "fungi_audio": write_sounds}


def schedule(name, variant="", folder="DIR", checkpoint="random:vit_ti8", overrides=()):
    sweep = load_sweep(f"{SWEEPS / name}.py:{variant}" if variant else f"{SWEEPS / name}.py")
    return build_schedule(sweep, None, overrides, sweep.checkpoint or checkpoint, folder)


@pytest.mark.long
def test_every_row_of_the_k_nn_tables_has_its_published_mean():
    for variant, encoders in (("", fungi.HUB), ("files", fungi.FILES)):
        made = schedule("fungi_knn", variant)
        assert {run.label for run in made.runs} == {name + suffix for name in encoders for suffix in fungi.GRADIENTS}
        assert all("mean.accuracy" in made.published[run.label] for run in made.runs)
        assert len(made.commands) == 11 * len(made.runs)
    assert set(schedule("fungi_knn").published) == set(schedule("fungi_linear").published)


def test_evaluations_with_the_same_features_share_a_cache():
    made = schedule("fungi_pca")
    assert len(made.jobs) == len(made.commands) // 2
    assert all(dict(command.overrides)["images.cache"] == "DIR/features" for command in made.commands.values())


def test_published_scores_are_averaged_as_measured_ones_are(tmp_path):
    made = schedule("fungi_seeds", folder=str(tmp_path))
    folder = SweepFolder(tmp_path)
    for number, (id, command) in enumerate(made.commands.items()):
        if made.runs[0].stages.get(command.stage) == id:
            folder.workdir(id).mkdir(parents=True)
            (folder.workdir(id) / "metrics.json").write_text(json.dumps({"metrics": {"accuracy": 10.0 * number}}))
            folder.set_status(id, DONE)
    row = next(row for row in collect(made, folder).rows if row.run == made.runs[0])
    accuracies = [value for name, value in row.metrics.items() if name != "mean.accuracy"]
    assert len(accuracies) == 8
    assert row.metrics["mean.accuracy"] == sum(accuracies) / 8


def test_texts_and_sounds_have_their_published_scores():
    for name, sets in (("fungi_text", 5), ("fungi_audio", 2)):
        made = schedule(name, checkpoint="SSAST-Base-Patch-400.pth")
        assert {run.label for run in made.runs} == set(made.published)
        assert all(len(scores) == 2 * sets for scores in made.published.values())
    shots = {c.stage: dict(c.overrides)["images.shots"] for c in schedule("fungi_text").commands.values()}
    assert shots == {"trec": "5", "banking77": "5", "sst": "5", "ag_news": "10", "tweet_eval": "5"}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*IMAGE_LEVEL, *SEQUENCES])
def test_every_command_of_a_demo_runs(name, tmp_path):
    if name == "fungi_retrieval":
        landmarks(tmp_path)
        roots = [(f"evaluate.{key}.data.root", str(tmp_path)) for key in ("oxford", "paris")]
    elif name in SEQUENCES:
        SEQUENCES[name](tmp_path)
        roots = [("data.root", str(tmp_path))]
    else:
        roots = []
    made = schedule(name, "demo", str(tmp_path / "sweep"), overrides=roots)
    headlines = []
    for command in made.commands.values():
        resolved = hb.config.resolve("evaluate", command.config, [*command.overrides, ("progress", "false")])
        result = hb.evaluate(command.checkpoint, resolved)
        headlines.append(result["metrics"].get("accuracy", result["metrics"].get("map_medium")))
    assert len(headlines) == len(made.commands)
    assert all(0 <= score <= 100 for score in headlines)


def landmarks(root):
    truth = {"bbx": [0, 0, 16, 16], "easy": [0, 1], "hard": [2], "junk": []}
    for name in ("roxford5k", "rparis6k"):
        content = {"imlist": list("abcdef"), "qimlist": ["q"], "gnd": [truth]}
        (root / f"gnd_{name}.pkl").write_bytes(pickle.dumps(content))
    for number, name in enumerate("abcdefq"):
        (root / f"{name}.png").write_bytes(picture(number, side=40))
