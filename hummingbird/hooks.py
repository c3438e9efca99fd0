"""What a pretraining run does beside training: retrieval evaluation every n steps."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import numpy as np

from hummingbird import config as configs
from hummingbird.encoder import Encoder
from hummingbird.models.pretrainer import Pretrainer, patch_features
from hummingbird.train import Hook
from hummingbird.train_step import TrainState


def build_hooks(config: Any, workdir: str) -> tuple[Hook, ...]:
    """The hooks that a pretraining config asks for."""
    return (build_online_eval(config),) if config.online_eval.every else ()


@dataclasses.dataclass
class OnlineEval:
    """Scores the online encoder by retrieval on a small prompt (Sec. 4.3: for model selection)."""

    every: int
    evaluation: Any  # config of kind "evaluate"

    def __call__(self, step: int, state: TrainState, model: Pretrainer) -> dict[str, float] | None:
        if step % self.every:
            return None
        from hummingbird.data.sources import build_dense_source
        from hummingbird.retrieval.evaluate import measure

        variables = {"params": jax.tree.map(np.asarray, state.online)}  # the step donates its buffers
        vit, features = model.encoder, functools.partial(patch_features, model)
        encoder = Encoder(features, variables, vit.patch_size, vit.width, f"step {step}", f"step{step}")
        prompt, query = (build_dense_source(self.evaluation, split) for split in ("prompt", "query"))
        metrics = measure(encoder, self.evaluation, prompt, query)[0]["metrics"]
        return {f"eval_{name}": float(v) for name, v in metrics.items() if isinstance(v, int | float)}


def build_online_eval(config: Any) -> OnlineEval:
    """From the settings `online_eval.*`; without a config file the data set is the run's own."""
    online = config.online_eval
    images: dict[str, Any] = {"data.max_images": online.max_images, "report.enabled": False}
    if not online.config:
        images |= {"data.name": "scenes", "input_size": config.input_size}
    return OnlineEval(online.every, configs.resolve("evaluate", online.config or None, images))
