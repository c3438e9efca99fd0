"""The self-supervised objectives that gradients are taken of, as pure functions of a head's outputs.

Equations are those of "No Train, all Gain" (FUNGI, NeurIPS 2024). Where its public code differs, the arguments say so.
"""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

# Table 17.
KL_TEMPERATURE, KL_DIM = 15.0, 768
TEACHER_TEMPERATURE, STUDENT_TEMPERATURE, DINO_DIM = 0.07, 0.1, 2048
SIMCLR_TEMPERATURE, SIMCLR_DIM = 0.07, 96


def unit(x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
    """Divides vectors by their L2 norms; zero vectors stay zero, and so do the gradients through them."""
    squares = jnp.sum(x * x, axis=-1, keepdims=True)
    positive = squares > 0
    return jnp.where(positive, x * jax.lax.rsqrt(jnp.where(positive, squares, 1)), 0)


def kl_to_uniform(outputs: Float[Array, "*B K"], temperature: float = KL_TEMPERATURE) -> Float[Array, "*B"]:
    """Returns KL(U || softmax(z / T)) of each row.

    Eq. 6 prints the other direction, the code has this one; at this temperature both have the same gradient up to its
    length (cosine above 0.99999).

    Args:
      outputs: z of a head on L2-normalised features.
      temperature: T.

    Example:
      >>> float(kl_to_uniform(jnp.zeros(4)))
      0.0
    """
    x = outputs / temperature
    return jnp.log1p(jnp.mean(_exp_minus_line(x - jnp.mean(x, axis=-1, keepdims=True)), axis=-1))


@jax.custom_jvp
def _exp_minus_line(x: Float[Array, "*B"]) -> Float[Array, "*B"]:
    """Returns exp(x) - 1 - x, precisely, and with a precise derivative, for small x as well.

    KL(U || p) = log mean exp(x) = log(1 + mean(exp(x) - 1 - x)) for centred logits x. Gradients of the usual formula
    are p - 1 / K, differences of numbers that agree in all but three digits.
    """
    near = x * x / 2 * (1 + x / 3 * (1 + x / 4 * (1 + x / 5 * (1 + x / 6))))
    return jnp.where(jnp.abs(x) < 0.2, near, jnp.expm1(x) - x)


@_exp_minus_line.defjvp
def _exp_minus_line_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return _exp_minus_line(primals[0]), jnp.expm1(primals[0]) * tangents[0]


def dino(
    teacher: Float[Array, "*B G K"],
    student: Float[Array, "*B V K"],
    teacher_temperature: float = TEACHER_TEMPERATURE,
    student_temperature: float = STUDENT_TEMPERATURE,
) -> Float[Array, "*B"]:
    """Sums the cross-entropies of all pairs of a teacher's and a student's view (Eq. 4), the same view among them.

    Nothing is centred, and no gradient flows to the teacher.

    Args:
      teacher: outputs of the teacher's head on the L2-normalised features of the global crops.
      student: outputs of the student's head on those of all crops.
      teacher_temperature, student_temperature: of the two softmaxes.
    """
    targets = jax.lax.stop_gradient(jax.nn.softmax(teacher / teacher_temperature)).sum(axis=-2, keepdims=True)
    return -jnp.sum(targets * jax.nn.log_softmax(student / student_temperature), axis=(-2, -1))


def info_nce(
    positives: Float[Array, "P d"],
    negatives: Float[Array, "N d"],
    temperature: float = SIMCLR_TEMPERATURE,
    denominator: float | None = None,
    kept: Bool[Array, " N"] | None = None,
) -> Float[Array, ""]:
    """Contrasts the views of one image with each other against negatives, which get no gradient (Eq. 5).

    The mean over the positives i of

        -1 / (P - 1) sum_{j != i} s_ij / tau + log( sum_{j != i} exp(s_ij / tau_d) + sum_n exp(s_in / tau_d) )

    with cosines s. The paper has tau_d = tau; the public in-context code has tau_d = 1.

    Args:
      positives: outputs of the head, P >= 2.
      negatives: outputs of the head.
      temperature: tau.
      denominator: tau_d; None: tau.
      kept: which of the negatives count; None: all.
    """
    denominator = temperature if denominator is None else denominator
    u, n = unit(positives), jax.lax.stop_gradient(unit(negatives))
    among = jnp.where(jnp.eye(len(u), dtype=bool), -jnp.inf, u @ u.T / denominator)
    against = u @ n.T / denominator
    if kept is not None:
        against = jnp.where(kept, against, -jnp.inf)
    partition = jax.nn.logsumexp(jnp.concatenate([among, against], axis=1), axis=1)
    return attraction(positives, temperature) + jnp.mean(partition)


def attraction(positives: Float[Array, "P d"], temperature: float = SIMCLR_TEMPERATURE) -> Float[Array, ""]:
    """Returns the first term of `info_nce` alone: each view is drawn to the mean of the others.

    Costs a sum over the views instead of a matrix of all pairs: sum_{i != j} s_ij = |sum_i u_i|^2 - sum_i |u_i|^2.

    Args:
      positives: outputs of the head, P >= 2.
      temperature: tau.
    """
    u, count = unit(positives), len(positives)
    total = jnp.sum(u, axis=0)
    return -(jnp.sum(total * total) - jnp.sum(u * u)) / (temperature * count * (count - 1))
