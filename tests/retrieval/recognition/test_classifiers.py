"""Classifiers on features, against scikit-learn and by hand."""

import numpy as np
import pytest

from hummingbird.config.images import Images, Linear, Logistic
from hummingbird.errors import UserError
from hummingbird.gradients.pca import fit_pca, skipped
from hummingbird.retrieval.recognition import knn
from hummingbird.retrieval.recognition.classifiers import CLASSIFIERS, Problem
from hummingbird.retrieval.recognition.embed import Embedded
from hummingbird.retrieval.recognition.few_shot import draw_shots
from hummingbird.retrieval.recognition.logistic import fit_logistic
from hummingbird.retrieval.recognition.pooled import feature_sets
from hummingbird.retrieval.recognition.scores import confusion, mean_per_class, per_class, top1, top5

DIM, CLASSES = 12, 5


def blobs(count, seed, spread=0.9):
    """Unit features around a centre for each class."""
    centres = np.random.default_rng(0).normal(size=(CLASSES, DIM))
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % CLASSES).astype(np.int32)
    rows = (centres[labels] + spread * rng.normal(size=(count, DIM))).astype(np.float32)
    norms = np.linalg.norm(rows, axis=1).astype(np.float32)
    return Embedded(rows / norms[:, None], norms, labels)


def problem(**changes):
    return Problem(blobs(200, 1), blobs(80, 2), None, CLASSES)._replace(**changes)


@pytest.mark.parametrize("index", ["exact", "device"])
def test_the_majority_vote_is_scikit_learns(index):
    neighbors = pytest.importorskip("sklearn.neighbors")
    train, test = problem().train, problem().test
    rows = train.units * np.linspace(0.5, 2, len(train.units), dtype=np.float32)[:, None]
    given = problem(train=train._replace(units=rows), index=index)
    theirs = neighbors.KNeighborsClassifier(20).fit(rows, train.labels).predict(test.units)
    np.testing.assert_array_equal(CLASSIFIERS["knn"].run(given, Images()).predicted, theirs)


def test_of_equally_frequent_classes_the_smallest_id_wins():
    neighbors = pytest.importorskip("sklearn.neighbors")
    labels = np.array([[3, 1, 3, 1], [2, 0, 4, 4], [4, 3, 2, 1]], np.int32)
    np.testing.assert_array_equal(knn.majority(labels, 5), [1, 4, 1])
    rows = np.array([[0.0], [1], [2], [3]])
    theirs = [neighbors.KNeighborsClassifier(4).fit(rows, of).predict([[1.4]])[0] for of in labels]
    assert theirs == [1, 4, 1]


def test_the_weighted_vote_sums_exponentials_of_cosines():
    labels = np.array([[0, 1, 1, 2]], np.int32)
    cosines = np.array([[0.90, 0.85, 0.84, 0.1]], np.float32)
    votes = {0: np.exp(0.9 / 0.07), 1: np.exp(0.85 / 0.07) + np.exp(0.84 / 0.07), 2: np.exp(0.1 / 0.07)}
    assert knn.weighted(labels, cosines, 3, 0.07)[0].tolist() == sorted(votes, key=votes.get, reverse=True) == [0, 1, 2]
    # The nearest one is outvoted by two that are nearly as near.
    assert knn.weighted(labels, cosines, 3, 0.2)[0].tolist() == [1, 0, 2]


def test_scores_of_the_weighted_vote_are_given_for_every_k_that_there_are_images_for():
    found = CLASSIFIERS["weighted_knn"].run(problem(), Images(vote_neighbours=(10, 20, 500)))
    assert {"k10_top1", "k20_top1"} <= found.scores.keys()
    assert "k500_top1" not in found.scores
    assert found.scores["top1"] == found.scores["k20_top1"]
    with pytest.raises(UserError, match="vote_neighbours: each is more than the 200"):
        CLASSIFIERS["weighted_knn"].run(problem(), Images(vote_neighbours=(500,)))


@pytest.mark.parametrize("intercept", [False, True])
def test_logistic_regression_has_scikit_learns_coefficients(intercept):
    linear_model = pytest.importorskip("sklearn.linear_model")
    train, penalties = problem().train, (1e-3, 1e-2)
    fitted = fit_logistic(train.units, train.labels, CLASSES, penalties, intercept, iterations=500, tolerance=1e-6)
    for penalty, ours in zip(penalties, fitted, strict=True):
        c = 1 / (penalty * len(train.labels))
        theirs = linear_model.LogisticRegression(C=c, fit_intercept=intercept, tol=1e-9, max_iter=2000)
        theirs.fit(train.units.astype(np.float64), train.labels)
        np.testing.assert_allclose(ours.weights[:DIM].T, theirs.coef_, atol=2e-3)
        if intercept:
            # Adding the same number to all intercepts changes nothing.
            ours_0, theirs_0 = (x - x.mean() for x in (ours.weights[DIM], theirs.intercept_))
            np.testing.assert_allclose(ours_0, theirs_0, atol=2e-3)


def test_blocks_of_rows_do_not_change_logistic_regression(monkeypatch):
    train = problem().train
    whole = fit_logistic(train.units, train.labels, CLASSES, (1e-2,))[0].weights
    monkeypatch.setattr("hummingbird.retrieval.recognition.rows.BLOCK", 64)  # 200 rows: the last block is padded
    np.testing.assert_allclose(fit_logistic(train.units, train.labels, CLASSES, (1e-2,))[0].weights, whole, atol=1e-3)


def test_the_penalty_is_chosen_on_validation_images_and_the_classifier_fitted_again():
    settings = Images(logistic=Logistic(penalties=(1e-3, 10.0), tolerance=1e-4))
    held = CLASSIFIERS["logistic"].run(problem(), settings)
    assert held.chosen["penalty"] == 1e-3
    assert len(held.chosen["validation_top1"]) == 2
    assert held.scores["top1"] > 80
    official = CLASSIFIERS["logistic"].run(problem(validation=blobs(60, 3)), settings)
    assert official.chosen["penalty"] == 1e-3
    inverse = Images(logistic=Logistic(inverse_penalties=(1.0,), tolerance=1e-4))
    assert CLASSIFIERS["logistic"].run(problem(), inverse).chosen["penalty"] == pytest.approx(1 / 160)


@pytest.mark.parametrize("selected_on", ["validation", "test"])
def test_a_linear_layer_is_trained_for_all_learning_rates(selected_on):
    linear = Linear(learning_rates=(1e-5, 0.3), batch_size=64, steps=120, selected_on=selected_on)
    found = CLASSIFIERS["linear"].run(problem(), Images(linear=linear))
    assert found.chosen["learning_rate"] == 0.3
    assert len(found.chosen[f"{selected_on}_top1"]) == 2
    assert found.scores["top1"] > 80


@pytest.mark.parametrize("samples", [60, 9])  # more and fewer samples than features
def test_principal_components_are_scikit_learns_up_to_sign(samples):
    decomposition = pytest.importorskip("sklearn.decomposition")
    rows = np.random.default_rng(0).normal(size=(samples, DIM)).astype(np.float32) * np.linspace(
        1, 3, DIM, dtype=np.float32
    )
    ours, theirs = fit_pca(rows, 4), decomposition.PCA(4, svd_solver="full").fit(rows)
    np.testing.assert_allclose(np.abs(ours(rows)), np.abs(theirs.transform(rows)), atol=1e-4)
    assert (ours.axes[np.abs(ours.axes).argmax(axis=0), range(4)] > 0).all()


@pytest.mark.parametrize("components", [5, DIM])  # the latter is skipped
def test_pca_and_k_nn_classify_as_scikit_learn_does(components):
    """500 rows, each of them twice and of another class the second time, so that votes tie."""
    decomposition, neighbors = (pytest.importorskip(f"sklearn.{name}") for name in ("decomposition", "neighbors"))
    half, test = blobs(250, 1, spread=2.0), blobs(60, 2)
    units = np.concatenate([half.units, half.units])
    labels = np.concatenate([half.labels, (half.labels + 1) % CLASSES]).astype(np.int32)
    given = Problem(Embedded(units, np.ones(500, np.float32), labels), test, None, CLASSES, pca=components)
    ours = CLASSIFIERS["knn"].run(given.reduced(), Images(neighbours=2)).predicted
    rows, asked = units.astype(np.float64), test.units.astype(np.float64)
    if components < DIM:
        pca = decomposition.PCA(components, svd_solver="full").fit(rows)
        rows, asked = pca.transform(rows), pca.transform(asked)
    theirs = neighbors.KNeighborsClassifier(2).fit(rows, labels).predict(asked)
    np.testing.assert_array_equal(ours, theirs)


def test_pca_is_skipped_where_it_is_not_below_samples_and_features():
    assert [skipped(p, 100, 50) for p in (None, 49, 50, 99)] == [True, False, True, True]
    assert skipped(40, 40, 50)
    assert not skipped(39, 40, 50)
    assert problem(pca=DIM).reduced().train.units.shape[1] == DIM
    assert problem(pca=5).reduced().test.units.shape[1] == 5


def test_few_shot_images_are_drawn_from_each_class():
    labels, names = problem().train.labels, list("abcde")
    first = draw_shots(labels, names, 5, "first", 0)
    assert all((first[5 * i : 5 * i + 5] == np.flatnonzero(labels == i)[:5]).all() for i in range(CLASSES))
    drawn = [draw_shots(labels, names, 5, "random", seed) for seed in (0, 0, 1)]
    assert (np.bincount(labels[drawn[0]]) == 5).all()
    assert (drawn[0] == drawn[1]).all()
    assert (drawn[0] != drawn[2]).any()
    with pytest.raises(UserError, match=r"images.shots: 41 images of each class are needed, and class 'a' .* has 40"):
        draw_shots(labels, names, 41, "random", 0)


def test_scores_by_hand():
    truth, predicted = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    assert top1(truth, predicted) == 75
    assert mean_per_class(truth, predicted, 3) == pytest.approx((200 / 3 + 100) / 2)
    assert per_class(truth, predicted, ["a", "b", "c"]) == {"a": pytest.approx(200 / 3), "b": 100, "c": None}
    assert confusion(truth, predicted, 2).tolist() == [[2, 1], [0, 1]]
    assert top5(np.array([7, 1]), np.array([[1, 2, 3, 4, 5, 7], [5, 4, 3, 2, 1, 0]])) == 50


def test_the_linear_layer_chooses_among_the_layers_of_an_encoder():
    noise = np.random.default_rng(3).normal(size=(280, 4 * DIM)).astype(np.float32)
    given = problem()

    def layered(part, noise):
        """Five parts of equal width: only the last one, the mean of the patches, tells classes apart."""
        rows = np.concatenate([3 * noise[: len(part.units)], part.raw()], axis=1)
        norms = np.linalg.norm(rows, axis=1)
        return Embedded(rows / norms[:, None], norms, part.labels)

    given = problem(train=layered(given.train, noise), test=layered(given.test, noise[200:]))
    settings = Images(pooling="layers", linear=Linear(steps=100, batch_size=64, learning_rates=(0.01, 0.1)))
    found = CLASSIFIERS["linear"].run(given, settings)
    assert found.chosen["features"] == "1 block and patches"
    assert found.chosen["validation_best"].keys() == feature_sets("layers", 5 * DIM).keys()
    assert found.scores["top1"] > 60
