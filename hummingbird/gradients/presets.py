"""How patches are contrasted with their neighbours: as the FUNGI paper says, as its code does it, or not at all.

The published in-context numbers (Tables 3, 4 and 7) are those of the code, which divides the positives by the
temperature but not the log-sum-exp. There the negatives hardly count: the gradient is, to a part in a thousand, that of
`attraction` alone, which needs no support index. The loss as printed is another method.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from hummingbird.gradients.losses import SIMCLR_TEMPERATURE


class Preset(NamedTuple):
    """The choices of a preset.

    Attributes:
      denominator: temperature of the log-sum-exp; None: there is none, and no neighbours.
      fetched: neighbours that are looked up for each token.
      used: of these, how many are its negatives.
      unit: whether they are L2-normalised before the head, unlike the tokens.
      kept: "half" of the negatives of an image, exactly, or each of them by a "coin".
      excludes_own: whether a prompt image's own patches are left out, unless `features.own_patches` says otherwise.
    """

    denominator: float | None
    fetched: int = 2
    used: int = 2
    unit: bool = False
    kept: Literal["half", "coin"] = "half"
    excludes_own: bool = True


PRESETS = {
    # Sec. 4.3 and App. B.2. That own patches are left out is ours: without it nearly all negatives of a prompt image
    # are its own patches, and those of a query image are not.
    "paper": Preset(SIMCLR_TEMPERATURE),
    # github.com/WalterSimoncini/no-train-all-gain, fungi-hummingbird, at commit 7ad3b75.
    "public-code": Preset(1.0, fetched=5, used=2, unit=True, kept="coin", excludes_own=False),
    "attraction": Preset(None),
}
