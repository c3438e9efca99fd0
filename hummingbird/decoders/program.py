"""What fitting a decoder compiles: its functions, with the shapes and layout of their arrays."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportMissingTypeStubs=false

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from hummingbird.config.finetune import FinetuneConfig
from hummingbird.decoders.heads import Sizes, build_head
from hummingbird.decoders.host import HostBackbone
from hummingbird.decoders.model import Encoded, Model
from hummingbird.decoders.optimizer import build_optimizer, build_schedule
from hummingbird.decoders.step import Batch, DecoderState, Fit, fit_step
from hummingbird.decoders.targets import build_target
from hummingbird.decoders.trainable import trainable, trainable_params
from hummingbird.devices import mesh as meshes
from hummingbird.devices.mesh import Device
from hummingbird.errors import UserError
from hummingbird.models.backbone import LAST_LAYER, Backbone
from hummingbird.models.frozen_vit import FrozenViT
from hummingbird.models.params import Params
from hummingbird.models.staged import FrozenStages
from hummingbird.tasks import Task


@dataclasses.dataclass(frozen=True)
class Program:
    """A config made concrete: functions to compile, and the shapes and layout of their arrays.

    Attributes:
      fit: what a step consists of.
      mesh: devices of the run.
      total_steps: last step.
      schedule: learning rate of the head by step.
      init: (parameters of the encoder) -> state at step 0.
      step: (parameters of a frozen encoder, state, batch) -> (state, metrics).
      state: shapes of the state (`jax.ShapeDtypeStruct`).
      frozen: shapes of the parameters of a frozen encoder; empty if it is trained, or its features are cached.
      batch: shapes of a global batch.
      shardings: how the state is laid out.
      frozen_shardings: how a frozen encoder is laid out.
    """

    fit: Fit
    mesh: Mesh
    total_steps: int
    schedule: optax.Schedule
    init: jax.stages.Wrapped
    step: jax.stages.Wrapped
    state: DecoderState
    frozen: Params
    batch: Batch
    shardings: DecoderState
    frozen_shardings: Params


def build_program(
    config: FinetuneConfig,
    backbone: Backbone,
    params: Params,
    task: Task,
    examples: int,
    devices: Sequence[Device] | None = None,
    values: tuple[float, float] = (1.0, 0.0),
) -> Program:
    """Builds everything that fitting a decoder compiles.

    Args:
      config: resolved config of kind "finetune".
      backbone: the encoder, as in `prepare_encoder`.
      params: its parameters, or their shapes.
      task: kind of label.
      examples: number of training images, which sets the length of an epoch.
      devices: to run on, or described by `plan`; None: all.
      values: standard deviation and mean of the labels, for the head `regression`.

    Raises:
      UserError: the devices do not divide the batch, or the head fits neither labels nor encoder.
    """
    mesh = meshes.build_mesh(config, devices)
    split, whole = meshes.batch_sharding(mesh), meshes.replicated(mesh)
    model, target = build_model(config, backbone, task, values), build_target(task, config)
    total_steps = steps_of(config, examples)
    schedule = build_schedule(config.optimizer, total_steps)
    encoder = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, jnp.float32), params)
    pixels = (config.batch_size, config.input_size, config.input_size)
    images = model.input_shapes(config.batch_size, config.input_size)
    encoded = jax.eval_shape(model.encode, encoder, images)
    heads = functools.partial(init_head, model, config.seed, encoded)
    trained = config.decoder.train_encoder
    online = {"decoder": jax.eval_shape(heads)[0], **({"encoder": encoder} if trained else {})}
    fit = Fit(
        model=model,
        target=target,
        optimizer=build_optimizer(config.optimizer, schedule, backbone, online),
        seed=config.seed,
        micro_batches=config.micro_batches,
        drop_path=trained and config.decoder.drop_path > 0 and isinstance(backbone, FrozenViT),
    )

    def init(encoder: Params) -> DecoderState:
        decoder, stats = heads()
        # A copy, because a step donates its buffers.
        online = {"decoder": decoder, **({"encoder": jax.tree.map(jnp.copy, encoder)} if trained else {})}
        return DecoderState(jnp.zeros((), jnp.int32), online, stats, fit.optimizer.init(online))

    state = jax.eval_shape(init, encoder)
    shardings = meshes.state_shardings(mesh, state)
    frozen = {} if trained or config.decoder.cache_features else encoder
    frozen_shardings = meshes.state_shardings(mesh, frozen)
    inputs: Any = encoded if config.decoder.cache_features else images
    channels = () if task.has_classes or task.kind == "depth" else (task.channels,)
    labels: Any = jax.ShapeDtypeStruct((*pixels, *channels), task.label_dtype)
    return Program(
        fit=fit,
        mesh=mesh,
        total_steps=total_steps,
        schedule=schedule,
        init=jax.jit(init, out_shardings=shardings),
        step=jax.jit(
            functools.partial(fit_step, fit),
            in_shardings=(frozen_shardings, shardings, split),
            out_shardings=(shardings, whole),
            donate_argnums=1,
        ),
        state=state,
        frozen=frozen,
        batch=Batch(inputs, labels),
        shardings=shardings,
        frozen_shardings=frozen_shardings,
    )


def prepare_encoder(config: FinetuneConfig, backbone: Backbone, params: Params) -> tuple[Backbone, Params]:
    """Returns an encoder as the config trains it, or as it is if it stays frozen.

    Args:
      config: reads `decoder`, `input_size` and the types.
      backbone: as it was loaded.
      params: its parameters.

    Raises:
      UserError: the config adds to it what such an encoder cannot have.
    """
    new = prepare_backbone(config, backbone)
    return new, trainable_params(params, backbone, new) if config.decoder.train_encoder else params


def prepare_backbone(config: FinetuneConfig, backbone: Backbone) -> Backbone:
    """Returns the backbone of `prepare_encoder`."""
    decoder = config.decoder
    backbone = backbone.with_dtype("bfloat16" if config.dtype == "bfloat16" else config.encoder.dtype)
    if not decoder.train_encoder:
        return backbone
    side = -(-config.input_size // backbone.patch_size)
    return trainable(
        backbone,
        (side, side),
        relative_bias=decoder.relative_bias,
        layer_scale=decoder.layer_scale,
        drop_path=decoder.drop_path if isinstance(backbone, FrozenViT) else 0.0,
        remat=decoder.remat,
    )


def build_model(
    config: FinetuneConfig, backbone: Backbone, task: Task, values: tuple[float, float] = (1.0, 0.0)
) -> Model:
    """Builds the head on an encoder. Raises UserError if it does not fit the encoder."""
    dtype = jnp.bfloat16 if config.dtype == "bfloat16" else jnp.float32
    decoder = config.decoder
    sizes = Sizes(
        channels=task.channels,
        depth=depth_of(backbone),
        staged=isinstance(backbone, FrozenStages),
        has_cls=backbone.has_cls,
        layers=decoder.layers or None,
        dropout=decoder.dropout,
        width=decoder.width,
        batch_norm=decoder.batch_norm,
        low=config.depth.low,
        high=config.depth.high,
        scale=values[0],
        offset=values[1],
        dtype=dtype,
    )
    head = build_head(decoder.name, sizes)
    if isinstance(backbone, HostBackbone) and not (head.layers == LAST_LAYER.layers and head.norm):
        raise UserError(
            f"config key decoder.name: {decoder.name} takes layers {list(head.layers)}, but {backbone} is a plain "
            "callable that gives its last one; use linear, bn_linear or depth_bins, or import its weights"
        )
    return Model(backbone, head)


def depth_of(backbone: Backbone) -> int:
    """Returns the number of layers that a head may take; 1 for an encoder that has none to choose from."""
    return int(getattr(backbone, "depth", 1))


def init_head(model: Model, seed: int, encoded: Encoded) -> tuple[Params, Params]:
    """Returns random parameters of a head and its statistics; `encoded` gives the shapes of its inputs."""
    maps, cls = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), tuple(encoded))
    variables: Any = model.head.init(jax.random.key(seed), maps, cls or None, train=False)
    return variables["params"], variables.get("batch_stats", {})


def steps_of(config: FinetuneConfig, examples: int) -> int:
    """Returns the last step of a config for this number of training images."""
    return config.total_steps or max(1, math.ceil(config.epochs * examples / config.batch_size))
