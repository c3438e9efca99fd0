"""Supervised training: softmax cross-entropy of image labels on the pooled features, with or without context.

The supervised ViT of Table 1, with label smoothing (Szegedy et al. 2016). One view per image is enough:
`augment.views=1`. Mixed images (mixup, CutMix) are left out: in a step images meet only in the loss.
"""

# JAX's own annotations are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float, Key

from hummingbird.config import PretrainConfig
from hummingbird.data.views import GLOBAL
from hummingbird.errors import UserError
from hummingbird.models.network import Network, initialise
from hummingbird.models.params import Params
from hummingbird.models.pretrainer import DTYPES
from hummingbird.objectives.interface import Batch, Common, Heads, Loss, Replicate, Scheduled
from hummingbird.objectives.supervised import classification


class LinearClassifier(nn.Module):
    """A linear classifier, initialised with zeros: the first loss is log(classes).

    Attributes:
      count: number of classes.
      dtype: compute type.
    """

    count: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.classifier = nn.Dense(self.count, dtype=self.dtype, kernel_init=nn.initializers.zeros)

    def __call__(self, pooled: Float[Array, "B V D"]) -> Float[Array, "B V classes"]:
        """Computes the logits, float32."""
        return self.classifier(pooled).astype(jnp.float32)


@dataclasses.dataclass(frozen=True)
class Classifier(Common):
    """Cross-entropy, the mean over views and labelled images; see `interface.Objective`.

    Attributes:
      heads: the classifier.
      smoothing: probability that is spread evenly over all classes.
    """

    heads: LinearClassifier
    smoothing: float
    has_target = False

    @property
    def label_key(self) -> str:
        """The config key that asks for labels."""
        return "objective.name"

    @property
    def classes(self) -> int:
        """Outputs of the classifier."""
        return self.heads.count

    def init(self, key: Key[Array, ""], width: int) -> Heads:
        """Returns the parameters of the classifier; there is no other state."""
        return Heads(*initialise(self.heads, key, jnp.zeros((2, 1, width))), {})

    def loss(self, online: Network, target: Network | None, batch: Batch, extra: Params, schedules: Scheduled) -> Loss:
        """Computes the loss of the whole batch."""
        logits, online = online.apply(self.heads, LinearClassifier.__call__, online.outputs[GLOBAL].pooled)
        summed, correct = classification(logits, batch.labels, self.smoothing)
        value = summed / logits.shape[1]
        return Loss(value, {"loss_classifier": value, "top1": correct}, online, None, extra)


def build(config: PretrainConfig, replicate: Replicate) -> Classifier:
    """Builds the objective from `supervised` and `dtype` of a config.

    Raises:
      UserError: the config weighs labels against another loss, of which there is none.
    """
    if config.supervised.weight:
        raise UserError(
            "config key supervised.weight: objective.name=supervised has no other loss to weigh labels against; use 0"
        )
    heads = LinearClassifier(config.supervised.classes, DTYPES[config.dtype])
    return Classifier(heads, config.supervised.label_smoothing)
