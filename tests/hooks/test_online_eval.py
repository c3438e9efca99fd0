"""Retrieval evaluation during a pretraining run."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from hummingbird.errors import UserError
from hummingbird.hooks.online_eval import build_evaluators, build_online_eval
from tests import tiny


@pytest.mark.long
def test_the_encoder_is_compiled_once(state, model, batch, caplog):
    config = tiny.tiny_config(**{"online_eval.every": 2, "online_eval.max_images": 4, "data.scenes.size": 32})
    # One head, as in no other test, so that the first evaluation has something to compile.
    vit = model.encoder
    model = model.clone(encoder=vit.clone(arch=dataclasses.replace(vit.arch, heads=1)))
    hook = build_online_eval(config)
    vit = jax.jit(model.encoder.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
    compiled, scores = [], []
    for step, scale in ((2, 1.0), (4, 3.0)):
        caplog.clear()
        state = state.replace(online={"encoder": jax.tree.map(lambda x, scale=scale: scale * x + 0.01, vit)})
        with jax.log_compiles():
            scores.append(hook(step, state, model, batch))
        compiled.append(sum("Compiling" in record.getMessage() for record in caplog.records))
    assert compiled[0] > 0 == compiled[1]
    assert scores[0] != scores[1]  # the parameters of each step are used
    assert hook(5, state, model, batch) is None


def test_banks_of_an_encoder_in_training_are_not_kept(tmp_path):
    """Step 1000 of two runs has one name."""
    text = 'def get_config(v=""):\n    return {"data": {"name": "scenes"}, "retrieval": {"bank": "banks/mine"}}\n'
    (tmp_path / "evaluation.py").write_text(text)
    config = tiny.tiny_config(**{"online_eval.every": 2, "online_eval.config": str(tmp_path / "evaluation.py")})
    assert build_online_eval(config).evaluation.retrieval.bank == ""


@pytest.mark.long
def test_several_evaluators_have_their_own_steps_and_names(state, model, batch):
    few = "data.scenes.prompt_images=40;data.scenes.query_images=10;data.scenes.size=32;input_size=32"
    config = tiny.tiny_config(
        **{"evaluators": (f"knn=evaluate/images:demo@2;{few}", f"seg=evaluate/demo@3;{few};data.max_images=4")}
    )
    knn, seg = build_evaluators(config)
    vit = tiny.drawn(jax.eval_shape(model.encoder.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"])
    state = state.replace(online={"encoder": jax.tree.map(jnp.asarray, vit)})
    scores = knn(2, state, model, batch)
    assert {"eval_knn_accuracy", "eval_knn_weighted_knn_top1"} <= scores.keys()
    assert not [name for name in scores if "_k10_" in name]
    assert knn(3, state, model, batch) is None
    assert "eval_seg_miou" in seg(3, state, model, batch)


@pytest.mark.parametrize(
    ("evaluators", "message"),
    [
        (("knn",), "'knn' is not NAME=CONFIG@STEPS"),
        (("knn=evaluate/images:demo@0",), "is not NAME=CONFIG@STEPS"),
        (("knn=evaluate/images:demo@5;seed",), "is not NAME=CONFIG@STEPS"),
        (("a=evaluate/images:demo@5", "a=evaluate/demo@5"), "two are called 'a'"),
        (("a=evaluate/images:mnist@5",), "has no variant 'mnist'"),
        (("a=evaluate/images:demo@5;images.shot=3",), "unknown config key images.shot"),
    ],
)
def test_an_evaluator_that_cannot_work_is_refused_before_training(evaluators, message):
    with pytest.raises(UserError, match=message):
        build_evaluators(tiny.tiny_config(evaluators=evaluators))
