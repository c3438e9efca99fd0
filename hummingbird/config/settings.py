"""Every setting with its only default, its meaning and its range; and how a config file becomes a config.

Files under `configs/` hold only what differs: `get_config(variant="")` returns a nested dict. On the command line
`--config=FILE[:variant]` names one and `--config.a.b=value` overrides it. `resolve` refuses unknown keys, wrong types
and values out of range before anything is built.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections

from hummingbird.config import schema
from hummingbird.config.data_settings import AUGMENT, DATA, PIPELINE
from hummingbird.config.schema import Bool, Float, Int, Setting, Text, load_file
from hummingbird.errors import UserError

# ---------------------------------------------------------------- hummingbird pretrain
PRETRAIN: dict[str, Any] = {
    "seed": Int(0, "seed of initialisation, data order and augmentation", low=0, high=2**31 - 1),
    "input_size": Int(224, "side of the square training views, pixels (App. B)", low=8),
    "batch_size": Int(4096, "images in the global batch (App. C.2)", low=2),
    "micro_batches": Int(
        1,
        "parts of the batch that pass the encoders one after the other: less memory, the same result",
        low=1,
        resumable=True,
    ),
    "epochs": Float(300.0, "passes over the data (App. C.2); ignored when total_steps is set", above=0, resumable=True),
    "total_steps": Int(None, "optimiser steps; none: from epochs", low=1, optional=True, resumable=True),
    "data": {**DATA, **PIPELINE},
    "augment": AUGMENT,
    "encoder": {
        "name": Text("vit_b16", "vit_{ti,s,b,l,h}PATCH (ViT Table 1); the keys below change single sizes"),
        "patch_size": Int(None, "patch side in pixels; none: from the name", low=1, optional=True),
        "width": Int(None, "D; none: from the name", low=8, optional=True),
        "depth": Int(None, "layers; none: from the name", low=1, optional=True),
        "heads": Int(None, "attention heads; none: from the name", low=1, optional=True),
        "mlp_dim": Int(None, "hidden width of the MLP; none: 4 D", low=8, optional=True),
        "cls_token": Bool(False, "prepend a [CLS] token (always there with pooling=cls)"),
        "positions": Text("learned", "position embedding", choices=("learned", "sincos2d")),
        "scan_layers": Bool(False, "one compiled layer, scanned: compiles faster, runs a little slower on CPU"),
        "remat": Bool(False, "recompute each layer going backward: less memory, about 30% more time", resumable=True),
    },
    "pooling": Text("qkv", "Eq. 3 and the rows of Table 5", choices=("qkv", "qk", "mean", "cls")),
    "context": {
        "bank_length": Int(153_600, "|Mp|, entries of the memory bank (App. B); 0: no contextualisation", low=0),
        "weight": Float(0.2, "lambda of App. B", low=0, high=1),
        "temperature": Float(0.02, "beta of the attention over the bank; ours, the paper is silent", above=0),
        "hidden_dim": Int(4096, "hidden width of the value head phi (App. B)", low=1),
        "chunk": Int(2048, "bank entries attended to at a time; bounds memory, no more", low=1, resumable=True),
        "neighbours": Int(0, "nearest entries that each token attends to; 0: all, as in the paper", low=0, high=10_000),
        "search": Text(
            "exact",
            "of context.neighbours; approximate: jax.lax.approx_max_k on TPU, exact elsewhere",
            choices=("exact", "approximate"),
        ),
    },
    "heads": {
        "hidden_dim": Int(4096, "hidden width of projector and predictor; ours, as in BYOL", low=1),
        "output_dim": Int(256, "width of projections z and predictions q(z); ours, as in BYOL", low=2),
        "bn_momentum": Float(0.99, "decay of the running batch-norm statistics", low=0, high=1),
    },
    "contrastive": {
        "weight": Float(1.0, "weight of L_SSL; 0 for Table 12's supervised retrieval alone", low=0),
        "temperature": Float(0.1, "tau of Eq. 4 (App. C.2)", above=0),
    },
    "supervised": {
        "weight": Float(0.0, "alpha of Sec. 3.4: 0.05 for Hummingbird++, 0.25 for ViT-B on IN22k", low=0),
        "objective": Text(
            "retrieval",
            "labels retrieved from the bank (Sec. 3.4), or a linear classifier (Fig. 6 at 0; the supervised ViT)",
            choices=("retrieval", "classifier"),
        ),
        "classes": Int(1000, "image classes of the linear classifier", low=2),
        "temperature": Float(0.02, "beta of the attention that predicts the label; ours", above=0),
    },
    "optimizer": {
        "learning_rate": Float(1e-3, "peak learning rate (App. C.2)", above=0, high=10),
        "warmup_epochs": Float(10.0, "linear warm-up; ours", low=0),
        "warmup_steps": Int(None, "linear warm-up in steps; none: from warmup_epochs", low=0, optional=True),
        "weight_decay": Float(0.1, "AdamW (App. C.2); not on biases, norms and position embeddings", low=0),
        "clip_norm": Float(1.0, "maximum global norm of the gradient (App. C.2)", above=0),
        "b1": Float(0.9, "AdamW beta 1", low=0, high=0.99999),
        "b2": Float(0.999, "AdamW beta 2", low=0, high=0.99999),
    },
    "ema_decay": Float(0.99, "decay of the target network (App. C.2)", low=0, high=1),
    "dtype": Text("float32", "compute type; parameters and losses stay float32", choices=("float32", "bfloat16")),
    "mesh": {
        "data": Int(-1, "devices along the data axis; -1: all that are left", low=-1, resumable=True),
        "fsdp": Int(1, "devices that share one copy of parameters and optimiser state", low=1, resumable=True),
    },
    "init_from": Text("", "parameters that a new run begins with (--init_from); empty: drawn", resumable=True),
    "checkpoint_every": Int(1000, "steps between checkpoints; the last step is always saved", low=1, resumable=True),
    "keep_checkpoints": Int(3, "newest checkpoints kept", low=1, resumable=True),
    "log_every": Int(50, "steps between log lines", low=1, resumable=True),
    "online_eval": {
        "every": Int(0, "steps between retrieval evaluations inside the run; 0: never", low=0, resumable=True),
        "config": Text("", "evaluation config file[:variant]; empty: scenes", resumable=True),
        "max_images": Int(128, "prompt and query images at most", low=1, resumable=True),
    },
    "pictures": {
        "every": Int(0, "steps between sheets of views, attention and nearest entries; 0: none", low=0, resumable=True),
        "images": Int(6, "images on a sheet", low=1, high=64, resumable=True),
        "neighbours": Int(5, "nearest entries of the bank shown for each", low=0, high=32, resumable=True),
    },
    "profile": {
        "start": Int(0, "first step of a profiler trace into WORKDIR/profile; 0: none", low=0, resumable=True),
        "steps": Int(5, "steps traced", low=1, high=1000, resumable=True),
    },
}

# ---------------------------------------------------------------- hummingbird evaluate
EVALUATE: dict[str, Any] = {
    "seed": Int(0, "seed of augmentation and sampling", low=0, high=2**31 - 1),
    "input_size": Int(512, "side that images are squashed to, pixels; rounded to the patch size", low=8),
    "batch_size": Int(16, "images encoded at a time; does not change the result", low=1),
    "protocol": Text("paper", "choices that change the number", choices=("paper", "open-hummingbird")),
    "data": {
        **DATA,
        "task": Text(
            None,
            "what the labels are; none: what the data set has, segmentation of those with both",
            choices=("segmentation", "depth"),
            optional=True,
        ),
        "prompt": Text("", "split (of `folder`: or list file), with a slice: train[:100], [:80%]; empty: the usual"),
        "query": Text("", "as data.prompt, of the images to predict"),
        "names": Text("", "file that names the prompt images to use, one a line; empty: all"),
        "folder": {
            "images": Text("images", "a folder, or a pattern with {name}, {split}, *: rgb/{name}_rgb.png"),
            "labels": Text("labels", "the same for masks or depth maps"),
            "classes": Text("", "YAML or JSON: a list of names, or names by id; empty: counted from the masks"),
            "ignore": Int(255, "stored id of void pixels", low=0, high=65535),
            "depth_scale": Float(0.001, "metres per stored unit", above=0),
        },
        "fraction": Float(1.0, "part of the prompt images that is used (Sec. 4.2)", above=0, high=1),
        "fractions": Setting(
            float, (), "parts of the prompt to score one by one (Tables 2, 9); empty: none", above=0, high=1, many=True
        ),
        "subsets": Int(5, "random parts of the prompt drawn for each of `fractions` (Sec. 4.2)", low=1, high=100),
        "max_images": Int(None, "prompt and query images at most; none: all", low=1, optional=True),
        "max_queries": Int(None, "query images at most; none: as max_images", low=1, optional=True),
    },
    "encoder": {
        "network": Text("online", "which network of a training checkpoint", choices=("online", "target")),
        "dtype": Text("float32", "compute type of the encoder", choices=("float32", "bfloat16")),
        "family": Text(None, "whose weights a file holds (`hummingbird.weights.families`); none: told", optional=True),
        "features": Text(
            None,
            "of another project's encoder: outputs of layers, or parts of their attention; none: tokens",
            choices=("tokens", "query", "key", "value"),
            optional=True,
        ),
        "layers": Int((), "of it: layers side by side, -1 the last; empty: the last", low=-1000, many=True),
        "norm": Bool(None, "of it: the last layer norm on tokens; none: yes", optional=True),
        "heads": Int(None, "of it: attention heads; none: told", low=1, optional=True),
    },
    "retrieval": {
        "memory_length": Int(10_240_000, "|M|, bank entries at most (Table 6)", low=1),
        "neighbours": Int(30, "k, nearest bank entries that vote (Table 6)", low=1, high=10_000),
        "temperature": Float(0.02, "beta of Eq. 1 (Table 6)", above=0),
        "augmentation_epochs": Int(
            None,
            "augmented passes over the prompt (Tables 6, 7); 0: one pass as it is; none: 2, for depth 0 (App. A.1)",
            low=0,
            high=255,
            optional=True,
        ),
        "sampling": Text(
            "salient",
            "patches kept of each image: Eq. 5, uniformly drawn, or all until the bank is full (Fig. 6)",
            choices=("salient", "uniform", "all"),
        ),
        "key_dtype": Text(
            "auto",
            "how keys are stored; auto: float32 up to 512 MiB of all that share an encoding",
            choices=("auto", "float32", "bfloat16"),
        ),
        "bank": Text(
            "",
            "folder that keeps the bank: used if it is there, built if not; with data.fractions in a sub-folder, one "
            "bank for all parts; empty: in memory",
        ),
        "index": Text("auto", "nearest-neighbour search", choices=("auto", "exact", "scann", "device")),
        "metric_resolution": Text(
            "original", "size at which prediction and truth are compared", choices=("original", "input")
        ),
        "recall_queries": Int(1024, "queries on which an approximate index is compared with the exact one", low=0),
        "scann": {
            "dimensions_per_block": Int(4, "dimensions per hashed block (Table 6)", low=1),
            "leaves": Int(512, "partitions of the tree (Table 6)", low=1),
            "leaves_to_search": Int(32, "partitions searched (Table 6)", low=1),
            "reorder": Int(120, "candidates scored again exactly (Table 6)", low=1),
            "anisotropic_threshold": Float(0.2, "anisotropic quantisation; ours, the paper is silent", low=0, high=1),
            "training_sample": Int(25_000, "keys that tree and codes are trained on; ours", low=1),
            "autopilot": Bool(False, "let ScaNN choose tree and codes from the bank's size"),
        },
    },
    "depth": {
        "low": Float(1e-3, "least valid depth, metres; 0 is invalid", above=0),
        "high": Float(10.0, "greatest valid depth, metres", above=0),
        "eigen_crop": Bool(False, "compare inside Eigen's crop of NYUv2 only"),
    },
    "report": {
        "enabled": Bool(True, "write report.html and samples.npz beside metrics.json"),
        "queries": Int(8, "query images shown", low=1, high=64),
        "patches": Int(3, "query patches per image whose neighbours are shown", low=0, high=16),
        "neighbours": Int(8, "neighbours shown per patch", low=1, high=64),
    },
    "progress": Bool(True, "progress bars with the time left"),
}

KINDS: dict[str, dict[str, Any]] = {"pretrain": PRETRAIN, "evaluate": EVALUATE}


def resolve(kind: str, path: str | None = None, overrides: Sequence[tuple[str, str]] | Mapping[str, Any] = ()) -> Any:
    """The complete, checked, locked config of a job.

    Args:
      kind: "pretrain" or "evaluate".
      path: config file, with ":variant" if it takes one; None: defaults alone.
      overrides: pairs of key and text as typed on the command line, or a (nested or dotted) dict of typed values.

    Returns:
      A locked `ml_collections.ConfigDict`.

    Raises:
      UserError: missing or broken file, unknown key (the nearest valid ones are named), wrong type or range.
    """
    differences = load_file(path) if path else {}
    pairs: Sequence[tuple[str, str]] = ()
    if isinstance(overrides, Mapping):
        differences = {**schema.flatten(differences), **schema.flatten(overrides)}
    else:
        pairs = overrides
    flat = schema.resolve(KINDS[kind], differences, pairs)
    CHECKS[kind](flat)
    return freeze(flat)


def freeze(flat: Mapping[str, Any]) -> Any:
    """A locked ConfigDict from a flat or nested dict."""
    config = ml_collections.ConfigDict(schema.unflatten(flat), convert_dict=True)
    return config.lock()


def of_run(flat: Mapping[str, Any], **changes: Any) -> Any:
    """The config of a finished run, from the flat one that it saved; settings that came later have their defaults."""
    defaults = {name: setting.default for name, setting in declared("pretrain").items()}
    return freeze({**defaults, **flat, **changes})


def to_flat(config: Any) -> dict[str, Any]:
    """{"a.b": value} of a config, for comparing and for saving as JSON."""
    return schema.flatten(config.to_dict())


def declared(kind: str) -> dict[str, Setting]:
    """{"a.b": Setting} of every setting of a job."""
    return schema.flatten(KINDS[kind])


# ---------------------------------------------------------------- checks that take more than one key
def check_pretrain(flat: Mapping[str, Any]) -> None:
    """Refuses combinations that no run could use; what depends on the devices is checked by `train.build_mesh`."""
    bank, batch = flat["context.bank_length"], flat["batch_size"]
    if 0 < bank < batch:
        raise UserError(f"config key context.bank_length: {bank} is less than batch_size {batch}; use 0 or >= {batch}")
    if flat["contrastive.weight"] == 0 and flat["supervised.weight"] == 0:
        raise UserError("config keys contrastive.weight and supervised.weight are both 0: nothing to train on")
    if flat["supervised.weight"] and flat["supervised.objective"] == "retrieval" and not bank:
        raise UserError(
            "config key supervised.weight: labels are retrieved from the bank and context.bank_length is 0; use "
            "supervised.objective=classifier"
        )
    if flat["context.neighbours"] > bank:
        raise UserError(
            f"config key context.neighbours: {flat['context.neighbours']} is more than context.bank_length {bank}"
        )
    if batch % flat["micro_batches"]:
        raise UserError(f"config key micro_batches: {flat['micro_batches']} does not divide batch_size {batch}")
    if flat["mesh.data"] == 0:
        raise UserError("config key mesh.data: 0 devices; use -1 for all that are left")
    for name in ("crop_area", "crop_aspect", "blur_probability", "blur_sigma", "solarise_probability"):
        pair = flat[f"augment.{name}"]
        if len(pair) != 2 or (not name.endswith("probability") and pair[0] > pair[1]):
            raise UserError(
                f"config key augment.{name}: {pair} is not accepted, expected two numbers, the low one first"
            )


def check_evaluate(flat: Mapping[str, Any]) -> None:
    """Refuses combinations that no evaluation could use."""
    if flat["depth.low"] >= flat["depth.high"]:
        raise UserError(f"config key depth.low: {flat['depth.low']} is not below depth.high {flat['depth.high']}")
    searched, leaves = flat["retrieval.scann.leaves_to_search"], flat["retrieval.scann.leaves"]
    if searched > leaves:
        raise UserError(f"config key retrieval.scann.leaves_to_search: {searched} is more than the {leaves} leaves")


CHECKS = {"pretrain": check_pretrain, "evaluate": check_evaluate}
