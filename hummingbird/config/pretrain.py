"""Settings of `hummingbird pretrain`."""

from __future__ import annotations

import dataclasses
from typing import Literal

from hummingbird.config.data import Augment, TrainingData
from hummingbird.config.objectives import DenseCL, Dino, Ibot, Loca, Mae, MaskFeat, SimSiam
from hummingbird.config.schema import setting
from hummingbird.errors import UserError


@dataclasses.dataclass(frozen=True)
class Encoder:
    """The ViT to train."""

    name: str = setting("vit_b16", "vit_{ti,s,b,l,h}PATCH (ViT Table 1); the keys below change single sizes")
    patch_size: int | None = setting(None, "patch side in pixels; none: from the name", low=1)
    width: int | None = setting(None, "D, the token width; none: from the name", low=8)
    depth: int | None = setting(None, "number of layers; none: from the name", low=1)
    heads: int | None = setting(None, "attention heads; none: from the name", low=1)
    mlp_dim: int | None = setting(None, "hidden width of the MLP; none: 4 D", low=8)
    cls_token: bool = setting(False, "prepend a [CLS] token (always present with pooling=cls)")
    positions: Literal["learned", "sincos2d"] = setting("learned", "position embedding")
    registers: int = setting(0, "register tokens (Darcet et al. 2024)", low=0)
    layer_scale: float = setting(0.0, "initial value of LayerScale (Touvron et al. 2021); 0: no LayerScale", low=0)
    drop_path: float = setting(0.0, "stochastic depth: rate of the last layer; the first has 0", low=0, high=0.95)
    mlp: Literal["gelu", "gelu_tanh", "swiglu"] = setting(
        "gelu",
        "MLP of a layer; gelu_tanh: approximated by tanh (LOCA, big_vision); swiglu: gated, two thirds as wide",
    )
    freeze_patches: bool = setting(False, "the patch embedding stays at its random start (MoCo v3, Sec. 4.2)")
    scan_layers: bool = setting(False, "compile one layer and scan it: faster to compile, slightly slower on CPU")
    remat: bool = setting(
        False, "recompute each layer in the backward pass: less memory, about 30% more time", resumable=True
    )


@dataclasses.dataclass(frozen=True)
class Objective:
    """What is learned from the views."""

    name: Literal[
        "hummingbird",
        "simclr",
        "byol",
        "simsiam",
        "mocov3",
        "densecl",
        "supervised",
        "dino",
        "ibot",
        "dinov2",
        "mae",
        "maskfeat",
        "loca",
    ] = setting(
        "hummingbird", "hummingbird: Eq. 4, and image labels if supervised.weight > 0; others: as in their papers"
    )


@dataclasses.dataclass(frozen=True)
class Context:
    """Attention across images: the memory bank and how patches attend to it (Eq. 2)."""

    bank_length: int = setting(153_600, "|Mp|, entries of the memory bank (App. B); 0: no contextualisation", low=0)
    weight: float = setting(0.2, "lambda of App. B", low=0, high=1)
    temperature: float = setting(0.02, "beta of the attention over the bank; our choice, not in the paper", above=0)
    hidden_dim: int = setting(4096, "hidden width of the value head phi (App. B)", low=1)
    chunk: int = setting(
        2048, "most bank entries processed at a time, for less memory; not with the fused kernel", low=1, resumable=True
    )
    values: Literal["recomputed", "stored"] = setting(
        "recomputed",
        "v = phi(k): recomputed in each step by the network that attends, so that phi learns; stored: Eq. 2 taken "
        "literally, computed once by the network that writes the key; phi then gets no gradient",
    )
    attention: Literal["auto", "streaming", "bounded", "fused"] = setting(
        "auto",
        "how all entries are read: streaming (XLA, context.chunk at a time), bounded (the same without a running "
        "maximum; needs a temperature of at least 0.02), or fused (one Pallas kernel for TPUs; elsewhere interpreted, "
        "slowly); auto: bounded on GPUs, fused on TPU v4 to v6 if the scores of a chunk do not stay on the chip; the "
        "same result up to rounding",
        resumable=True,
    )
    neighbours: int = setting(0, "nearest entries each token attends to; 0: all, as in the paper", low=0, high=10_000)
    search: Literal["exact", "approximate"] = setting(
        "exact", "search for context.neighbours; approximate: jax.lax.approx_max_k on TPU, exact elsewhere"
    )


@dataclasses.dataclass(frozen=True)
class Heads:
    """Projector and predictor."""

    hidden_dim: int = setting(4096, "hidden width of projector and predictor; our choice, as in BYOL", low=1)
    output_dim: int = setting(256, "width of projections z and predictions q(z); our choice, as in BYOL", low=2)
    bn_momentum: float = setting(0.99, "decay of the running batch-norm statistics", low=0, high=1)


@dataclasses.dataclass(frozen=True)
class Contrastive:
    """The self-supervised loss: Eq. 4, or what the chosen objective puts in its place."""

    weight: float = setting(1.0, "weight of L_SSL; 0: supervised retrieval alone (Table 12)", low=0)
    temperature: float = setting(0.1, "tau of Eq. 4 (App. C.2), or of NT-Xent", above=0)
    warmup_temperature: float | None = setting(
        None, "tau at step 0, from where it moves to contrastive.temperature along a line; none: constant", above=0
    )
    warmup_temperature_epochs: float = setting(30.0, "length of that warm-up, epochs", low=0)


@dataclasses.dataclass(frozen=True)
class Supervised:
    """Hummingbird++ (Sec. 3.4)."""

    weight: float = setting(0.0, "alpha of Sec. 3.4: 0.05 for Hummingbird++, 0.25 for ViT-B on IN22k", low=0)
    objective: Literal["retrieval", "classifier"] = setting(
        "retrieval", "retrieve labels from the bank (Sec. 3.4), or train a linear classifier (Fig. 6 at |Mp| = 0)"
    )
    classes: int = setting(1000, "image classes of the linear classifier", low=2)
    temperature: float = setting(0.02, "beta of the attention that predicts the label; our choice", above=0)
    label_smoothing: float = setting(
        0.0, "probability spread evenly over all classes, for objective.name=supervised", low=0, high=0.99
    )


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """AdamW with linear warm-up and cosine decay."""

    learning_rate: float = setting(1e-3, "peak learning rate (App. C.2)", above=0, high=10)
    reference_batch: int | None = setting(
        None,
        "batch that learning_rate is meant for, 256 in most papers: the peak is learning_rate * batch_size / "
        "reference_batch; none: learning_rate as it is",
        low=1,
    )
    final_learning_rate: float = setting(
        0.0, "learning rate at the last step, whatever the batch size (App. C.2: 0)", low=0, high=10
    )
    warmup_epochs: float = setting(10.0, "linear warm-up, epochs; our choice", low=0)
    warmup_steps: int | None = setting(None, "linear warm-up, steps; none: from warmup_epochs", low=0)
    weight_decay: float = setting(0.1, "AdamW (App. C.2); not on biases, norms and position embeddings", low=0)
    final_weight_decay: float | None = setting(
        None, "weight decay at the last step, reached along a cosine; none: constant", low=0
    )
    clip_norm: float | None = setting(1.0, "largest global norm of the gradient (App. C.2); none: no limit", above=0)
    b1: float = setting(0.9, "AdamW beta 1", low=0, high=0.99999)
    b2: float = setting(0.999, "AdamW beta 2", low=0, high=0.99999)


@dataclasses.dataclass(frozen=True)
class Mesh:
    """How devices are used."""

    data: int = setting(-1, "devices along the data axis; -1: all that remain", low=-1, resumable=True)
    fsdp: int = setting(1, "devices that share one copy of parameters and optimiser state", low=1, resumable=True)


@dataclasses.dataclass(frozen=True)
class OnlineEval:
    """Retrieval evaluation during training."""

    every: int = setting(0, "steps between evaluations; 0: never", low=0, resumable=True)
    config: str = setting("", "evaluation config FILE[:variant]; empty: scenes", resumable=True, path=True)
    max_images: int = setting(128, "most prompt and query images", low=1, resumable=True)


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Pictures of what the network sees during training."""

    every: int = setting(
        0, "steps between sheets of views, attention and nearest entries; 0: none", low=0, resumable=True
    )
    images: int = setting(6, "images per sheet", low=1, high=64, resumable=True)
    neighbours: int = setting(5, "nearest bank entries shown per image", low=0, high=32, resumable=True)


@dataclasses.dataclass(frozen=True)
class Profile:
    """A trace for the JAX profiler."""

    start: int = setting(0, "first step of a profiler trace into WORKDIR/profile; 0: none", low=0, resumable=True)
    steps: int = setting(5, "steps to trace", low=1, high=1000, resumable=True)


@dataclasses.dataclass(frozen=True)
class PretrainConfig:
    """All settings of a pretraining run."""

    seed: int = setting(0, "seed of initialisation, data order and augmentation", low=0, high=2**31 - 1)
    input_size: int = setting(224, "side of the square training views, pixels (App. B)", low=8)
    batch_size: int = setting(4096, "images in the global batch (App. C.2)", low=2)
    micro_batches: int = setting(
        1, "parts of the batch that pass the encoders in turn: less memory, same result", low=1, resumable=True
    )
    epochs: float = setting(
        300.0, "passes over the data (App. C.2); ignored when total_steps is set", above=0, resumable=True
    )
    total_steps: int | None = setting(None, "optimiser steps; none: from epochs", low=1, resumable=True)
    data: TrainingData = TrainingData()
    augment: Augment = Augment()
    encoder: Encoder = Encoder()
    objective: Objective = Objective()
    pooling: Literal["qkv", "qk", "mean", "cls"] = setting("qkv", "pooling of tokens: Eq. 3 and the rows of Table 5")
    context: Context = Context()
    heads: Heads = Heads()
    contrastive: Contrastive = Contrastive()
    supervised: Supervised = Supervised()
    dino: Dino = Dino()
    ibot: Ibot = Ibot()
    mae: Mae = Mae()
    maskfeat: MaskFeat = MaskFeat()
    loca: Loca = Loca()
    simsiam: SimSiam = SimSiam()
    densecl: DenseCL = DenseCL()
    optimizer: Optimizer = Optimizer()
    ema_decay: float = setting(0.99, "decay of the target network (App. C.2)", low=0, high=1)
    ema_reference_batch: int | None = setting(
        None,
        "batch that ema_decay is meant for: the decay is ema_decay ** (batch_size / ema_reference_batch), the same per "
        "image; none: ema_decay as it is",
        low=1,
    )
    ema_schedule: Literal["constant", "cosine"] = setting(
        "constant", "cosine: ema_decay is the decay at step 0 and grows to 1 at the last step (BYOL)"
    )
    dtype: Literal["float32", "bfloat16"] = setting("float32", "compute type; parameters and losses stay float32")
    mesh: Mesh = Mesh()
    init_from: str = setting(
        "", "path of the parameters to start from (--init_from); empty: random", resumable=True, path=True
    )
    checkpoint_every: int = setting(
        1000, "steps between checkpoints; the last step is always saved", low=1, resumable=True
    )
    keep_checkpoints: int = setting(3, "newest checkpoints to keep", low=1, resumable=True)
    keep_every: int = setting(
        0, "checkpoints of steps that this divides stay beside the newest; 0: none", low=0, resumable=True
    )
    log_every: int = setting(50, "steps between log lines", low=1, resumable=True)
    online_eval: OnlineEval = OnlineEval()
    evaluators: tuple[str, ...] = setting(
        (),
        "further evaluations during training, each with its own steps: NAME=CONFIG@STEPS, perhaps with ;KEY=VALUE for "
        "settings of its own, such as knn=evaluate/images:cifar10@5000;data.root=DIR; scores: eval_NAME_accuracy, ...",
        resumable=True,
    )
    pictures: Pictures = Pictures()
    profile: Profile = Profile()

    def __post_init__(self) -> None:
        """Refuses combinations that no run could use; `devices.mesh.build_mesh` checks what depends on devices."""
        bank, batch = self.context.bank_length, self.batch_size
        if 0 < bank < batch:
            raise UserError(
                f"config key context.bank_length: {bank} is less than batch_size {batch}; use 0 or >= {batch}"
            )
        if self.contrastive.weight == 0 and self.supervised.weight == 0:
            raise UserError("config keys contrastive.weight and supervised.weight are both 0: nothing to train on")
        if self.supervised.weight and self.supervised.objective == "retrieval" and not bank:
            raise UserError(
                "config key supervised.weight: labels are retrieved from the bank and context.bank_length is 0; use "
                "supervised.objective=classifier"
            )
        if self.context.neighbours > bank:
            raise UserError(
                f"config key context.neighbours: {self.context.neighbours} is more than context.bank_length {bank}"
            )
        if self.context.neighbours and self.context.attention in ("bounded", "fused"):
            raise UserError(
                f"config key context.attention: {self.context.attention} attends to all entries; use auto or streaming "
                "with context.neighbours"
            )
        if batch % self.micro_batches:
            raise UserError(f"config key micro_batches: {self.micro_batches} does not divide batch_size {batch}")
        if self.mesh.data == 0:
            raise UserError("config key mesh.data: 0 devices; use -1 for all that remain")
        augment, local = self.augment, self.augment.local
        ranges = {name: getattr(augment, name) for name in ("crop_area", "crop_aspect", "blur_sigma")}
        for name, (low, high) in {**ranges, "local.crop_area": local.crop_area}.items():
            if low > high:
                raise UserError(f"config key augment.{name}: {low} is above {high}, expected the lower number first")
