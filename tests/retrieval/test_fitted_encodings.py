"""Evaluations whose features are gradients against neighbours in the prompt."""

import dataclasses

import pytest

from hummingbird import config
from hummingbird.errors import UserError
from hummingbird.retrieval.evaluate import measure
from tests.gradients.small import encoder
from tests.retrieval.fakes import FakeSource

PROMPT, QUERY = FakeSource(4), FakeSource(2, seed=1)
SETTINGS = {
    "features.gradients": ("simclr",),
    "features.projection": "tensor",
    "features.dim": 8,
    "input_size": 24,
    "batch_size": 1,
    "progress": False,
    "retrieval.neighbours": 3,
}


def scores(vit=None, **changes):
    resolved = config.resolve("evaluate", overrides={**SETTINGS, **changes})
    return measure(vit or encoder(), resolved, PROMPT, QUERY)[0]


@pytest.mark.long
def test_a_part_of_the_prompt_has_its_own_support():
    """As if the part were all there is: what `data.fraction` says."""
    parts = scores(**{"data.fractions": (0.5,), "data.subsets": 2})
    alone = scores(**{"data.fraction": 0.5})
    assert parts["fractions"][0]["values"][0] == pytest.approx(alone["metrics"]["miou"])
    assert parts["features"]["preset"] == "paper"
    assert parts["protocol"]["augmentation_epochs"] == 1
    assert parts["encoder"]["dim"] == 8 + 32


@pytest.mark.long
def test_a_kept_bank_belongs_to_one_encoder_and_one_choice_of_features(tmp_path):
    kept = {"retrieval.bank": str(tmp_path / "bank")}
    first = scores(**kept)
    assert (tmp_path / "bank" / "support" / "bank.json").exists()
    assert scores(**kept)["metrics"] == first["metrics"]
    other = dataclasses.replace(encoder(), fingerprint="another")
    with pytest.raises(UserError, match=r"bank/support was built with encoder='small cls', this evaluation has 'ano"):
        scores(other, **kept)
    with pytest.raises(UserError, match=r"was built with features='simclr paper tensor .* 'simclr attraction tensor"):
        scores(**kept, **{"features.preset": "attraction"})
