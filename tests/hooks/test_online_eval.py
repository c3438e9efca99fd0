"""Retrieval evaluation during a pretraining run."""

import dataclasses

import jax
import jax.numpy as jnp

from hummingbird.hooks.online_eval import build_online_eval
from tests import tiny


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
