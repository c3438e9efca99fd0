"""What the recipes in configs/pretrain share: how papers train a ViT, the paper's context, sizes of a run."""

from __future__ import annotations

from hummingbird.config.schema import Value

# ViT-B/16 on ImageNet-1k without context.
IMAGENET: dict[str, Value] = {
    "data.name": "imagenet",
    "dtype": "bfloat16",
    "encoder.name": "vit_b16",
    "context.bank_length": 0,
}

# How MoCo v3 trains a ViT (Sec. 4 there), also for objectives that their papers tried with ResNets only.
AS_MOCOV3: dict[str, Value] = IMAGENET | {
    "encoder.positions": "sincos2d",
    "encoder.freeze_patches": True,
    "pooling": "cls",
    "optimizer.learning_rate": 1.5e-4,
    "optimizer.reference_batch": 256,
    "optimizer.warmup_epochs": 40.0,
    "optimizer.weight_decay": 0.1,
    "optimizer.clip_norm": None,
}

# The augmentation of MoCo v2, which SimSiam and DenseCL use; brightness and contrast are the defaults.
AS_MOCOV2: dict[str, Value] = {
    "augment.crop_area": (0.2, 1.0),
    "augment.saturation": 0.4,
    "augment.blur_probability": (0.5, 0.5),
    "augment.solarise_probability": (0.0, 0.0),
}

# What DINO, iBOT and DINOv2 have in common.
AS_DINO: dict[str, Value] = IMAGENET | {
    "encoder.cls_token": True,
    "pooling": "cls",
    "optimizer.weight_decay": 0.04,
    "optimizer.clip_norm": 3.0,
    "ema_schedule": "cosine",
    "dino.warmup_teacher_temperature": 0.04,
    "dino.teacher_temperature": 0.07,
    "dino.frozen_epochs": 3.0,
    "augment.local.size": 96,
}

# Contextualisation from the bank and QKV attention pooling (Hummingbird, App. B), for any objective that pools.
CONTEXT: dict[str, Value] = {"context.bank_length": 153_600, "pooling": "qkv"}

# The rule for other batches than the paper's 4096 (C.2): learning_rate * batch / 4096, and ema_decay ** (batch / 4096).
SCALED: dict[str, Value] = {"optimizer.reference_batch": 4096, "ema_reference_batch": 4096}

# One GPU with 16 GB, as configs/pretrain/small.py.
SMALL: dict[str, Value] = {"encoder.name": "vit_s16", "batch_size": 1024, "micro_batches": 32, "epochs": 100.0}

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

TINY_DINO: dict[str, Value] = TINY | {
    "dino.hidden_dim": 32,
    "dino.bottleneck_dim": 8,
    "dino.prototypes": 16,
    "augment.local.count": 2,
    "augment.local.size": 16,
}
