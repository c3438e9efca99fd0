"""The result of a trained decoder: the content of its metrics.json, with the keys of an evaluation by retrieval."""

from __future__ import annotations

import json
import os

from etils import epath

from hummingbird import config as configs
from hummingbird.config.finetune import FinetuneConfig
from hummingbird.data.interface import DenseSource
from hummingbird.decoders.host import HostBackbone
from hummingbird.decoders.optimizer import warmup_steps
from hummingbird.decoders.score import Scoring
from hummingbird.models.frozen import FrozenEncoder
from hummingbird.retrieval.results import Result, describe_encoder, peak_memory
from hummingbird.run.files import Json, versions
from hummingbird.tasks import Scores


def describe(
    config: FinetuneConfig,
    encoder: FrozenEncoder,
    sources: tuple[DenseSource, DenseSource],
    scoring: Scoring,
    scores: Scores,
    images: int,
    steps: int,
) -> Result:
    """Returns the content of metrics.json; its "seconds" are left to the caller.

    Args:
      config: of the run.
      encoder: as it was before training.
      sources: images that were trained on and predicted.
      scoring: how they were predicted.
      scores: by key.
      images: number of images that were trained on.
      steps: optimiser steps taken.
    """
    prompt, query = sources
    task, data = scoring.task, config.data
    compared = f"{scoring.metric_size}x{scoring.metric_size}" if scoring.metric_size else "original"
    return {
        "task": task.kind,
        "dataset": data.name,
        "data": {
            "root": os.path.basename(data.root.rstrip("/")),
            "prompt": prompt.fingerprint,
            "query": query.fingerprint,
        },
        "encoder": describe_encoder(
            encoder.backbone.encoder if isinstance(encoder.backbone, HostBackbone) else encoder, encoder.dim
        ),
        "metrics": scores,
        "decoder": describe_decoder(config, images, steps),
        "protocol": {
            "task": task.kind,
            "metric_resolution": compared,
            **scoring.inference.choices,
            "training_images": images,
            "fraction": data.fraction,
            "seed": config.seed,
            **task.choices,
        },
        "queries": {"images": len(scoring.images)},
        "seconds": {},
        "peak_memory_bytes": peak_memory(),
        "warnings": [],
        "versions": versions(),
        "config": {key: list(x) if isinstance(x, tuple) else x for key, x in configs.to_flat(config).items()},
    }


def seconds_of_steps(folder: epath.Path) -> dict[str, float]:
    """Returns {"steps": seconds} of training as a run's metrics.jsonl has it: reading, encoding and stepping.

    One-off costs such as compiling are left out: the first step counts as the average of the others. The time of a run
    with a single step is unknown.
    """
    path = folder / "metrics.jsonl"
    lines: list[dict[str, float]] = (
        [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    )
    steps = [0, *(int(line["step"]) for line in lines)]
    known = [
        (last - first, line["seconds_per_step"])
        for first, last, line in zip(steps, steps[1:], lines, strict=False)
        if "seconds_per_step" in line
    ]
    counted = sum(count for count, _ in known)
    return {"steps": steps[-1] * sum(count * seconds for count, seconds in known) / counted} if counted else {}


def describe_decoder(config: FinetuneConfig, images: int, steps: int) -> dict[str, Json]:
    """Returns what metrics.json says about a decoder."""
    decoder, optimizer = config.decoder, config.optimizer
    return {
        "name": decoder.name,
        "train_encoder": decoder.train_encoder,
        "preset": decoder.preset,
        "iterations": steps,
        "batch": config.batch_size,
        "epochs": round(steps * config.batch_size / images, 3),
        "lr": optimizer.learning_rate,
        "weight_decay": optimizer.weight_decay,
        "layer_decay": optimizer.layer_decay,
        "warmup": warmup_steps(optimizer, steps),
        "cache_features": decoder.cache_features,
        "selected_on": "nothing: one run, scored after its last step",
        "held_out": config.data.held_out,
    }
