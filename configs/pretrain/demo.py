"""A small Hummingbird that a laptop trains in minutes, on the rendered `scenes`: views of 32 px, patch size 8.

    hummingbird pretrain --config=configs/pretrain/demo.py --workdir=runs/hummingbird
    hummingbird pretrain --config=configs/pretrain/demo.py:simclr --workdir=runs/simclr

With `--config.pictures.every=400` it saves pictures of views, attention and nearest entries in WORKDIR/pictures (about
3 s in total, most of it compilation).

A toy: it shows every part of the method at work, but its scores mean nothing on other data. Differences from the paper,
and their reasons (measured on two cores, 1,200 steps):

- Small crops at the scale of evaluation, and 16 tokens per view: the number of steps matters most. Features are worse
  than random ones for the first 200 steps and better than raw pixels from about 400.
- Any hue, weaker brightness, hardly any blur, no solarisation: in this world colours carry no information and textures
  carry all of it. BYOL's brightness of 0.4 washes textures out (loss at step 250: 4.5 instead of 4.0 with 0.2).
- An EMA decay of 0.95: with 0.99 the target would stay close to the random network for most of the run.

`:simclr`, which `scripts/demo` trains, learns this world better in the same four minutes: 41.2 instead of 33.8 mIoU and
2.24 instead of 2.79 m (`evaluate/demo`, seed 0). It has SimCLR's loss with the same bank and pooling, crops of 0.3 to
0.6 of the area, and a quarter of the batch for four times the steps: given as many images, NT-Xent learns more from
more, smaller steps; the paper's loss does not (.github/NEGATIVE_RESULTS.md). The sweeps of configs/README.md compare
with the paper's loss, the default.
"""


def get_config(variant=""):
    """Returns the recipe with the paper's loss (the default), `:simclr`, or `:tiny`, a run of seconds."""
    config = {
        "input_size": 32,
        "batch_size": 96,
        "total_steps": 1200,
        "encoder": {"name": "vit_ti8", "width": 96, "depth": 3, "heads": 4, "positions": "sincos2d"},
        "context": {"bank_length": 384, "hidden_dim": 256},
        "heads": {"hidden_dim": 512, "output_dim": 128},
        "optimizer": {"warmup_steps": 20, "weight_decay": 0.05},
        "ema_decay": 0.95,
        "augment": {
            "crop_area": (0.12, 0.5),
            "hue": 0.5,
            "brightness": 0.2,
            "blur_probability": (0.1, 0.0),
            "solarise_probability": (0.0, 0.0),
        },
        "checkpoint_every": 400,
        "log_every": 20,
    }
    simclr = {
        **config,
        "objective": {"name": "simclr"},
        "batch_size": 24,
        "total_steps": 4800,
        "augment": {**config["augment"], "crop_area": (0.3, 0.6)},
        "checkpoint_every": 1600,
        "log_every": 80,
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
    return {"": config, "simclr": simclr, "tiny": tiny}[variant]
