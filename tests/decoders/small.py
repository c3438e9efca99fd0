"""The smallest decoders that have every part, shared by the tests."""

import functools

import jax
import numpy as np

from hummingbird import config
from hummingbird.decoders.program import build_program, prepare_encoder
from hummingbird.decoders.step import Batch
from hummingbird.models.architecture import build_architecture
from hummingbird.tasks import SegmentationTask
from hummingbird.weights.own import frozen_vit, random_params

SCENES = {
    "data.scenes.size": 32,
    "data.scenes.prompt_images": 6,
    "data.scenes.query_images": 3,
    "data.threads": 0,
    "input_size": 32,
    "batch_size": 4,
    "total_steps": 4,
    "report.enabled": False,
    "progress": False,
    "mesh.data": 1,
}
TRAINED = {"decoder.train_encoder": True, "decoder.relative_bias": True, "decoder.layer_scale": True}
TASK = SegmentationTask(["sky", "road", "tree"])


def finetune_config(name="finetune/linear", **changes):
    return config.resolve("finetune", name, {**SCENES, **changes})


@functools.cache
def vit():
    arch = build_architecture({"name": "vit_ti16", "patch_size": 8, "width": 32, "depth": 2, "heads": 2}, 32)
    return frozen_vit(arch, random_params(arch), "a tiny ViT")


def program(devices=1, **changes):
    """A program of the tiny ViT with three classes, and the encoder's parameters."""
    settings = finetune_config(**{**changes, "mesh.data": devices})
    backbone, params = prepare_encoder(settings, vit().backbone, vit().params)
    return build_program(settings, backbone, params, TASK, 6, jax.devices()[:devices]), params


def batch(seed=0, size=8):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (size, 32, 32, 3), dtype=np.uint8)
    labels = rng.integers(0, 3, (size, 32, 32)).astype(np.int32)
    labels[:, :4] = 255
    return Batch(images, labels)
