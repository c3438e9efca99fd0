"""Hummingbird and Hummingbird++: Eq. 4 between two views, and retrieval of image labels from the bank (Sec. 3.3, 3.4).

Special cases: MoCLR (pooling "mean", no bank), supervised retrieval alone (Table 12), the supervised ViT (Table 1).
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
from hummingbird.models.context import unit_keys
from hummingbird.models.heads import MlpHead
from hummingbird.models.network import Network, initialise
from hummingbird.models.params import Params
from hummingbird.models.pretrainer import DTYPES
from hummingbird.objectives.contrastive import contrastive, top1
from hummingbird.objectives.interface import Batch, Common, Heads, Loss, Replicate, Scheduled
from hummingbird.objectives.supervised import classification, retrieval_cross_entropy


class HummingbirdHeads(nn.Module):
    """Projector, predictor and, for training without a bank, a linear classifier.

    Attributes:
      hidden, output: widths of projector and predictor.
      bn_momentum: decay of the running batch-norm statistics.
      classes: outputs of the classifier; 0: none.
      dtype: compute type.
    """

    hidden: int
    output: int
    bn_momentum: float
    classes: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.projector = MlpHead(self.hidden, self.output, self.bn_momentum, self.dtype)  # p
        self.predictor = MlpHead(self.hidden, self.output, self.bn_momentum, self.dtype)  # q
        if self.classes:
            self.classifier = nn.Dense(self.classes, dtype=self.dtype)

    def __call__(self, pooled: Float[Array, "B V D"]) -> Float[Array, "B V P"]:
        """Runs every head, for initialisation and tests; returns the predictions."""
        if self.classes:
            self.classify(pooled)
        return self.predict(self.project(pooled))

    def project(self, pooled: Float[Array, "B V D"]) -> Float[Array, "B V P"]:
        """Computes the projections z (Eq. 3); batch norm is over the batch of each view."""
        return jnp.stack([self.projector(pooled[:, i]) for i in range(pooled.shape[1])], axis=1)

    def predict(self, projections: Float[Array, "B V P"]) -> Float[Array, "B V P"]:
        """Computes the predictions q(z) (Eq. 4); batch norm is over the batch of each view."""
        return jnp.stack([self.predictor(projections[:, i]) for i in range(projections.shape[1])], axis=1)

    def classify(self, pooled: Float[Array, "B V D"]) -> Float[Array, "B V classes"]:
        """Computes the logits of the linear classifier, float32."""
        return self.classifier(pooled).astype(jnp.float32)


@dataclasses.dataclass(frozen=True)
class Hummingbird(Common):
    """L_SSL + alpha (CE_1 + CE_2); see `interface.Objective`.

    Attributes:
      heads: projector, predictor, classifier.
      contrastive_weight: weight of L_SSL (Eq. 4).
      supervised_weight: alpha, weight of the cross-entropy of labels (Sec. 3.4).
      supervised_beta: temperature of the attention that predicts labels.
      replicate: puts arrays whole on every device of a mesh.
    """

    heads: HummingbirdHeads
    contrastive_weight: float
    supervised_weight: float
    supervised_beta: float
    replicate: Replicate
    online_only = ("predictor", "classifier")

    @property
    def label_key(self) -> str:
        """The config key that asks for labels."""
        return "supervised.weight" if self.supervised_weight else ""

    @property
    def classes(self) -> int:
        """Outputs of the classifier."""
        return self.heads.classes

    def init(self, key: Key[Array, ""], width: int) -> Heads:
        """Returns the parameters of the heads; there is no other state."""
        return Heads(*initialise(self.heads, key, jnp.zeros((2, 2, width))), {})

    def loss(self, online: Network, target: Network | None, batch: Batch, extra: Params, schedules: Scheduled) -> Loss:
        """Computes the loss of the whole batch."""
        assert target is not None
        total, metrics = jnp.zeros(()), dict[str, Array]()
        pooled = online.outputs[GLOBAL].pooled  # [B, 2, D]
        if self.contrastive_weight:
            projections, online = online.apply(self.heads, HummingbirdHeads.project, pooled)
            predictions, online = online.apply(self.heads, HummingbirdHeads.predict, projections)
            targets, target = target.apply(self.heads, HummingbirdHeads.project, target.outputs[GLOBAL].pooled)
            tau = schedules["temperature"]
            # Eq. 4 in both directions; their mean is the paper's L^ij averaged over (i, j) and (j, i).
            ssl = 0.5 * (
                contrastive(predictions[:, 0], targets[:, 1], tau) + contrastive(predictions[:, 1], targets[:, 0], tau)
            )
            total += self.contrastive_weight * ssl
            metrics |= {"loss_ssl": ssl, "top1": top1(predictions[:, 0], targets[:, 1])}
        if self.supervised_weight and self.heads.classes:
            logits, _ = online.apply(self.heads, HummingbirdHeads.classify, pooled)  # [B, 2, classes]
            ce, correct = classification(logits, batch.labels)
            total += self.supervised_weight * ce
            metrics = {"top1": correct} | metrics | {"loss_classifier": ce, "classifier_top1": correct}
        elif self.supervised_weight:
            keys = unit_keys(online.bank.keys, online.model.dtype)
            keys, classes = self.replicate((keys, online.bank.labels))
            ce1, ce2 = (
                retrieval_cross_entropy(pooled[:, view], keys, classes, batch.labels, self.supervised_beta)
                for view in (0, 1)
            )
            total += self.supervised_weight * (ce1 + ce2)
            metrics["loss_retrieval"] = ce1 + ce2
        return Loss(total, metrics, online, target, extra)


def build(config: PretrainConfig, replicate: Replicate) -> Hummingbird:
    """Builds the objective from `heads`, `contrastive`, `supervised` and `dtype` of a config."""
    classifies = config.supervised.weight and config.supervised.objective == "classifier"
    return Hummingbird(
        heads=HummingbirdHeads(
            hidden=config.heads.hidden_dim,
            output=config.heads.output_dim,
            bn_momentum=config.heads.bn_momentum,
            classes=config.supervised.classes if classifies else 0,
            dtype=DTYPES[config.dtype],
        ),
        contrastive_weight=config.contrastive.weight,
        supervised_weight=config.supervised.weight,
        supervised_beta=config.supervised.temperature,
        replicate=replicate,
    )
