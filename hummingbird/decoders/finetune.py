"""Fits a decoder on annotated images and scores it: what `hummingbird finetune` runs, and `hb.decoders.fit`."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import dataclasses
import functools
import logging
import os
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath
from jax import Array
from jaxtyping import Shaped, UInt8

from hummingbird import config as configs
from hummingbird.config.finetune import FinetuneConfig
from hummingbird.config.schema import Value
from hummingbird.data.batches import Batches
from hummingbird.data.interface import DenseSource
from hummingbird.data.pair_batches import build_pair_batches
from hummingbird.data.window import squashed
from hummingbird.decoders.feature_cache import Cache, build_feature_batches
from hummingbird.decoders.inference import build_inference
from hummingbird.decoders.model import Encoded
from hummingbird.decoders.program import Program, build_program
from hummingbird.decoders.results import describe, seconds_of_steps
from hummingbird.decoders.score import Scoring, predict_image, samples_of, score
from hummingbird.decoders.setup import Setup, build_setup
from hummingbird.decoders.step import Batch, DecoderState
from hummingbird.decoders.trained import Decoder, encode_with
from hummingbird.devices import board
from hummingbird.devices import mesh as meshes
from hummingbird.encoder import Encoder
from hummingbird.errors import UserError
from hummingbird.models.params import Params, subtree
from hummingbird.retrieval.processes import first, together
from hummingbird.retrieval.progress import Clock
from hummingbird.retrieval.result_files import write_results
from hummingbird.retrieval.results import Result
from hummingbird.retrieval.selection import subset
from hummingbird.run import checkpoint
from hummingbird.run import workdir as workdirs
from hummingbird.train import loop
from hummingbird.train.loop import Run, Saving, Start

log = logging.getLogger(__name__)


class Fitted(NamedTuple):
    """A trained decoder and its scores.

    Attributes:
      decoder: images of the input size to outputs on the grid of the head.
      result: the content of metrics.json.
      scoring: how it was scored.
    """

    decoder: Decoder
    result: Result
    scoring: Scoring

    def predict(self, image: UInt8[np.ndarray, "H W 3"]) -> Shaped[np.ndarray, "H W *C"]:
        """Predicts the labels of an image of any size, as the query images were predicted."""
        return predict_image(self.decoder, image, self.scoring)


def finetune(
    config: FinetuneConfig,
    encoder: Encoder | str,
    workdir: str | os.PathLike[str],
    sources: tuple[DenseSource, DenseSource] | None = None,
    program: Program | None = None,
) -> Fitted:
    """Fits a decoder, resuming from the newest sound checkpoint in `workdir`, and scores it.

    Args:
      config: resolved config of kind "finetune".
      encoder: from `load_encoder`, what that takes, or any callable that `hb.evaluate` takes, which stays frozen.
      workdir: gets what a training run writes, and metrics.json and report.html as an evaluation.
      sources: images to train on and to predict; None: those that the config names.
      program: `build_program` for this config, encoder and data, so that several runs compile once; None: built here.

    Raises:
      UserError: data, labels, encoder or settings that do not fit; a workdir of another run or of another encoder.
      Preempted: SIGTERM arrived; the state is saved.
    """
    start_time, clock = time.time(), Clock()
    folder = epath.Path(workdir)
    if "://" in os.fspath(workdir):
        raise UserError(f"--workdir={workdir}: scores are written to local folders only; copy the results afterwards")
    if first():
        workdirs.check(folder, configs.to_flat(config), "finetune")
    with board.sharing_troubles(board.Board()):
        setup = build_setup(config, encoder, sources)
        check_origin(setup, folder)
        with clock("train"):
            decoder, steps = fit_decoder(setup, folder, start_time, program)
        clock.seconds |= seconds_of_steps(folder)
        return score_decoder(setup, decoder, steps, folder, clock, start_time)


def fit_decoder(
    setup: Setup, folder: epath.Path, start_time: float, program: Program | None = None
) -> tuple[Decoder, int]:
    """Takes all steps; returns the decoder and their number."""
    config, encoder = setup.config, setup.encoder
    program = program or build_program(
        config, encoder.backbone, encoder.params, setup.task, len(setup.images), values=setup.values
    )
    run = build_run(setup, program)
    state = loop.train(folder, run, lambda: resume_or_initialise(setup, folder, program, run.batches), start_time)
    return trained(setup, program, state), program.total_steps


def build_run(setup: Setup, program: Program) -> Run[DecoderState, Mapping[str, Any]]:
    """Builds what the loop needs to know."""
    config, model, place = setup.config, program.fit.model, functools.partial(meshes.to_global, program.mesh)
    frozen: Params = jax.device_put(setup.encoder.params, program.frozen_shardings) if program.frozen else {}

    def step(state: DecoderState, batch: Mapping[str, Any]) -> tuple[DecoderState, Mapping[str, Array]]:
        inputs = model.inputs(batch["image"]) if "image" in batch else Encoded(batch["maps"], batch["cls"])
        placed, labels = jax.tree.map(place, (inputs, batch["label"]))
        return program.step(frozen, state, Batch(placed, labels))

    return Run(
        step=step,
        batches=build_batches(setup, program),
        state=program.state,
        total_steps=program.total_steps,
        schedule=program.schedule,
        batch_size=config.batch_size,
        log_every=config.log_every,
        saving=Saving(config.checkpoint_every, config.keep_checkpoints, kind=checkpoint.DECODER),
        explain=functools.partial(explain, setup, program),
    )


def explain(setup: Setup, program: Program, images: Sequence[int]) -> str:
    """Names an image for which the encoder, as it was loaded, gives features that are not finite; "" without one."""
    encode, size = encode_with(program.fit.model, setup.encoder.params, 1), setup.config.input_size
    for item in (setup.prompt[index] for index in images):
        height, width = item["image"].shape[:2]
        encoded = encode(squashed(height, width, size, size).picture(item["image"])[None])
        if not all(np.isfinite(np.asarray(x)).all() for x in jax.tree.leaves(encoded)):
            return f"The features of encoder {setup.encoder.name} are not finite for image {item['name']}"
    return ""


def build_batches(setup: Setup, program: Program) -> Batches[Any]:
    """Builds the batches of this process: of crops or, with `decoder.cache_features`, of features."""
    config, host, hosts = setup.config, jax.process_index(), jax.process_count()
    if not config.decoder.cache_features:
        return build_pair_batches(config, setup.prompt, setup.images, setup.task, host, hosts)
    encode = encode_with(program.fit.model, setup.encoder.params, config.batch_size)
    cache = Cache(config, setup.prompt, setup.images, setup.task, encode)
    return build_feature_batches(config, setup.prompt, setup.images, cache, host, hosts)


def resume_or_initialise(
    setup: Setup, folder: epath.Path, program: Program, batches: Batches[Any]
) -> Start[DecoderState]:
    """Restores the newest sound checkpoint and the position in the data, or starts with a random head."""
    flat: dict[str, Value] = configs.to_flat(setup.config)
    resuming = loop.resumable(folder)
    if resuming:
        state, manifest = checkpoint.restore_newest(folder, program.state, program.shardings)
        batches.set_state(manifest["data"])
        log.info("resuming from step %d of %d", int(state.step), program.total_steps)
    else:
        state = program.init(setup.encoder.params)
    if first():
        workdirs.claim(folder, flat)
    return Start(state, resuming, flat, setup.origin)


def check_origin(setup: Setup, folder: epath.Path) -> None:
    """Raises UserError if the decoder in a workdir is on another encoder."""
    if not loop.resumable(folder):
        return
    recorded = checkpoint.load_newest(folder, wanted=lambda name: False).manifest.get("init_from") or {}
    if recorded.get("fingerprint") != setup.encoder.fingerprint:
        raise UserError(
            f"workdir {folder} holds a decoder of another encoder ({recorded.get('encoder')}, not "
            f"{setup.encoder.name}); use its checkpoint, or another workdir"
        )


def trained(setup: Setup, program: Program, state: DecoderState) -> Decoder:
    """Returns the decoder of a state."""
    whole = meshes.replicated(program.mesh)
    online, stats = jax.device_get(jax.jit(lambda *x: x, out_shardings=whole)(state.online, state.online_stats))
    encoder = subtree(online, "encoder") if "encoder" in online else setup.encoder.params
    name = f"{setup.config.decoder.name} on {setup.encoder.name}"
    return Decoder(program.fit.model, encoder, subtree(online, "decoder"), stats, name)


def score_decoder(
    setup: Setup, decoder: Decoder, steps: int, folder: epath.Path, clock: Clock, start_time: float
) -> Fitted:
    """Scores a decoder on the query images and writes the files of an evaluation."""
    config, data = setup.config, setup.config.data
    images = subset(len(setup.query), 1.0, data.max_queries or data.max_images, config.seed)
    report = config.report
    shown = {images[i] for i in subset(len(images), 1.0, report.queries, config.seed + 1)} if report.enabled else set()
    scoring = Scoring(
        setup.query,
        images,
        setup.task,
        build_inference(config, decoder.patch_size),
        config.decoder.metric_size,
        config.batch_size,
        shown,
        config.progress,
    )
    scores, queries = score(decoder, scoring, clock)
    result = describe(config, setup.encoder, (setup.prompt, setup.query), scoring, scores, len(setup.images), steps)
    if setup.held_out:
        rest = dataclasses.replace(scoring, source=setup.prompt, images=setup.held_out, shown=set())
        result["held_out"] = {"images": len(setup.held_out), "metrics": score(decoder, rest, Clock())[0]}
    result["seconds"] = {**clock.seconds, "total": time.time() - start_time}
    samples = samples_of(decoder, scoring, queries) if report.enabled else None
    together(lambda: write_results(pathlib.Path(folder), result, samples) if first() else None)
    return Fitted(decoder, result, scoring)
