"""Figure 7 and Tables 4 and 11: does retrieval predict fine-tuning? Many encoders, scored by both, and Pearson's r.

    hummingbird sweep --sweep=configs/sweeps/retrieval_vs_finetuning.py --workdir=DIR \
        --config.data.root=VOCdevkit/VOC2012
    hummingbird sweep --sweep=configs/sweeps/retrieval_vs_finetuning.py:ade20k --workdir=DIR \
        --config.data.root=ADEChallengeData2016
    hummingbird sweep --sweep=configs/sweeps/retrieval_vs_finetuning.py:demo --workdir=DIR

UperNet by MAE's protocol fine-tunes each encoder of the list. The paper's 14 models are not public: give runs of your
own the names of `MODELS` under checkpoints/, or link them there; names that are not there fail, and all else is run.
`:demo` scores random weights, and every checkpoint of the runs in runs/models/ (link workdirs there). Raw pixels have
no layers for UperNet to take.

Not yet run here at that size: an UperNet of 160,000 steps is about 9.3 EFLOP, 13 hours at 200 TFLOP/s (ViT-B, 512 px).

The paper states r = 0.80 on PASCAL VOC and 0.89 on ADE20K for its 14 models. It prints both scores of six of them, in
Tables 1 and 11; those are the published points. Its Table 4 mixes decoders: rows of other methods use the linear one of
Segmenter, those that MAE's paper measured UperNet.
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
# Encoders that anyone can download, beside those of the table.
HUB = {
    "DINO ViT-B IN1K": "timm:vit_base_patch16_224.dino",
    "MAE ViT-B IN1K": "timm:vit_base_patch16_224.mae",
    "Supervised ViT-B IN1K": "timm:deit3_base_patch16_224.fb_in1k",
}
COLUMN = {"": 0, "demo": 0, "ade20k": 1}
STATED = ("0.80", "0.89")
SMALL = {"finetune.total_steps": 120, "finetune.optimizer.warmup_steps": 12, **decoding.QUICK}


def local_checkpoints(folder):
    """Yields name and path of every checkpoint of the training runs in a folder."""
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
    """Returns retrieval and fine-tuning of each published model."""
    return {name: row[column] for name, row in {**{name: row[1:] for name, row in MODELS.items()}, **OTHERS}.items()}


def get_sweep(variant=""):
    """Returns the encoders on PASCAL VOC (the default), `:ade20k`, or small ones on `:demo`."""
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
