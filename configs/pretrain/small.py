"""Recipes for small machines: one GPU with 16 or 24 GB, or a CPU.

    hummingbird pretrain --config=configs/pretrain/small.py --workdir=runs/s16 --config.data.root=IMAGENET
    hummingbird pretrain --config=configs/pretrain/small.py:b16 --workdir=runs/b16 --config.data.root=IMAGENET
    hummingbird pretrain --config=configs/pretrain/small.py:cpu --workdir=runs/cpu --config.data.root=FOLDER_OF_IMAGES
    hummingbird pretrain --config=configs/pretrain/small.py:photographs --workdir=runs/photos --config.data.root=FOLDER

| variant | machine | encoder, view | batch (micro-batch) | bank |
|---|---|---|---|---|
| (none) | GPU, 16 GB | ViT-S/16, 224 px | 1024 (32) | 40,960 |
| `:b16` | GPU, 24 GB | ViT-B/16, 224 px | 4096 (32): the paper's batch | 40,960 |
| `:cpu` | two cores, minutes | width 96, 3 layers, patch 8, 48 px | 64 | 512 |
| `:photographs` | one core, 13 minutes | the same encoder, 32 px | 96 | 384 |

The batch is processed in micro-batches (`micro_batches`), which changes neither negatives nor batch-norm statistics. In
the paper a bank starts to help at about 40k entries (Fig. 6). Learning rate and EMA decay are those of the paper's
batch; machines.py, beside this file, has recipes for more machines, in which both follow the batch. The GPU recipes
have not been trained. `hummingbird plan --config=configs/pretrain/small.py --topology=gpu:1x16GB --table` bounds the
memory they need; more `micro_batches` need less. `:cpu` is the recipe of the ablation in configs/README.md, for trying
things out; its scores mean nothing on other data. `:photographs` is the recipe of configs/sweeps/photographs.py. It
wants many photographs, which may be small (20,000 of 64 px were used): small views keep a step cheap.
"""


def get_config(variant=""):
    """Returns the recipe for a GPU with 16 GB (the default), `:b16` for 24 GB, `:cpu` or `:photographs`."""
    gpu = {"data.name": "imagenet", "dtype": "bfloat16", "context.bank_length": 40_960, "epochs": 100.0}
    tiny = {
        "data.name": "imagenet",
        "encoder": {"name": "vit_ti8", "width": 96, "depth": 3, "heads": 4, "positions": "sincos2d"},
        "heads": {"hidden_dim": 512, "output_dim": 128},
        "optimizer": {"warmup_steps": 20, "weight_decay": 0.05},
        "ema_decay": 0.95,
    }
    variants = {
        "": {**gpu, "encoder.name": "vit_s16", "batch_size": 1024, "micro_batches": 32},
        "b16": {**gpu, "batch_size": 4096, "micro_batches": 128},
        "cpu": {
            **tiny,
            "input_size": 48,
            "batch_size": 64,
            "total_steps": 600,
            "context": {"bank_length": 512, "hidden_dim": 256},
            "augment": {
                "crop_area": (0.08, 0.6),
                "brightness": 0.2,
                "solarise_probability": (0.0, 0.0),
                "blur_probability": (0.3, 0.1),
            },
            "checkpoint_every": 300,
        },
        "photographs": {
            **tiny,
            "input_size": 32,
            "batch_size": 96,
            "total_steps": 2000,
            "context": {"bank_length": 384, "hidden_dim": 256},
            "augment": {
                "crop_area": (0.15, 0.8),
                "jitter_probability": 0.4,
                "brightness": 0.2,
                "grey_probability": 0.05,
                "solarise_probability": (0.0, 0.0),
                "blur_probability": (0.1, 0.0),
            },
            "checkpoint_every": 500,
        },
    }
    return variants[variant]
