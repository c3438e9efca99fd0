"""Scores the online encoder by retrieval every n steps of a pretraining run."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from hummingbird import config as configs
from hummingbird.config import PretrainConfig
from hummingbird.data.interface import DenseSource
from hummingbird.data.sources import build_dense_source
from hummingbird.models.frozen import FrozenEncoder
from hummingbird.models.pretrainer import Pretrainer, patch_features
from hummingbird.retrieval.evaluate import measure
from hummingbird.train_step import TrainState


@dataclasses.dataclass
class OnlineEval:
    """Scores the online encoder by retrieval on a small prompt (Sec. 4.3: for model selection)."""

    every: int
    evaluation: Any  # config of kind "evaluate"
    prompt: DenseSource
    query: DenseSource
    features: Any = None  # one function for all steps, so that it is compiled once

    def __call__(
        self, step: int, state: TrainState, model: Pretrainer, batch: Mapping[str, np.ndarray]
    ) -> dict[str, float] | None:
        """The scores when due; see `train.Hook`."""
        if step % self.every:
            return None
        if self.features is None:
            self.features = functools.partial(patch_features, model)
        variables = {"params": jax.tree.map(_whole, state.online)}  # copied: the step donates its buffers
        vit = model.encoder
        encoder = FrozenEncoder(self.features, variables, vit.patch_size, vit.width, f"step {step}", f"step{step}")
        metrics = measure(encoder, self.evaluation, self.prompt, self.query)[0]["metrics"]
        return {f"eval_{name}": float(v) for name, v in metrics.items() if isinstance(v, int | float)}


def _whole(x: jax.Array) -> np.ndarray:
    """The array on this host, also where other hosts hold parts of it."""
    if not x.is_fully_addressable:
        return np.asarray(multihost_utils.process_allgather(x, tiled=True))
    return np.asarray(x)


def build_online_eval(config: PretrainConfig) -> OnlineEval:
    """From the settings `online_eval.*`; without a config file, `scenes` at the size of the training views."""
    online = config.online_eval
    settings: dict[str, Any] = {"data.max_images": online.max_images, "report.enabled": False}
    if not online.config:
        settings |= {"data.name": "scenes", "input_size": config.input_size, "retrieval.augmentation_epochs": 0}
    evaluation = configs.resolve("evaluate", online.config or None, settings)
    prompt, query = (build_dense_source(evaluation, split) for split in ("prompt", "query"))
    return OnlineEval(online.every, evaluation, prompt, query)
