"""Banks and queries whose features depend on the prompt: gradients against neighbours, principal components.

Such features are fitted anew for each prompt, or part of one: a support index of plain features, of the length of the
bank, is built first, and every prompt image is encoded a second time against it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection, Iterator

import numpy as np
from jaxtyping import Float32

from hummingbird.gradients.incontext import GradientEncoder
from hummingbird.gradients.pca import Pca, fit_pca
from hummingbird.gradients.support import Support
from hummingbird.retrieval.bank.build import bank_identity, plan_bank, prompt_examples
from hummingbird.retrieval.bank.keys import normalise
from hummingbird.retrieval.bank.patch_bank import PatchBank
from hummingbird.retrieval.encode import encode_images
from hummingbird.retrieval.evaluation import Evaluation
from hummingbird.retrieval.index.build import Index, build_index
from hummingbird.retrieval.own_encodings import Encoded, Kept
from hummingbird.retrieval.query import QueryBatch
from hummingbird.retrieval.query_store import QueryStore
from hummingbird.run.files import Json

# Choices of a protocol that neither features nor banks depend on.
SEARCH = ("neighbours", "temperature", "metric_resolution", "max_queries", "distance", "standardise")
PCA_IMAGES = 128  # of the prompt, from the features of which principal components are computed


def needs_fit(evaluation: Evaluation) -> bool:
    """Returns whether the features of an evaluation depend on its prompt."""
    return isinstance(evaluation.encoder, GradientEncoder) and evaluation.encoder.needs_fit


@dataclasses.dataclass
class Fitted:
    """What was fitted to a prompt.

    Attributes:
      of: digest of all that it depends on.
      encoder: with its support and components.
      queries: of several evaluations, encoded on first use.
      bank: built on first use.
    """

    of: str
    encoder: GradientEncoder
    queries: QueryStore = dataclasses.field(default_factory=QueryStore)
    bank: PatchBank | None = None


class FittedEncodings:
    """Banks and queries of evaluations with a `GradientEncoder` that has to be fitted; see `encodings.Encodings`.

    What was fitted last is kept, with its bank.

    Args:
      several: keep encoded queries as well, in a temporary file, for evaluations that differ in the search alone.
    """

    def __init__(self, several: bool = False):
        self._several = several
        self._last: Fitted | None = None

    def bank(self, evaluation: Evaluation) -> PatchBank:
        """Fits the features, then loads or builds the bank."""
        of = _part(evaluation)
        if self._last is None or self._last.of != of:
            self._last = None  # one at a time
            with evaluation.clock("fit_features"):
                self._last = Fitted(of, fit_features(_placed(evaluation)))
        if self._last.bank is None:
            fitted = self._fitted(evaluation)
            self._last.bank = _plain(fitted).bank(fitted)
        return self._last.bank

    def index(self, evaluation: Evaluation, bank: PatchBank) -> Index:
        """Builds the index over the bank that was returned last."""
        fitted = self._fitted(evaluation)
        return _plain(fitted).index(fitted, bank)

    def query_batches(self, evaluation: Evaluation, shown: Collection[int] = ()) -> Iterator[QueryBatch]:
        """Encodes the queries as the bank that was returned last; only those numbered in `shown` have pictures."""
        assert self._last is not None
        fitted = self._fitted(evaluation)
        return (
            self._last.queries.batches(fitted, shown) if self._several else _plain(fitted).query_batches(fitted, shown)
        )

    def _fitted(self, evaluation: Evaluation) -> Evaluation:
        assert self._last is not None
        return dataclasses.replace(_placed(evaluation), encoder=self._last.encoder)


def _placed(evaluation: Evaluation) -> Evaluation:
    """Gives each part of the prompt a folder of its own, if banks are kept."""
    retrieval = evaluation.retrieval
    if not (retrieval.bank and evaluation.data.fractions):
        return evaluation
    retrieval = dataclasses.replace(retrieval, bank=f"{retrieval.bank}/part-{_part(evaluation)}")
    return dataclasses.replace(evaluation, retrieval=retrieval)


def _plain(evaluation: Evaluation) -> Encoded:
    return Kept() if evaluation.retrieval.bank else Encoded()


def _part(evaluation: Evaluation) -> str:
    """Returns a digest of all that fitted features depend on."""
    protocol, encoder = evaluation.protocol, evaluation.encoder
    chosen: dict[str, Json] = {
        **protocol.as_dict(),
        **dict.fromkeys(("neighbours", "temperature", "metric_resolution")),
    }
    identity = [chosen, str(getattr(encoder, "fingerprint", "")), evaluation.prompt.fingerprint]
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]


def fit_features(evaluation: Evaluation) -> GradientEncoder:
    """Returns the encoder of an evaluation, fitted to its prompt: with its support index, with components."""
    encoder = evaluation.encoder
    assert isinstance(encoder, GradientEncoder)
    if encoder.needs_support:
        encoder = dataclasses.replace(encoder, support=build_support(evaluation, encoder))
    if encoder.settings.pca is not None:
        encoder = dataclasses.replace(encoder, pca=build_pca(evaluation, encoder, encoder.settings.pca))
    return encoder


def build_support(evaluation: Evaluation, encoder: GradientEncoder) -> Support:
    """Builds the support index: the bank that the encoder alone would have, beside the evaluation's own.

    Raises:
      UserError: the folder of a kept bank holds the support of another encoder or prompt.
    """
    folder = f"{evaluation.retrieval.bank}/support" if evaluation.retrieval.bank else ""
    # Of features as they are: lengths matter to the head.
    retrieval = dataclasses.replace(evaluation.retrieval, bank=folder, distance="l2", index="exact")
    plain = dataclasses.replace(evaluation, encoder=encoder.encoder, retrieval=retrieval)
    bank = _plain(plain).bank(plain)
    keys, norms = normalise(bank.keys)
    keys, settings = keys.astype(bank.keys.dtype, copy=False), evaluation.retrieval
    kind = "auto" if settings.distance != "cosine" else settings.index
    scann = dataclasses.asdict(settings.scann)
    # Each process searches on its own, since images of other processes are encoded at other times.
    index = build_index(keys, kind, None, evaluation.progress, encoder.preset.fetched, **scann)
    digest = hashlib.sha256(json.dumps(bank_identity(plain), sort_keys=True).encode()).hexdigest()[:16]
    return Support(index, keys, norms, bank.image, digest)


def build_pca(evaluation: Evaluation, encoder: GradientEncoder, dim: int) -> Pca | None:
    """Fits principal components to the patches of a sample of the prompt; None where there are too few."""
    images = list(plan_bank(evaluation).quota)
    count = min(PCA_IMAGES, len(images))
    jobs = [(images[i], 0) for i in np.unique(np.linspace(0, len(images) - 1, count).astype(int))]
    rows: list[Float32[np.ndarray, "N F"]] = []
    for example in prompt_examples(evaluation, jobs):
        protocol = evaluation.protocol
        maps = encode_images(encoder, [example.image], 1, protocol.window, [example.index])
        rows.append(normalise(maps[0].reshape(-1, maps[0].shape[-1]))[0])
    return fit_pca(np.concatenate(rows), dim)
