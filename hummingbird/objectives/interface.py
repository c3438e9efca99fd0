"""What an objective is: heads, a state of its own, outputs per image, and a loss over the batch.

To add one, write a file with a class like `simclr.SimCLR` and a `build` function, give it a name in `OBJECTIVES` and in
`config.pretrain.Objective`, and say in `objectives/__init__.py` which of the shared settings it uses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol, runtime_checkable

from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Int, Key, UInt8

from hummingbird.data.views import GLOBAL
from hummingbird.models.network import Network
from hummingbird.models.params import Params
from hummingbird.models.pretrainer import ViewOutputs


class Batch(NamedTuple):
    """A global batch of B images.

    Attributes:
      views: {view group: V crops of size S of each image}; groups differ in V and S.
      labels: image labels, -1 for images without one.
    """

    views: Mapping[str, UInt8[Array, "B V S S 3"]]
    labels: Int[Array, " B"]


class Heads(NamedTuple):
    """What an objective adds to the state at step 0.

    Attributes:
      params: parameters of its heads, at the top level of theta: {"projector": ...}.
      stats: their running batch-norm statistics.
      extra: state of its own that its loss updates: centres, queues. Saved, restored and sharded with the rest.
    """

    params: Params
    stats: Params
    extra: Params


class Loss(NamedTuple):
    """What an objective makes of a batch.

    Attributes:
      value: the loss, a float32 scalar.
      metrics: scalars for the log.
      online: the online network; its running statistics are kept.
      target: the target network; its running statistics are kept. None without a target network.
      extra: the objective's own state after the batch.
    """

    value: Float[Array, ""]
    metrics: dict[str, Array]
    online: Network
    target: Network | None
    extra: Params


PerImage = Mapping[str, ViewOutputs]
Views = Mapping[str, Float[Array, "b _ _ _ 3"]]  # augmented views by group, [b, V, S, S, 3], with pixels in [0, 1]
ImageKeys = Key[Array, " b"]  # one PRNG key per image
Scheduled = Mapping[str, ArrayLike]  # {name: value at this step} of what may change from step to step
Replicate = Callable[[tuple[Array, Array]], tuple[Array, Array]]  # puts arrays whole on every device of a mesh


@runtime_checkable
class Objective(Protocol):
    """What is learned from the views of a batch.

    Attributes:
      has_target: whether there is a target network, the moving average of the online network.
      online_only: heads in theta that the target network does not have.
      label_key: config key by which the objective needs image labels; empty if it needs none.
      classes: number of image classes that it distinguishes; 0: any.
    """

    @property
    def has_target(self) -> bool: ...
    @property
    def online_only(self) -> tuple[str, ...]: ...
    @property
    def label_key(self) -> str: ...
    @property
    def classes(self) -> int: ...

    def init(self, key: Key[Array, ""], width: int) -> Heads:
        """Returns parameters of the heads and the objective's own state.

        Args:
          key: PRNG key.
          width: D, the width of the encoder.
        """
        ...

    def per_image(
        self, online: Network, target: Network | None, views: Views, rngs: ImageKeys
    ) -> tuple[PerImage, PerImage]:
        """Returns what the two networks make of the images of a micro-batch; images must not affect one another.

        Args:
          online: the online network.
          target: the target network; None without one.
          views: augmented views by group, [b, V, S, S, 3] with pixels in [0, 1].
          rngs: one PRNG key per image, for example to draw masks; the same on any number of devices.

        Returns:
          Outputs of the online and of the target network by view group; the latter is empty without a target network.
        """
        ...

    def loss(self, online: Network, target: Network | None, batch: Batch, extra: Params, schedules: Scheduled) -> Loss:
        """Computes the loss of the whole batch.

        Args:
          online: the online network, with its `outputs` for the batch.
          target: the target network, likewise; None without one. Nothing of it has a gradient.
          batch: the batch.
          extra: the objective's own state before the batch.
          schedules: values at this step, by name: "temperature", "ema_decay", ...
        """
        ...


class Common:
    """What most objectives share: a target network with all heads, no labels, global views that are pooled.

    A bank is filled by the target network, if there is one.
    """

    has_target: bool = True
    online_only: tuple[str, ...] = ()

    @property
    def label_key(self) -> str:
        """No labels."""
        return ""

    @property
    def classes(self) -> int:
        """Any number of classes."""
        return 0

    def per_image(
        self, online: Network, target: Network | None, views: Views, rngs: ImageKeys
    ) -> tuple[PerImage, PerImage]:
        """Encodes, contextualises and pools the global views with each network."""
        outputs = {GLOBAL: online.encode_views(views[GLOBAL])}
        return outputs, {GLOBAL: target.encode_views(views[GLOBAL])} if target else {}
