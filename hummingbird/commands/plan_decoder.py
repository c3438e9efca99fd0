"""`hummingbird plan` of fine-tuning: compiles the step of a decoder, of any encoder, without data or hardware."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import time

import jax
import jax.numpy as jnp

from hummingbird.commands.plan import Compiles, Setup, TooLarge, analyse, compile_step, with_fill
from hummingbird.config.finetune import FinetuneConfig
from hummingbird.data.sources import build_dense_source
from hummingbird.decoders.program import build_program, prepare_backbone, prepare_encoder
from hummingbird.devices import flops
from hummingbird.devices import topology as topologies
from hummingbird.encoder import build_encoder
from hummingbird.models.architecture import build_architecture
from hummingbird.models.backbone import Backbone
from hummingbird.models.frozen_vit import FrozenViT
from hummingbird.models.params import Params
from hummingbird.models.vit import ViT
from hummingbird.tasks import DepthTask, SegmentationTask, Task, build_task
from hummingbird.weights.own import RANDOM_INPUT

# So that a plan needs no data set.
CLASSES = {"scenes": 15, "pascal_voc": 21, "ade20k": 150, "cityscapes": 19, "coco_stuff": 171}


def plan_decoder(config: FinetuneConfig, topology: str | None, checkpoint: str | None) -> Compiles | TooLarge:
    """Compiles a step of fitting a decoder.

    Args:
      config: of the run.
      topology: see `topology.find`.
      checkpoint: the encoder; None: random:vit_b16.

    Raises:
      UserError: as in `plan.plan`, or a config that does not fit its encoder or labels.
    """
    target = topologies.find(topology)
    name = checkpoint or "random:vit_b16"
    old, given = encoder_shapes(name, config)
    backbone = prepare_backbone(config, old)
    params = jax.eval_shape(lambda tree: prepare_encoder(config, old, tree)[1], given)
    program = build_program(config, backbone, params, task_of(config), 1000 * config.batch_size, target.devices)
    start_time = time.perf_counter()
    arguments = (program.frozen, program.state, program.batch)
    compiled, error = compile_step(program.step.lower(*arguments))
    trained = sum(x.size for x in jax.tree.leaves(program.state.online))
    setup = Setup(
        topology=topology or "local",
        device_kind=target.kind,
        devices=program.mesh.size,
        mesh=dict(program.mesh.shape),
        encoder=f"{name} + {config.decoder.name} at {config.input_size} px",
        batch_size=config.batch_size,
        bank_length=0,
        parameters=trained + sum(x.size for x in jax.tree.leaves(program.frozen)),
        compile_seconds=round(time.perf_counter() - start_time, 1),
    )
    if compiled is None:
        return {**setup, "fits": False, "error": error}
    operations = flops.count(program.step, *arguments) / program.mesh.size
    step = analyse(compiled, target.kind, operations)
    if target.memory is not None:
        step["memory_bytes"] = target.memory
    return with_fill(setup, step, None)


def encoder_shapes(name: str, config: FinetuneConfig) -> tuple[Backbone, Params]:
    """Returns an encoder and its parameters, or their shapes where they would be random."""
    kind, _, rest = name.partition(":")
    if kind != "random" or not rest.startswith("vit_"):
        encoder = build_encoder(name, config.encoder)
        return encoder.backbone, encoder.params
    arch = build_architecture({"name": rest}, RANDOM_INPUT)
    images = jax.ShapeDtypeStruct((1, arch.patch_size, arch.patch_size, 3), jnp.float32)
    return FrozenViT(arch), jax.eval_shape(ViT(arch).init, jax.random.key(0), images)["params"]


def task_of(config: FinetuneConfig) -> Task:
    """Returns the kind of label; the data are opened only where their name does not say how many classes there are."""
    if config.data.task == "depth":
        return DepthTask(config.depth)
    if config.data.name in CLASSES:
        return SegmentationTask([f"class {i}" for i in range(CLASSES[config.data.name])])
    evaluation = config.evaluation()
    return build_task(build_dense_source(evaluation, "prompt"), evaluation)
