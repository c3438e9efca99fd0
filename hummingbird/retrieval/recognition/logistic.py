"""Multinomial logistic regression with an L2 penalty: L-BFGS in SciPy, with loss and gradient from the devices."""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jax import Array
from jaxtyping import Float32, Float64, Int32

from hummingbird.retrieval.recognition.rows import Rows, place

HISTORY = 10  # of L-BFGS


class Fitted(NamedTuple):
    """A fitted classifier.

    Attributes:
      weights: a column for each class; the last row is the intercept if there is one.
      steps: of L-BFGS.
      gradient: its largest entry at the end.
    """

    weights: Float32[np.ndarray, "E C"]
    steps: int
    gradient: float


def fit_logistic(
    features: Float32[np.ndarray, "N D"],
    labels: Int32[np.ndarray, " N"],
    classes: int,
    penalties: tuple[float, ...],
    intercept: bool = False,
    iterations: int = 300,
    tolerance: float = 1e-5,
) -> list[Fitted]:
    """Minimises mean_i -log softmax(W^T x_i)_(y_i) + penalty / 2 |W|^2 for each penalty (FUNGI, App. A.3).

    scikit-learn's C is 1 / (penalty N). The largest penalty is fitted first, and each of the others begins where the
    one before ended. Features take 4 N D bytes on the devices, logits those of 8192 rows; the host keeps 20 matrices
    of weights in float64.

    Args:
      features, labels: of the training images.
      classes: C.
      penalties: each fitted by itself.
      intercept: add a bias for each class, without penalty.
      iterations: most steps.
      tolerance: largest entry of the gradient at which to stop.

    Returns:
      A classifier for each penalty, in their order.
    """
    rows = place(features, labels, intercept=intercept)
    shape = (rows.features.shape[-1], classes)
    penalised = np.ones((shape[0], 1))
    penalised[-1] = not intercept
    weights = np.zeros(shape)
    fitted: dict[float, Fitted] = {}
    for penalty in sorted(penalties, reverse=True):
        found = scipy.optimize.minimize(
            functools.partial(objective, shape=shape, rows=rows, penalty=penalty * penalised),
            weights.ravel(),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": iterations, "maxfun": 2 * iterations, "gtol": tolerance, "ftol": 0, "maxcor": HISTORY},
        )
        weights = found.x.reshape(shape)
        fitted[penalty] = Fitted(weights.astype(np.float32), int(found.nit), float(np.abs(found.jac).max()))
    return [fitted[penalty] for penalty in penalties]


def objective(
    flat: Float64[np.ndarray, " n"], shape: tuple[int, int], rows: Rows, penalty: Float64[np.ndarray, "E 1"]
) -> tuple[float, Float64[np.ndarray, " n"]]:
    """Returns the penalised loss and its gradient, whose sums over images the devices compute in float32."""
    weights = flat.reshape(shape)
    loss, gradient = cross_entropy(jnp.asarray(weights, jnp.float32), rows)
    penalties = penalty * weights
    return float(loss) + float(np.sum(penalties * weights)) / 2, (np.asarray(gradient, np.float64) + penalties).ravel()


@jax.jit
def cross_entropy(weights: Float32[Array, "E C"], rows: Rows) -> tuple[Float32[Array, ""], Float32[Array, "E C"]]:
    """Returns the mean cross-entropy of softmax(W^T x) and its gradient X^T (softmax(X W) - Y), block by block."""

    def add(total: tuple[Array, Array], block: Rows) -> tuple[tuple[Array, Array], None]:
        logits = jnp.matmul(block.features, weights, precision="highest")
        true = jnp.take_along_axis(logits, block.labels[:, None], axis=1)[:, 0]
        losses = jax.nn.logsumexp(logits, axis=1) - true
        slopes = jax.nn.softmax(logits) - jax.nn.one_hot(block.labels, logits.shape[1])
        gradient = jnp.matmul(block.features.T, block.weights[:, None] * slopes, precision="highest")
        return (total[0] + jnp.sum(block.weights * losses), total[1] + gradient), None

    return jax.lax.scan(add, (jnp.float32(0), jnp.zeros_like(weights)), rows)[0]
