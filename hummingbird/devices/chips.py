"""Published peaks of accelerators, which a plan's roofline and a run's MFU are measured against."""

from __future__ import annotations

import re
from typing import NamedTuple

GIB = 2**30
GB = 10**9


class Chip(NamedTuple):
    """Peaks of one device, as JAX counts devices.

    Attributes:
      memory: bytes.
      flops: dense bfloat16 operations per second, accumulated in float32.
      bandwidth: of the memory, bytes per second.
      network: bytes per second that it can send to other devices (ICI, NVLink or, on cards without it, PCIe).
    """

    memory: float
    flops: float
    bandwidth: float
    network: float


# By the words of `device_kind`; a name with more words is more specific. From Google's system pages (v2, v3, and v4
# without megacore: per core; later: per chip) and NVIDIA's data sheets and white papers (half of the figures "with
# sparsity").
CHIPS: dict[str, Chip] = {
    "TPU v2": Chip(8 * GIB, 22.5e12, 350e9, 31e9),
    "TPU v3": Chip(16 * GIB, 61.5e12, 450e9, 41e9),
    "TPU v4": Chip(16 * GIB, 137.5e12, 614e9, 150e9),
    "TPU v5 lite": Chip(16 * GIB, 197e12, 819e9, 200e9),
    "TPU v5": Chip(95 * GIB, 459e12, 2765e9, 600e9),
    "TPU v6 lite": Chip(32 * GIB, 918e12, 1640e9, 448e9),
    "A100 40GB": Chip(40 * GB, 312e12, 1555e9, 300e9),
    "A100 80GB": Chip(80 * GB, 312e12, 2039e9, 300e9),
    "A100 PCIE 40GB": Chip(40 * GB, 312e12, 1555e9, 32e9),
    "A100 80GB PCIe": Chip(80 * GB, 312e12, 1935e9, 32e9),
    "H100 HBM3": Chip(80 * GB, 989.4e12, 3350e9, 450e9),
    "H100 PCIe": Chip(80 * GB, 756e12, 2000e9, 64e9),
    "H100 NVL": Chip(94 * GB, 835.5e12, 3938e9, 300e9),
    "H200": Chip(141 * GB, 989.4e12, 4800e9, 450e9),
    "H200 NVL": Chip(141 * GB, 835.5e12, 4800e9, 450e9),
    "L4": Chip(24 * GB, 121e12, 300e9, 32e9),
    "RTX 3090": Chip(24 * GB, 71e12, 936e9, 32e9),
    "RTX 4090": Chip(24 * GB, 165.2e12, 1008e9, 32e9),
}
# Words that mark a different chip with a similar name: slower, faster, or a part of one.
VARIANTS = {"ti", "d", "laptop", "mobile", "max", "mig", "super"}


def find(kind: str) -> Chip | None:
    """Returns the chip of a `device_kind`; None if its peaks are unknown.

    Example:
      >>> find("NVIDIA A100-SXM4-80GB").flops, find("cpu")
      (312000000000000.0, None)
    """
    words = _words(kind)
    if words & VARIANTS:
        return None
    named = [name for name in CHIPS if _words(name) <= words]
    return CHIPS[max(named, key=lambda name: len(_words(name)))] if named else None


def cuda_capability(device: object) -> float:
    """Returns the compute capability of an NVIDIA GPU; 0 for other devices, AMD's GPUs ("gfx942") among them.

    Example:
      >>> import jax
      >>> cuda_capability(jax.devices("cpu")[0])
      0.0
    """
    capability = str(getattr(device, "compute_capability", ""))
    return float(capability) if re.fullmatch(r"\d+\.\d+", capability) else 0.0


def _words(name: str) -> set[str]:
    """Splits a name at everything that is not a letter or digit: "A100-SXM4-80GB" -> {"a100", "sxm4", "80gb"}."""
    return set(re.findall(r"[a-z0-9]+", name.lower()))
