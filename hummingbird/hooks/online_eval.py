"""Scores the online encoder by retrieval every n steps of a pretraining run (Sec. 4.3: for model selection)."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental import multihost_utils
from jaxtyping import Shaped

from hummingbird import config as configs
from hummingbird.config import EvaluateConfig, PretrainConfig
from hummingbird.config.schema import Value
from hummingbird.data.interface import DenseSource
from hummingbird.data.pipeline import HostBatch
from hummingbird.data.sources import build_dense_source
from hummingbird.models.frozen import FrozenEncoder
from hummingbird.models.frozen_vit import FrozenViT
from hummingbird.models.pretrainer import Pretrainer
from hummingbird.models.vit import unstacked
from hummingbird.retrieval.evaluate import measure
from hummingbird.train_step import TrainState


@dataclasses.dataclass
class OnlineEval:
    """A hook that evaluates the online encoder on a small prompt every n steps.

    Attributes:
      every: steps between evaluations.
      evaluation: config of the evaluation.
      prompt: annotated images to retrieve from.
      query: images to predict.
    """

    every: int
    evaluation: EvaluateConfig
    prompt: DenseSource
    query: DenseSource

    def __call__(self, step: int, state: TrainState, model: Pretrainer, batch: HostBatch) -> dict[str, float] | None:
        """Returns {"eval_miou": ..., ...} every `every` steps; see `train.Hook`."""
        if step % self.every:
            return None
        vit = model.encoder
        params = jax.tree.map(_to_host, state.online["encoder"])  # copied, since the next step donates its buffers
        backbone = FrozenViT(vit.arch, dtype=jnp.dtype(vit.dtype).name)
        encoder = FrozenEncoder(backbone, unstacked(params, vit.arch.depth), f"step {step}", f"step{step}")
        metrics = measure(encoder, self.evaluation, self.prompt, self.query)[0]["metrics"]
        return {f"eval_{name}": float(value) for name, value in metrics.items() if isinstance(value, int | float)}


def _to_host(x: Shaped[Array, " *shape"]) -> Shaped[np.ndarray, " *shape"]:
    """Copies an array to this host, also if other hosts hold parts of it."""
    return np.asarray(x if x.is_fully_addressable else multihost_utils.process_allgather(x, tiled=True))


def build_online_eval(config: PretrainConfig) -> OnlineEval:
    """Builds the hook from the settings `online_eval.*` of a pretraining config.

    Without a config file, the data set is `scenes` at the size of the training views.
    """
    online = config.online_eval
    settings: dict[str, Value] = {"data.max_images": online.max_images, "report.enabled": False}
    settings["retrieval.bank"] = ""  # the encoder is another one each time, and step 1000 of another run yet another
    if not online.config:
        settings |= {"data.name": "scenes", "input_size": config.input_size, "retrieval.augmentation_epochs": 0}
    evaluation = configs.resolve("evaluate", online.config or None, settings)
    prompt, query = (build_dense_source(evaluation, split) for split in ("prompt", "query"))
    return OnlineEval(online.every, evaluation, prompt, query)
