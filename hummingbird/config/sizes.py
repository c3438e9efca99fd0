"""Variants that the recipes in configs/pretrain share: the paper's context, one GPU, and a run of seconds."""

from __future__ import annotations

from hummingbird.config.schema import Value

# Contextualisation from the bank and QKV attention pooling (Hummingbird, App. B), for any objective that pools.
CONTEXT: dict[str, Value] = {"context.bank_length": 153_600, "pooling": "qkv"}

# One GPU with 16 GB, as configs/pretrain/small.py; an estimate, see there.
SMALL: dict[str, Value] = {"encoder.name": "vit_s16", "batch_size": 1024, "micro_batches": 4, "epochs": 100.0}

# Four steps on rendered scenes, for tests and for trying things out.
TINY: dict[str, Value] = {
    "data.name": "scenes",
    "data.scenes.labels": True,
    "dtype": "float32",
    "input_size": 32,
    "batch_size": 16,
    "total_steps": 4,
    "encoder.name": "vit_ti8",
    "encoder.width": 32,
    "encoder.depth": 1,
    "encoder.heads": 2,
    "heads.hidden_dim": 32,
    "heads.output_dim": 16,
    "optimizer.warmup_steps": 1,
    "checkpoint_every": 2,
    "log_every": 1,
}
