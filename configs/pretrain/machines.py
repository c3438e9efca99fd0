"""Hummingbird sized for a machine: ViT-S/16 and ViT-B/16 on one GPU, on eight, and on TPU slices.

    hummingbird pretrain --config=pretrain/machines:b16_8x80gb --workdir=runs/b16 --config.data.root=IMAGENET

A variant is an encoder, `s16` or `b16`, and a machine:

| machine | devices | batch | bank |
|---|---|---|---|
| `16gb`, `24gb`, `40gb`, `80gb` | one GPU | 1024 | 40,960 |
| `8x24gb`, `8x40gb`, `8x80gb` | eight GPUs | 4096 | 153,600 |
| `v3_8`, `v4_8`, `v5e_8` | a TPU slice with 8 cores of v3 or v4, or 8 chips of v5e | 4096 | 153,600 |
| `v3_128`, `v4_128`, `v5e_256` | the paper's slice (128 cores of v3), and others | 4096 | 153,600 |

Batch and bank are the paper's (App. B, C.2) on more than one GPU. One rule holds for other batches, in
hummingbird/config/sizes.py: the peak learning rate is proportional to the batch, and the EMA decay is raised to the
power batch / 4096, which keeps the decay per image constant. The batch passes the networks in micro-batches, which
changes neither negatives nor batch-norm statistics; `PART` has the images that a device takes at a time. Fewer
`micro_batches` are faster and need more memory; a run may resume with another number. configs/pretrain/README.md has
the memory that these need. None has been trained here.
"""

from hummingbird.config.sizes import SCALED

# {machine: devices}
DEVICES = {"16gb": 1, "24gb": 1, "40gb": 1, "80gb": 1, "8x24gb": 8, "8x40gb": 8, "8x80gb": 8}
DEVICES |= {"v3_8": 8, "v4_8": 8, "v5e_8": 8, "v3_128": 128, "v4_128": 128, "v5e_256": 256}
# {machine: images that a device takes at a time}, for ViT-S; a ViT-B takes half.
PART = {"16gb": 32, "24gb": 64, "40gb": 64, "80gb": 128, "8x24gb": 64, "8x40gb": 64, "8x80gb": 128}
PART |= {"v3_8": 64, "v4_8": 64, "v5e_8": 64, "v3_128": 64, "v4_128": 64, "v5e_256": 64}


def get_config(variant=""):
    """Returns the recipe for an encoder and a machine, `ENCODER_MACHINE`; without a variant `s16_24gb`."""
    encoder, _, machine = (variant or "s16_24gb").partition("_")
    part = {"s16": PART[machine], "b16": PART[machine] // 2}[encoder]
    alone = DEVICES[machine] == 1
    batch = 1024 if alone else 4096
    return SCALED | {
        "data.name": "imagenet",
        "dtype": "bfloat16",
        "encoder.name": f"vit_{encoder}",
        "encoder.scan_layers": True,
        "batch_size": batch,
        "micro_batches": max(1, batch // DEVICES[machine] // part),
        "context.bank_length": 40_960 if alone else 153_600,
        "epochs": 100.0,
    }
