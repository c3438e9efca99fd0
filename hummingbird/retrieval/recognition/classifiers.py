"""Classifiers on features: how each is fitted, chosen and scored."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from hummingbird.config.images import Images
from hummingbird.data.labelled import stratified
from hummingbird.errors import UserError
from hummingbird.gradients.pca import fit_pca
from hummingbird.retrieval.recognition import knn
from hummingbird.retrieval.recognition.attentive import Probe, fit_attentive, scores_of
from hummingbird.retrieval.recognition.embed import Embedded
from hummingbird.retrieval.recognition.linear import fit_linear
from hummingbird.retrieval.recognition.logistic import fit_logistic
from hummingbird.retrieval.recognition.pooled import feature_sets
from hummingbird.retrieval.recognition.rows import predict
from hummingbird.retrieval.recognition.scores import TOP, best_first, mean_per_class, top1, top5
from hummingbird.run.files import Json


class Problem(NamedTuple):
    """What a classifier is fitted and tested on.

    Attributes:
      train, test: features and labels.
      validation: official images to choose settings on; None: a share of the training images.
      classes: number of classes.
      pca: principal components to keep; None: all features.
      seed: decides the validation images and the order of training.
      index: kind of index for neighbours.
      key_dtype: of its keys.
      pooling: what the features are, a key of `pooled.POOLING`.
      parts: vectors of equal length that a feature consists of: patches, or one.
    """

    train: Embedded
    test: Embedded
    validation: Embedded | None
    classes: int
    pca: int | None = None
    seed: int = 0
    index: str = "auto"
    key_dtype: str = "float32"
    pooling: str = "mean"
    parts: int = 1

    def reduced(self) -> Problem:
        """Returns the problem with features after PCA, as rows that need not be unit vectors."""
        pca = fit_pca(self.train.units, self.pca)
        if pca is None:
            return self
        parts = [part and part._replace(units=pca(part.units)) for part in self[:3]]
        return self._replace(train=parts[0], test=parts[1], validation=parts[2], pca=None)


class Outcome(NamedTuple):
    """What a classifier made of the test images.

    Attributes:
      predicted: class ids.
      scores: by name, 0-100: "top1", "mean_per_class", and "top5" where classes are ranked.
      chosen: settings that were chosen.
    """

    predicted: Int[np.ndarray, " N"]
    scores: dict[str, float]
    chosen: dict[str, Json]


def outcome(problem: Problem, ranking: Int[np.ndarray, "N k"], chosen: dict[str, Json] | None = None) -> Outcome:
    """Scores a ranking of classes, best first; one with a single class has no top-5."""
    truth, predicted = problem.test.labels, ranking[:, 0]
    scores = {"top1": top1(truth, predicted), "mean_per_class": mean_per_class(truth, predicted, problem.classes)}
    if ranking.shape[1] > 1 and problem.classes > TOP:
        scores["top5"] = top5(truth, ranking)
    return Outcome(predicted, scores, chosen or {})


# ---------------------------------------------------------------- neighbours
def by_majority(problem: Problem, settings: Images) -> Outcome:
    """Classifies by the majority of the k nearest images under the Euclidean distance, as scikit-learn does."""
    k, train = settings.neighbours, problem.train
    if k > len(train.labels):
        raise UserError(
            f"config key images.neighbours: {k} neighbours are more than the {len(train.labels)} training images; "
            "lower it"
        )
    ids, _ = knn.search(train.units, problem.test.units, k, "l2", problem.index, "float32")
    return outcome(problem, knn.majority(train.labels[ids], problem.classes)[:, None])


def by_weighted_vote(problem: Problem, settings: Images) -> Outcome:
    """Classifies by DINO's weighted vote, for several k; scores without a k are those of k = 20, or of the first k."""
    train, test = problem.train, problem.test
    counts = [k for k in settings.vote_neighbours if k <= len(train.labels)]
    if not counts:
        raise UserError(
            f"config key images.vote_neighbours: each is more than the {len(train.labels)} training images; lower one"
        )
    keys, queries = (normalised(part.units) for part in (train, test))
    ids, cosines = knn.search(keys, queries, max(counts), "cosine", problem.index, problem.key_dtype)
    found = {
        k: outcome(
            problem, knn.weighted(train.labels[ids[:, :k]], cosines[:, :k], problem.classes, settings.vote_temperature)
        )
        for k in counts
    }
    main = found[20 if 20 in found else counts[0]]
    each = {
        f"k{k}_{name}": value
        for k, one in found.items()
        for name, value in one.scores.items()
        if name != "mean_per_class"
    }
    return main._replace(scores={**main.scores, **each}, chosen={"neighbours": counts})


def normalised(rows: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
    """Returns rows of length 1, without copying those that have it; zeros stay zeros."""
    norms = np.sqrt(np.einsum("nd,nd->n", rows, rows))[:, None]
    if np.all((norms == 0) | (np.abs(norms - 1) < 1e-5)):
        return rows
    return rows / np.where(norms > 0, norms, 1)


# ---------------------------------------------------------------- linear
def by_logistic_regression(problem: Problem, settings: Images) -> Outcome:
    """Classifies by logistic regression; the penalty is the best one on validation images."""
    chosen = settings.logistic
    fit_on, judge, again = validation(problem, settings.validation)

    def fit(train: Embedded, penalties: tuple[float, ...]) -> list[np.ndarray]:
        asked = (chosen.intercept, chosen.iterations, chosen.tolerance)
        return [found.weights for found in fit_logistic(train.units, train.labels, problem.classes, penalties, *asked)]

    penalties = chosen.penalties
    if chosen.inverse_penalties:
        penalties = tuple(1 / (c * len(fit_on.labels)) for c in chosen.inverse_penalties)
    fitted = fit(fit_on, penalties) if len(penalties) > 1 or not again else []
    accuracies = [top1(judge.labels, predict(w, judge.units).argmax(axis=1)) for w in fitted]
    best = int(np.argmax(accuracies)) if fitted else 0
    weights = fit(problem.train, penalties[best : best + 1])[0] if again else fitted[best]
    ranking = best_first(predict(weights, problem.test.units), TOP)
    return outcome(problem, ranking, {"penalty": penalties[best], "validation_top1": accuracies})


def by_linear_layer(problem: Problem, settings: Images) -> Outcome:
    """Classifies by a linear layer on features that are not normalised; learning rate and layers are chosen."""
    linear = settings.linear
    on_test = linear.selected_on == "test"
    split = validation(problem, settings.validation)
    fit_on, judge, again = (problem.train, problem.test, False) if on_test else split
    rates, size = linear.learning_rates, (linear.batch_size, linear.steps, problem.seed)
    sets = feature_sets(settings.pooling, problem.train.units.shape[1])
    parts = {name: (fit_on.columns(x), judge.columns(x)) for name, x in sets.items()}
    fitted = {name: fit_linear(mine, problem.classes, rates, *size) for name, (mine, _) in parts.items()}
    accuracies = {
        name: [top1(other.labels, predict(w, other.units, other.norms).argmax(axis=1)) for w in fitted[name]]
        for name, (_, other) in parts.items()
    }
    name = max(accuracies, key=lambda name: max(accuracies[name]))
    best = int(np.argmax(accuracies[name]))
    train, test = problem.train.columns(sets[name]), problem.test.columns(sets[name])
    weights = fit_linear(train, problem.classes, rates[best : best + 1], *size)[0] if again else fitted[name][best]
    ranking = best_first(predict(weights, test.units, test.norms), TOP)
    chosen: dict[str, Json] = {"learning_rate": rates[best], f"{linear.selected_on}_top1": accuracies[name]}
    if len(sets) > 1:
        chosen |= {"features": name, f"{linear.selected_on}_best": {key: max(x) for key, x in accuracies.items()}}
    return outcome(problem, ranking, chosen)


def by_attention(problem: Problem, settings: Images) -> Outcome:
    """Classifies by a learned attention over patches and a linear layer; the learning rate is chosen."""
    if problem.pooling != "patches":
        raise UserError("config key images.classifiers: attentive attends to patches; set images.pooling=patches")
    chosen, (fit_on, judge, again) = settings.attentive, validation(problem, settings.validation)
    rates = chosen.learning_rates

    def fit(train: Embedded, rate: float) -> Probe:
        tokens = train.raw().reshape(len(train.units), problem.parts, -1)
        size = (chosen.weight_decay, chosen.batch_size, chosen.steps, chosen.heads, problem.seed)
        return fit_attentive(tokens, train.labels, problem.classes, rate, *size)

    def ranking(probe: Probe, images: Embedded) -> Int[np.ndarray, "N k"]:
        return best_first(scores_of(probe, images.raw().reshape(len(images.units), problem.parts, -1)), TOP)

    fitted = [fit(fit_on, rate) for rate in rates] if len(rates) > 1 or not again else []
    accuracies = [top1(judge.labels, ranking(probe, judge)[:, 0]) for probe in fitted]
    best = int(np.argmax(accuracies)) if fitted else 0
    probe = fit(problem.train, rates[best]) if again else fitted[best]
    return outcome(problem, ranking(probe, problem.test), {"learning_rate": rates[best], "validation_top1": accuracies})


class Validation(NamedTuple):
    """How settings are chosen.

    Attributes:
      fit_on: images to fit each setting on.
      judge: images to compare them on.
      again: whether the best one is fitted again on all training images, among which `judge` is.
    """

    fit_on: Embedded
    judge: Embedded
    again: bool


def validation(problem: Problem, share: float) -> Validation:
    """Returns the official validation images, or a share of each class of the training images."""
    if problem.validation is not None:
        return Validation(problem.train, problem.validation, False)
    kept, held = stratified(problem.train.labels, share, problem.seed)
    if not len(held):
        return Validation(problem.train, problem.train, False)  # one image of each class: nothing to choose on
    return Validation(problem.train.take(kept), problem.train.take(held), True)


class Classifier(NamedTuple):
    """A classifier.

    Attributes:
      title: its name for readers.
      run: (problem, settings) -> outcome.
      reduced: whether PCA comes first, where it is wanted.
    """

    title: str
    run: Callable[[Problem, Images], Outcome]
    reduced: bool = True


CLASSIFIERS: dict[str, Classifier] = {
    "knn": Classifier("k-NN, majority", by_majority),
    "weighted_knn": Classifier("k-NN, weighted vote", by_weighted_vote),
    "logistic": Classifier("logistic regression", by_logistic_regression),
    "linear": Classifier("linear layer by SGD", by_linear_layer, reduced=False),
    "attentive": Classifier("attentive probe", by_attention, reduced=False),
}
