"""Figure 7, Tables 4 and 11: does retrieval predict fine-tuning? Both scores of many encoders, and Pearson's r.

    hummingbird sweep --sweep=configs/sweeps/retrieval_vs_finetuning.py --workdir=DIR \
        --config.data.root=VOCdevkit/VOC2012
    hummingbird sweep --sweep=configs/sweeps/retrieval_vs_finetuning.py:ade20k --workdir=DIR \
        --config.data.root=ADEChallengeData2016
    hummingbird sweep --sweep=configs/sweeps/retrieval_vs_finetuning.py:demo --workdir=DIR

Each encoder is fine-tuned with UperNet by MAE's protocol. The paper's 14 models are not public: put your own runs, or
links to them, in checkpoints/ under the names in `MODELS`. Runs of missing encoders fail, and all others are run.
`:demo` scores random weights and every checkpoint of the workdirs in runs/models/; it leaves out raw pixels, which have
no layers for UperNet.

This sweep has not been run here at full size: UperNet for 160,000 steps takes about 10 EFLOP, 14 hours at 200 TFLOP/s
(ViT-B, 512 px).

The paper states r = 0.80 on PASCAL VOC and 0.89 on ADE20K for its 14 models. It prints both scores of six of them, in
Tables 1 and 11; these are the published points. Its Table 4 mixes decoders: Segmenter's linear one, and UperNet in the
rows taken from MAE's paper.
"""

import pathlib

from hummingbird.sweep import Curve, Figure, PaperTable, Pick, Sweep, decoding

# Retrieval (Table 1) and UperNet (Tables 4 and 11) on PASCAL VOC and ADE20K; None where it is not printed.
MODELS = {
    "Hummingbird ViT-B IN1K": ("hummingbird_b", (70.5, 80.0), (28.3, 44.9)),
    "Hummingbird ViT-L IN1K": ("hummingbird_l", (None, 82.4), (None, 47.1)),
    "Hummingbird ViT-B IN22K": ("hummingbird_b_in22k", (73.5, 81.6), (30.7, 46.9)),
    "Hummingbird ViT-L IN22K": ("hummingbird_l_in22k", (76.9, 84.1), (35.0, 50.8)),
    "Hummingbird++ ViT-B IN1K": ("hummingbird_pp_b", (72.1, 81.2), (30.5, 44.9)),
    "Hummingbird++ ViT-L IN1K": ("hummingbird_pp_l", (None, 81.8), (None, 47.3)),
    "Hummingbird++ ViT-B IN22K": ("hummingbird_pp_b_in22k", (76.2, 82.1), (34.1, 48.2)),
    "Hummingbird++ ViT-L IN22K": ("hummingbird_pp_l_in22k", (77.3, 85.3), (35.8, 52.0)),
}
OTHERS = {
    "Random ViT-B IN1K": ((None, 29.1), (None, 21.1)),
    "Supervised ViT-B IN1K": ((35.1, 76.1), (13.8, 47.3)),
    "DINO ViT-B IN1K": ((55.9, 74.1), (21.8, 44.1)),
    "MoCo-v3 ViT-B IN1K": ((37.2, 74.5), (14.6, 47.3)),
    "BEiT ViT-B IN1K+DALLE": ((None, None), (None, 47.1)),
    "MAE ViT-B IN1K": ((6.6, 75.0), (3.3, 48.1)),
    "LOCA ViT-B IN1K": ((57.5, 76.7), (18.5, 47.9)),
}
# Encoders that are public.
HUB = {
    "DINO ViT-B IN1K": "timm:vit_base_patch16_224.dino",
    "MAE ViT-B IN1K": "timm:vit_base_patch16_224.mae",
    "Supervised ViT-B IN1K": "timm:deit3_base_patch16_224.fb_in1k",
}
COLUMN = {"": 0, "demo": 0, "ade20k": 1}
STATED = ("0.80", "0.89")
SMALL = {"finetune.total_steps": 120, "finetune.optimizer.warmup_steps": 12, **decoding.QUICK}


def local_checkpoints(folder):
    """Yields the name and path of every checkpoint of the training runs in a folder."""
    for run in sorted(pathlib.Path(folder).glob("*")):
        for step in sorted((run / "checkpoints").glob("[0-9]*")):
            yield f"{run.name} step {int(step.name)}", str(step)


def points(variant):
    """Returns a run for each encoder."""
    if variant != "demo":
        files = {name: f"checkpoints/{file}" for name, (file, *_) in MODELS.items()}
        return [{"name": name, "checkpoint": checkpoint} for name, checkpoint in {**files, **HUB}.items()]
    found = {"random weights": "random:vit_ti8", **dict(local_checkpoints("runs/models"))}
    return [{"name": name, "checkpoint": checkpoint, **SMALL} for name, checkpoint in found.items()]


def published(column):
    """Returns the scores of each published model by retrieval and fine-tuned."""
    return {name: row[column] for name, row in {**{name: row[1:] for name, row in MODELS.items()}, **OTHERS}.items()}


def get_sweep(variant=""):
    """Returns the sweep on PASCAL VOC (the default), `:ade20k` or `:demo`."""
    data, column = decoding.DATA_SETS[variant], COLUMN[variant]
    scores, runs = published(column), points(variant)
    title, names = ("ADE20K" if column else "PASCAL VOC"), ("nn.miou", "upernet.miou")
    both = [(nn, tuned) for name, (nn, tuned) in scores.items() if name in MODELS and nn is not None]
    axes = {"x": "mIoU by retrieval", "y": "mIoU fine-tuned (UperNet)", "correlate": True}
    paper = {f"published for {title}": both}
    ours = {f"measured on {data.title}": Curve(*names)}
    figures = [
        Figure(
            f"Retrieval and fine-tuning on {data.title} (the paper's Figure 7)", **axes, curves=ours, published=paper
        )
    ]
    rows = {point["name"]: [Pick(metric, {"name": point["name"]}) for metric in names] for point in runs}
    known = {f"{name} ": list(row) for name, row in scores.items() if row != (None, None)}
    tables = [PaperTable(f"Tables 4 and 11 on {title}", ["NN retrieval", "fine-tuned"], {**rows, **known})]
    if variant == "demo":
        stated = f"Published for {title}: six models of Tables 1 and 11; the paper states r = {STATED[column]} for 14"
        figures = [Figure(figures[0].title, **axes, curves=ours), Figure(stated, **axes, published=paper)]
        heads = ["NN retrieval", "fine-tuned"]
        tables = [PaperTable(f"Encoders on {data.title}", heads, rows), PaperTable(tables[0].title, heads, known)]
    beside = {name: {m: x for m, x in zip(names, row, strict=True) if x is not None} for name, row in scores.items()}
    return Sweep(
        "evaluate",
        runs,
        evaluate=data.evaluate,
        finetune={"upernet": data.finetune["e2e"].replace("linear", "upernet")},
        objective="nn.miou",
        published={} if variant == "demo" else beside,
        figures=figures,
        tables=tables,
    )
