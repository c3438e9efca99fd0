"""A Hummingbird that a laptop trains in minutes, on the embedded `scenes`: 64 px, patch 8, 64 tokens.

    hummingbird pretrain --config=configs/pretrain/demo.py --workdir=runs/demo/pretrain

A toy for first contact: it shows every part of the method at work, its scores mean nothing elsewhere.
"""


def get_config(variant=""):
    """`:tiny` is a run of seconds, for trying things out."""
    config = {
        "input_size": 64,
        "batch_size": 64,
        "total_steps": 600,
        "encoder": {"name": "vit_ti8", "width": 128, "depth": 4, "heads": 4},
        "context": {"bank_length": 1024, "hidden_dim": 256},
        "heads": {"hidden_dim": 512, "output_dim": 64},
        "optimizer": {"warmup_steps": 60},
        "checkpoint_every": 200,
        "log_every": 20,
    }
    tiny = {
        "input_size": 32,
        "batch_size": 16,
        "total_steps": 4,
        "encoder": {"name": "vit_ti8", "width": 32, "depth": 1, "heads": 2},
        "context": {"bank_length": 32, "hidden_dim": 32},
        "heads": {"hidden_dim": 32, "output_dim": 16},
        "optimizer": {"warmup_steps": 1},
        "checkpoint_every": 2,
        "log_every": 1,
    }
    return {"": config, "tiny": tiny}[variant]
