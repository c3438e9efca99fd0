"""Settings of evaluations on texts and sounds."""

from __future__ import annotations

import dataclasses

from hummingbird.config.schema import setting

# Values of `data.task` that are for text and sound.
SEQUENCES = ("text", "audio")


@dataclasses.dataclass(frozen=True)
class Sequences:
    """How texts and sounds become inputs, for `data.task` text and audio."""

    length: int | None = setting(
        None,
        "longest input: tokens of a text, frames of 10 ms of a sound; longer inputs are cut; none: 128 tokens or 1024 "
        "frames",
        low=2,
        high=8192,
    )
    mean: float = setting(
        -4.2677393, "audio: mean to normalise spectrograms by, (x - mean) / (2 std); the default is AudioSet's (SSAST)"
    )
    std: float = setting(
        4.5689974, "audio: standard deviation to normalise spectrograms by; the default is AudioSet's (SSAST)", above=0
    )
    stride: int | None = setting(
        None,
        "audio: step from one patch of a spectrogram to the next, in bins and frames; none: the side of a patch; SSAST "
        "is fine-tuned with 10",
        low=1,
    )
