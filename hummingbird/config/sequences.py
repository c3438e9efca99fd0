"""Settings of evaluations of text and sound."""

from __future__ import annotations

import dataclasses

from hummingbird.config.schema import setting

# Values of `data.task` that are for text and sound.
SEQUENCES = ("text", "audio")


@dataclasses.dataclass(frozen=True)
class Sequences:
    """How texts and sounds become inputs, for `data.task` text and audio."""

    length: int | None = setting(
        None, "tokens of a text or frames (10 ms) of a sound; longer ones are cut; none: 128 or 1024", low=2, high=8192
    )
    mean: float = setting(-4.2677393, "audio: mean of spectrograms, by default that of AudioSet (SSAST)")
    std: float = setting(4.5689974, "audio: their standard deviation, of which twice is divided by", above=0)
    stride: int | None = setting(
        None, "audio: steps between the patches of a spectrogram; none: their side; SSAST fine-tunes with 10", low=1
    )
