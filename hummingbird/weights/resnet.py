"""Files of ResNets and ResNeXts: torchvision's and timm's names (MoCo, SwAV, DINO, DenseCL, ...) and transformers'."""

from __future__ import annotations

import re

import numpy as np

from hummingbird.errors import UserError
from hummingbird.models.resnet import ResNetArchitecture
from hummingbird.weights.files import Source
from hummingbird.weights.mapping import Arrays, Read
from hummingbird.weights.settings import hints

ANCHOR = re.compile(r"(|.*?\.)(?:layer1\.0\.bn1|encoder\.stages\.0\.layers\.0\.layer\.0\.normalization)\.running_var")
_NAMES = (
    (r"^embedder\.embedder\.(convolution|normalization)\.", r"stem.\1."),
    (r"^(conv|bn)1\.", lambda m: "stem." + {"conv": "convolution.", "bn": "normalization."}[m[1]]),
    (r"^encoder\.stages\.(\d)\.layers\.(\d+)\.", r"stage_\1_block_\2/"),
    (r"^layer(\d)\.(\d+)\.", lambda m: f"stage_{int(m[1]) - 1}_block_{m[2]}/"),
    (r"/layer\.(\d)\.", lambda m: f"/conv{int(m[1]) + 1}."),
    (r"/conv(\d)\.(?!conv|norm)", r"/conv\1.convolution."),
    (r"/bn(\d)\.", r"/conv\1.normalization."),
    (r"/downsample\.0\.", "/shortcut.convolution."),
    (r"/downsample\.1\.", "/shortcut.normalization."),
)
_PLACE = re.compile(r"(stem|stage_\d_block_\d+/(?:conv[123]|shortcut))\.(convolution|normalization)\.(\w+)")
_DROPPED = re.compile(
    r"(fc|head|heads|classifier|projector|projection_head|prototypes|predictor)\b.*|.*num_batches_tracked"
)
_ANTIALIASED = re.compile(r"resnex?t(aa|blur)")
EPSILON = 1e-5  # of torch's batch norm


def read(source: Source, names: Arrays) -> Read:
    """Returns a ResNet in our names, batch norms folded into convolutions, and what has no place in it or is missing.

    Raises:
      UserError: its stem or a convolution is missing; its name is that of a ResNet that filters before each stride.
    """
    if m := _ANTIALIASED.search(hints(source)):
        raise UserError(
            f"{source.path} is a {m[0]} by name: a ResNet that filters maps before each stride, which its arrays do "
            "not show; it cannot be loaded"
        )
    parts: dict[str, dict[str, np.ndarray]] = {}
    unexpected: list[str] = []
    for name, x in names.items():
        new = _renamed(name)
        if m := _PLACE.fullmatch(new):
            parts.setdefault(m[1], {})[f"{m[2]}.{m[3]}"] = x
        elif not _DROPPED.fullmatch(new):
            unexpected.append(name)
    arrays: Arrays = {}
    missing: list[str] = []
    for place, found in parts.items():
        wanted = [
            "convolution.weight",
            *(f"normalization.{n}" for n in ("weight", "bias", "running_mean", "running_var")),
        ]
        missing += [f"{place}.{name}" for name in wanted if name not in found]
        unexpected += [f"{place}.{name}" for name in found if name not in wanted]
        if all(name in found for name in wanted):
            arrays |= _folded(place, *(found[name].astype(np.float64) for name in wanted))
    if missing or "stem/kernel" not in arrays:
        raise UserError(f"{source.path} does not fit family resnet; missing: {', '.join(missing[:4]) or 'its stem'}")
    return Read(arrays, _architecture(arrays), unexpected)


def _renamed(name: str) -> str:
    for pattern, replacement in _NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _folded(
    place: str, kernel: np.ndarray, scale: np.ndarray, bias: np.ndarray, mean: np.ndarray, var: np.ndarray
) -> Arrays:
    """Returns the convolution that equals one without a bias and the batch norm after it, in float32."""
    factor = scale / np.sqrt(var + EPSILON)
    return {
        f"{place}/kernel": (kernel.transpose(2, 3, 1, 0) * factor).astype(np.float32),
        f"{place}/bias": (bias - mean * factor).astype(np.float32),
    }


def _architecture(arrays: Arrays) -> ResNetArchitecture:
    blocks = [(int(m[1]), int(m[2])) for n in arrays if (m := re.match(r"stage_(\d)_block_(\d+)/conv1/kernel", n))]
    stages = range(1 + max(stage for stage, _ in blocks))
    bottleneck = "stage_0_block_0/conv3/kernel" in arrays
    first = [f"stage_{stage}_block_0/" for stage in stages]
    return ResNetArchitecture(
        depths=tuple(1 + max((i for s, i in blocks if s == stage), default=-1) for stage in stages),
        widths=tuple(arrays[at + ("conv3" if bottleneck else "conv2") + "/bias"].shape[0] for at in first),
        inner=tuple(arrays[at + "conv1/bias"].shape[0] for at in first),
        bottleneck=bottleneck,
        groups=arrays[first[0] + "conv1/bias"].shape[0] // arrays[first[0] + "conv2/kernel"].shape[2],
        stem_width=arrays["stem/bias"].shape[0],
        shortcuts=tuple(at + "shortcut/kernel" in arrays for at in first),
    )
