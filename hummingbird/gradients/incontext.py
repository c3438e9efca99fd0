"""Gradient features of patches: an encoder around an encoder (Sec. 4.3 and App. B.2 of the FUNGI paper)."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Sequence

import numpy as np
from jax import Array
from jaxtyping import Float32, Shaped, UInt8
from typing_extensions import Unpack

from hummingbird.config.features import Features, Options, Variant
from hummingbird.config.schema import resolve
from hummingbird.encoder import Encoder
from hummingbird.errors import UserError
from hummingbird.gradients import patches
from hummingbird.gradients.heads import Head, build_head, checksum
from hummingbird.gradients.losses import KL_DIM, SIMCLR_DIM
from hummingbird.gradients.pca import Pca
from hummingbird.gradients.presets import PRESETS, Preset
from hummingbird.gradients.spread import Call, Spread, spread_for
from hummingbird.gradients.support import ExactSearch, Support, choose, interleaved
from hummingbird.gradients.tail import check_encoder
from hummingbird.gradients.views import image_id
from hummingbird.models.frozen import FrozenEncoder
from hummingbird.models.params import Params
from hummingbird.run.files import Json
from hummingbird.run.fingerprint import fingerprint as fingerprint_of

# Part of what identifies features. To be raised with every change of code that changes them.
VERSION = 1
DIMS = {"kl": KL_DIM, "simclr": SIMCLR_DIM}


@dataclasses.dataclass(frozen=True)
class GradientEncoder:
    """Images to features of their patches: the encoder's own, and gradients of objectives at its last projection.

    Features are a function of the image, the settings and the seed: never of the batch, its order or the devices.

    Attributes:
      encoder: a ViT.
      settings: objectives, preset, projection.
      seed: draws heads, projection, and which neighbours are kept.
      support: where neighbours come from, for presets that have some.
      pca: applied in the end.
    """

    encoder: FrozenEncoder
    settings: Features
    seed: int = 0
    support: Support | None = None
    pca: Pca | None = None

    @property
    def patch_size(self) -> int:
        """Pixels along a side of a patch."""
        return self.encoder.patch_size

    @property
    def dim(self) -> int:
        """Channels of the features."""
        if self.pca is not None:
            return self.pca.axes.shape[1]
        width, inputs, parts = self.widths
        if self.settings.projection == "none":
            return width + inputs + parts * width
        return width + parts * (self.settings.dim or width)

    @property
    def widths(self) -> tuple[int, int, int]:
        """Channels of the encoder's features and of the projection's input [a; 1], and the number of objectives."""
        bias = self.encoder.projection(self.encoder.params).bias
        return self.encoder.dim, self.encoder.dim + (bias is not None), len(self.settings.gradients)

    @property
    def preset(self) -> Preset:
        """What the settings name."""
        return PRESETS[self.settings.preset]

    @property
    def needs_support(self) -> bool:
        """Whether the objective has neighbours from the prompt."""
        return "simclr" in self.settings.gradients and self.preset.denominator is not None

    @property
    def needs_fit(self) -> bool:
        """Whether features depend on the prompt."""
        return self.needs_support or self.settings.pca is not None

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.encoder.name} + gradients of {', '.join(self.settings.gradients)} ({self.settings.preset})"

    @property
    def source(self) -> str | None:
        """Where the encoder's weights are from."""
        return self.encoder.source

    @property
    def commit(self) -> str | None:
        """Of the weights' repository."""
        return self.encoder.commit

    @property
    def dtype(self) -> str:
        """How the encoder's body computes; gradients are in float32 whatever it is."""
        return self.encoder.dtype

    @property
    def backend(self) -> str:
        """Platform that the encoder runs on."""
        return self.encoder.backend

    @property
    def device_kind(self) -> str:
        """Kind of device that the encoder runs on."""
        return self.encoder.device_kind

    @functools.cached_property
    def heads(self) -> dict[str, Head]:
        """The head of each objective."""
        names = self.settings.gradients
        return {name: build_head(name, self.seed, self.encoder.dim, DIMS[name]) for name in names}

    def describe(self) -> dict[str, Json]:
        """Returns all that the features depend on beside the encoder and the prompt."""
        chosen = {key: list(x) if isinstance(x, tuple) else x for key, x in dataclasses.asdict(self.settings).items()}
        del chosen["variant"]  # of whole images
        return {
            "version": VERSION,
            **chosen,
            "own_patches": not self.excludes_own,
            "dim": self.settings.dim or self.encoder.dim,
            "seed": self.seed,
            "heads": checksum(self.heads),
        }

    @property
    def fingerprint(self) -> str:
        """Identifies the encoder, the settings and what was fitted."""
        fitted = [self.support and self.support.fingerprint, self.pca and fingerprint_of(self.pca._asdict())]
        text = json.dumps([self.encoder.fingerprint, self.describe(), fitted], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def summary(self) -> str:
        """Identifies the features in one line."""
        settings = self.settings
        return f"{'+'.join(settings.gradients)} {settings.preset} {settings.projection} {self.fingerprint}"

    @property
    def excludes_own(self) -> bool:
        """Whether a prompt image's own patches are not among its negatives."""
        return self.preset.excludes_own and not self.settings.own_patches

    # ---------------------------------------------------------------- encoding
    def __call__(self, images: Shaped[np.ndarray, "B H W 3"]) -> Float32[np.ndarray, "B h w F"]:
        """Encodes images, uint8, none of which the support is known to hold."""
        return self.encode_prompt(images, [None] * len(images))

    def encode_prompt(
        self, images: Shaped[np.ndarray, "B H W 3"], numbers: Sequence[int | None]
    ) -> Float32[np.ndarray, "B h w F"]:
        """Encodes images of the prompt.

        Args:
          images: uint8.
          numbers: of the images in the support, whose own patches do not count as their negatives; None: of none.

        Raises:
          UserError: there is no support yet, or an image has one token.
        """
        rows, columns = images.shape[1] // self.patch_size, images.shape[2] // self.patch_size
        tokens = rows * columns + self.encoder.backbone.has_cls
        if "simclr" in self.settings.gradients and tokens < 2:
            raise UserError(
                "features.gradients=simclr contrasts the tokens of an image, and these have one; raise input_size"
            )
        if self.needs_support and self.support is None:
            raise UserError(
                f"features.preset={self.settings.preset} looks up neighbours in a prompt: call "
                "encoder.fit(images) first, or use the preset attraction"
            )
        spread = spread_for(len(images))
        body = Call(patches.run_tokens, (self.encoder.backbone, self.support is not None))
        tree, batch = self._placed(spread), spread.split(images)
        residual, attended, found = spread.run(body, tree, batch)
        rows_, kept = self._negatives(images, found, numbers) if self.support is not None else nothing(len(images))
        choices = patches.Choices(self.settings, self.seed, self.preset.denominator)
        finish = Call(patches.run_features, (self.encoder.backbone, choices))
        (features,) = spread.run(finish, tree, residual, attended, spread.split(rows_), spread.split(kept))
        host = np.asarray(features)[: len(images)]
        if self.pca is not None:
            host = self.pca(host.reshape(-1, host.shape[-1]))
        return host.reshape(len(images), rows, columns, -1)

    def _negatives(
        self, images: UInt8[np.ndarray, "B H W 3"], tokens: Array, numbers: Sequence[int | None]
    ) -> tuple[Float32[np.ndarray, "B N D"], Shaped[np.ndarray, "B N"]]:
        """Looks up the negatives of images, given all their tokens."""
        assert self.support is not None
        return find_negatives(
            self.support,
            self.preset,
            np.asarray(tokens)[: len(images)],
            numbers if self.excludes_own else [None] * len(images),
            [image_id(image) for image in images],
            self.seed,
            self.settings.interleave,
        )

    def _placed(self, spread: Spread) -> Params:
        """Returns the parameters on the devices, which keep them from the first call on."""
        if spread.count not in self._trees:
            heads = {name: head._asdict() for name, head in self.heads.items()}
            self._trees[spread.count] = spread.place({"encoder": self.encoder.params, "heads": heads})
        return self._trees[spread.count]

    @functools.cached_property
    def _trees(self) -> dict[int, Params]:
        return {}

    # ---------------------------------------------------------------- fitting
    def fit(self, images: UInt8[np.ndarray, "B H W 3"]) -> GradientEncoder:
        """Returns the encoder with all patches of some images as its support, for prompts of a few images.

        Evaluations build theirs themselves, as large as their memory bank.
        """
        rows = np.concatenate(
            [self.encoder(images[i : i + 1]).reshape(-1, self.encoder.dim) for i in range(len(images))]
        )
        numbers = np.repeat(np.arange(len(images)), len(rows) // len(images))
        return dataclasses.replace(self, support=build_support(rows, numbers))


def find_negatives(
    support: Support,
    preset: Preset,
    tokens: Float32[np.ndarray, "B T D"],
    excluded: Sequence[int | None],
    ids: Sequence[int],
    seed: int,
    interleave: bool = False,
) -> tuple[Float32[np.ndarray, "B N D"], Shaped[np.ndarray, "B N"]]:
    """Looks up the negatives of images.

    Args:
      support: where they come from.
      preset: how many, and how they are chosen.
      tokens: of the images, [CLS] among them.
      excluded: numbers of prompt images, see `Support.nearest`.
      ids: by which each image's random numbers are drawn.
      seed: of all images.
      interleave: see `interleaved`.

    Returns:
      Features of the negatives, and which of them count.
    """
    count, each, width = tokens.shape
    norms = np.linalg.norm(tokens, axis=-1, keepdims=True)
    units = (tokens / np.where(norms > 0, norms, 1)).reshape(-1, width)
    nearest = support.nearest(units, preset.fetched, excluded).reshape(count, each, preset.fetched)
    found, kept = [], []
    for near, number in zip(nearest, ids, strict=True):
        places, counts = choose(preset, each, seed, number)
        if interleave:
            rows = interleaved(support.rows(near, preset.unit))[:, : preset.used].reshape(-1, width)[places]
        else:
            rows = support.rows(near[:, : preset.used].reshape(-1)[places], preset.unit)
        found.append(rows)
        kept.append(counts)
    return np.stack(found), np.stack(kept)


def build_support(features: Float32[np.ndarray, "M D"], image: Shaped[np.ndarray, " M"]) -> Support:
    """Builds a support with an exact index from features as an encoder gives them.

    Args:
      features: of patches.
      image: number of the image of each.
    """
    norms = np.linalg.norm(features, axis=1)
    keys = features / np.where(norms > 0, norms, 1)[:, None]
    digest = hashlib.sha256(np.ascontiguousarray(features).tobytes() + np.asarray(image, np.int32).tobytes())
    return Support(ExactSearch(keys), keys, norms, image, digest.hexdigest()[:16])


def nothing(images: int) -> tuple[Float32[np.ndarray, "B 0 0"], Shaped[np.ndarray, "B 0"]]:
    """Returns the negatives of images that have none."""
    return np.zeros((images, 0, 0), np.float32), np.zeros((images, 0), bool)


def build_gradient_encoder(encoder: Encoder, settings: Features, seed: int) -> GradientEncoder:
    """Builds the encoder that the `features` group of a config describes, not fitted yet.

    Raises:
      UserError: the encoder has no layer to take gradients at, or an objective has no gradients of patches.
    """
    unknown = [name for name in settings.gradients if name not in DIMS]
    if unknown or not settings.gradients:
        raise UserError(
            f"config key features.gradients: {unknown[0] if unknown else 'none'} compares views of whole images and "
            f"has no gradient of a patch; use {' or '.join(DIMS)}"
        )
    if settings.variant != Variant():
        raise UserError("config key features.variant is for whole images; leave it out for gradients of patches")
    return GradientEncoder(check_encoder(encoder), settings, seed)


def in_context(encoder: Encoder, seed: int = 0, **settings: Unpack[Options]) -> GradientEncoder:
    """Wraps an encoder so that the features of its patches come with gradients, for `hb.Prompt` and notebooks.

    Args:
      encoder: a ViT.
      seed: draws heads, projection, and which neighbours are kept.
      **settings: fields of `hummingbird.config.features.Features`; by default gradients=("simclr",) and the preset
        attraction, which needs no `fit`.

    Example:
      >>> from hummingbird.encoder import load_encoder
      >>> encoder = in_context(load_encoder("random:vit_ti16"), projection="tensor")
      >>> encoder(np.zeros((1, 32, 32, 3), np.uint8)).shape
      (1, 2, 2, 384)
    """
    chosen = {"gradients": ("simclr",), "preset": "attraction", **settings}
    return build_gradient_encoder(encoder, resolve(Features, chosen), seed)
