"""A frozen encoder: what is shared between encoders, and what is each one's own."""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from hummingbird.models.backbone import Backbone, Output, to_unit
from hummingbird.models.frozen import FrozenEncoder

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)


@dataclasses.dataclass(frozen=True)
class Applied(Backbone):
    """A backbone of one function (params, images in [0, 1]) -> [B, h, w, 3]."""

    function: Callable
    side: int
    patch_size = property(lambda self: self.side)
    dim = 3

    def features(self, params, images):
        return Output(self.function(params, to_unit(images)), None)


def test_encoders_of_one_function_share_the_program_not_the_parameters():
    traced = []

    def apply(params, images):
        traced.append(images.shape)
        return params["scale"] * images.reshape(-1, 2, 8, 2, 8, 3).mean((2, 4))

    encoders = [FrozenEncoder(Applied(apply, 8), {"scale": jnp.float32(s)}, f"step {s}", f"f{s}") for s in (1, 2)]
    one, two = (encoder(IMAGES) for encoder in encoders)
    assert len(traced) == 1
    np.testing.assert_array_equal(2 * one, two)
    want = IMAGES.reshape(2, 2, 8, 2, 8, 3).mean((2, 4)) / 255
    np.testing.assert_allclose(one, want, atol=1e-6)


def test_a_function_may_serve_encoders_of_other_patch_sizes():
    apply = lambda params, images: images[:, ::8, ::8]
    few = FrozenEncoder(Applied(apply, 8), {}, "few", "f")(IMAGES)
    many = FrozenEncoder(Applied(apply, 1), {}, "many", "m")(IMAGES)  # patches enough to be encoded image by image
    np.testing.assert_array_equal(few, many)
