"""Scores the online encoder every n steps of a pretraining run, by retrieval or k-NN (Sec. 4.3: model selection)."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental import multihost_utils
from jaxtyping import Shaped

from hummingbird import config as configs
from hummingbird.config import EvaluateConfig, Overrides, PretrainConfig
from hummingbird.config.schema import Value
from hummingbird.data.image_sets import build_labelled
from hummingbird.data.pipeline import HostBatch
from hummingbird.data.sources import build_dense_source
from hummingbird.errors import UserError
from hummingbird.models.frozen import FrozenEncoder
from hummingbird.models.frozen_vit import FrozenViT
from hummingbird.models.pretrainer import Pretrainer
from hummingbird.models.vit import unstacked
from hummingbird.retrieval.evaluate import measure
from hummingbird.retrieval.recognition import landmarks
from hummingbird.retrieval.recognition import measure as classify_images
from hummingbird.retrieval.recognition.preflight import check_config
from hummingbird.tasks import Scores
from hummingbird.train_step import TrainState

# Scores of one k among several, which are not worth a curve each.
DETAIL = re.compile(r"_k\d+_")
Score: TypeAlias = Callable[[FrozenEncoder], Scores]


@dataclasses.dataclass
class OnlineEval:
    """A hook that evaluates the online encoder every n steps.

    Attributes:
      every: steps between evaluations.
      evaluation: config of the evaluation.
      score: evaluates an encoder.
      name: what the names of the scores begin with.
    """

    every: int
    evaluation: EvaluateConfig
    score: Score
    name: str = "eval"

    def __call__(self, step: int, state: TrainState, model: Pretrainer, batch: HostBatch) -> dict[str, float] | None:
        """Returns {"eval_miou": ..., ...} every `every` steps; see `train.Hook`."""
        if step % self.every:
            return None
        vit = model.encoder
        params = jax.tree.map(_to_host, state.online["encoder"])  # copied, since the next step donates its buffers
        backbone = FrozenViT(vit.arch, dtype=jnp.dtype(vit.dtype).name)
        encoder = FrozenEncoder(backbone, unstacked(params, vit.arch.depth), f"step {step}", f"step{step}")
        scores = {
            key: x for key, x in self.score(encoder).items() if isinstance(x, int | float) and not DETAIL.search(key)
        }
        return {f"{self.name}_{key}": float(value) for key, value in scores.items()}


def _to_host(x: Shaped[Array, " *shape"]) -> Shaped[np.ndarray, " *shape"]:
    """Copies an array to this host, also if other hosts hold parts of it."""
    if x.is_fully_replicated:  # each host has a copy
        return np.asarray(x.addressable_data(0))
    return np.asarray(x if x.is_fully_addressable else multihost_utils.process_allgather(x, tiled=True))


def build_online_eval(config: PretrainConfig) -> OnlineEval:
    """Builds the hook from the settings `online_eval.*` of a pretraining config.

    Without a config file, the data set is `scenes` at the size of the training views.
    """
    online = config.online_eval
    settings: dict[str, Value] = {}
    if not online.config:
        settings = {"data.name": "scenes", "input_size": config.input_size, "retrieval.augmentation_epochs": 0}
    settings["data.max_images"] = online.max_images
    return build_evaluator(online.config, online.every, settings, "eval")


def build_evaluators(config: PretrainConfig) -> list[OnlineEval]:
    """Builds a hook for each of the `evaluators` of a pretraining config.

    Raises:
      UserError: an entry that is not NAME=CONFIG@STEPS, a name that occurs twice, or a wrong setting.

    Example:
      >>> few = "data.scenes.prompt_images=30;data.scenes.query_images=10"
      >>> settings = configs.resolve("pretrain", overrides={"evaluators": (f"knn=evaluate/images:demo@100;{few}",)})
      >>> hook = build_evaluators(settings)[0]
      >>> hook.name, hook.every, hook.evaluation.data.task
      ('eval_knn', 100, 'classification')
    """
    hooks: list[OnlineEval] = []
    for text in config.evaluators:
        what, *overrides = text.split(";")
        found = re.fullmatch(r"([A-Za-z]\w*)=(.+)@([1-9]\d*)", what.strip())
        pairs = [(key.strip(), value.strip()) for key, equals, value in (x.partition("=") for x in overrides) if equals]
        if not found or len(pairs) < len(overrides):
            raise UserError(
                f"config key evaluators: {text!r} is not NAME=CONFIG@STEPS, perhaps with ;KEY=VALUE after it, such as "
                "knn=evaluate/images:demo@500"
            )
        name, path, every = found.groups()
        if f"eval_{name}" in (hook.name for hook in hooks):
            raise UserError(f"config key evaluators: two are called {name!r}; rename one")
        hooks.append(build_evaluator(path, int(every), pairs, f"eval_{name}"))
    return hooks


def build_evaluator(path: str, every: int, settings: Overrides, name: str) -> OnlineEval:
    """Builds a hook from the config of an evaluation, of dense labels or of whole images.

    Args:
      path: its config file; "": none.
      every: steps between evaluations.
      settings: changes to the config.
      name: what the names of the scores begin with.
    """
    evaluation = configs.resolve("evaluate", path or None, settings)
    # The encoder is another one each time, and step 1000 of another run yet another: nothing is kept.
    fixed: dict[str, Value] = {"report.enabled": False, "retrieval.bank": "", "images.cache": "", "progress": False}
    evaluation = configs.replace(evaluation, fixed)
    return OnlineEval(every, evaluation, BY_TASK.get(evaluation.data.task or "", dense)(evaluation), name)


def dense(evaluation: EvaluateConfig) -> Score:
    """Returns what scores an encoder by dense retrieval."""
    prompt, query = (build_dense_source(evaluation, split) for split in ("prompt", "query"))
    return lambda encoder: measure(encoder, evaluation, prompt, query)[0]["metrics"]


def classification(evaluation: EvaluateConfig) -> Score:
    """Returns what scores an encoder by its k-NN, or whatever classifiers the config names."""
    check_config(evaluation)
    splits = build_labelled(evaluation)
    return lambda encoder: classify_images(encoder, evaluation, splits)[0]["metrics"]


def image_retrieval(evaluation: EvaluateConfig) -> Score:
    """Returns what scores an encoder by image retrieval."""
    opened = landmarks.build_landmarks(evaluation.data)
    return lambda encoder: landmarks.measure(encoder, evaluation, opened)[0]["metrics"]


# {data.task: what scores an encoder}; all others are dense.
BY_TASK: dict[str, Callable[[EvaluateConfig], Score]] = {
    "classification": classification,
    "image_retrieval": image_retrieval,
}
