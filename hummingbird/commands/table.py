"""The commands of `hummingbird`: what each does, its arguments, and the function in `commands.runners` that runs it."""

from __future__ import annotations

import argparse

from hummingbird.commands import runners
from hummingbird.commands.declare import Command, colour, grid_size, layer_numbers, option, path_option

NAME = "NAME[:variant]"
CHECKPOINT_HELP = (
    "encoder: training workdir or step folder, imported folder, weights file, hf:ORG/NAME[@REVISION], timm:NAME.TAG,"
    " shipped:photographs, random:vit_s16 or rgb:16"
)
SHIPPED = "shipped:photographs"
CHECKPOINT = path_option("--checkpoint", CHECKPOINT_HELP)
WORKDIR = path_option("--workdir", "output folder; the same command resumes", "DIR", required=True)
DESTINATION = path_option("dst", "folder to create", "DST")
FAMILY = option("--family", "project that the weights come from; default: detected", metavar="NAME")
JSON = option("--json", "print one line of JSON", action="store_true")


def config_help(example: str, what: str = "config") -> str:
    """Returns the help of --config; the example is a shipped config of the command's kind."""
    return f"{what}: shipped one, such as {example}, or file; --config.KEY=VALUE overrides a setting"


PRETRAIN_CONFIG, EVALUATE_CONFIG, FINETUNE_CONFIG = (
    path_option("--config", config_help(example), NAME, required=True)
    for example in ("pretrain/demo", "evaluate/pascal_voc", "finetune/linear")
)

COMMANDS: dict[str, Command] = {
    "pretrain": Command(
        runners.run_pretrain,
        "pretrain an encoder",
        (
            PRETRAIN_CONFIG,
            WORKDIR,
            path_option(
                "--init_from",
                "start a new run from a training workdir, imported folder, weights file, hf:ORG/NAME"
                " or shipped:photographs;"
                " ignored when the workdir holds a checkpoint to resume from",
            ),
        ),
        ("pretrain",),
    ),
    "evaluate": Command(
        runners.run_evaluate,
        "score a frozen encoder by retrieval",
        (EVALUATE_CONFIG, path_option("--checkpoint", CHECKPOINT_HELP, required=True), WORKDIR),
        ("evaluate",),
    ),
    "finetune": Command(
        runners.run_finetune,
        "train a decoder on a frozen encoder, or both, and score it",
        (FINETUNE_CONFIG, path_option("--checkpoint", CHECKPOINT_HELP, required=True), WORKDIR),
        ("finetune",),
    ),
    "report": Command(
        runners.run_report,
        "show finished evaluations side by side on one page",
        (
            path_option("workdirs", "workdir of an evaluation, or folder of several such as a sweep", "DIR", nargs="+"),
            path_option("--out", "page to write; default: comparison.html", "PAGE", default="comparison.html"),
        ),
    ),
    "segment": Command(
        runners.run_segment,
        "label your own images and videos from a few annotated ones",
        (
            path_option("--checkpoint", f"{CHECKPOINT_HELP}; default: {SHIPPED}", default=SHIPPED),
            path_option(
                "--prompt",
                "annotated images: folder with images/ and labels/, images beside masks, export of LabelMe, COCO, CVAT"
                " or Label Studio, or prompt.npz of Prompt.save or the page",
                required=True,
            ),
            path_option(
                "--images",
                "images and videos to label: folders, files or patterns such as 'frames/*.jpg'; may be repeated",
                required=True,
                nargs="+",
                action="append",
            ),
            path_option(
                "--out",
                "folder for masks, overlays, summary.csv and index.html; the same command resumes",
                "DIR",
                required=True,
            ),
        ),
        ("segment",),
    ),
    "serve": Command(
        runners.run_serve,
        "label your own images from a few strokes, on a page on this machine",
        (
            path_option("--checkpoint", f"{CHECKPOINT_HELP}; default: {SHIPPED}", default=SHIPPED),
            path_option("--prompt", "annotated images to begin with: folder, or file of Prompt.save"),
            option("--port", "TCP port, 0 for any; default: 7860", metavar="N", type=int, default=7860),
            option("--host", "address; default: 127.0.0.1, this machine only", metavar="NAME", default="127.0.0.1"),
            path_option("--workdir", "where sessions are kept; default: ~/.cache/hummingbird/serve", "DIR"),
            option(
                "--input_size",
                "side of the encoder's input; default: 512, 256 for the shipped one",
                metavar="N",
                type=int,
            ),
            option("--open", "open the page in a browser", action="store_true"),
        ),
    ),
    "sweep": Command(
        runners.run_sweep,
        "run many trainings and evaluations from one file of settings",
        (
            path_option(
                "--config",
                f"{config_help('pretrain/demo')}; left out if the sweep names its evaluations or decoders",
                NAME,
            ),
            path_option("--sweep", "sweep: shipped one, such as sweeps/table5, or file", NAME, required=True),
            WORKDIR,
            CHECKPOINT,
            option(
                "--launcher",
                "where to run: local, slurm, or print (only print the commands); default: local",
                metavar="NAME",
                default="local",
            ),
            option("--parallel", "number of runs at a time; default: one per GPU", metavar="N", type=int),
        ),
        ("pretrain", "evaluate", "finetune"),
    ),
    "plan": Command(
        runners.run_plan,
        "compile the step of pretraining or fine-tuning for TPUs or GPUs, without the hardware",
        (
            PRETRAIN_CONFIG,
            path_option("--checkpoint", f"of fine-tuning, the {CHECKPOINT_HELP}; default: random:vit_b16"),
            option("--topology", "such as v3:8x8 or gpu:8x80GB; default: this machine's devices", metavar="NAME"),
            option("--table", "print a table instead of JSON", action="store_true"),
        ),
        ("pretrain", "finetune"),
    ),
    "info": Command(
        runners.run_info,
        "describe a training run, a decoder, a memory bank or a weights file",
        (
            path_option("path", "workdir, step folder, bank, weights file or hf:ORG/NAME", nargs="?"),
            FAMILY,
            option(
                "--models",
                "list encoders that load by name; PATH selects those with this text in their name or checkpoint",
                action="store_true",
            ),
            JSON,
        ),
    ),
    "import": Command(
        runners.run_import,
        "convert weights of another project",
        (
            path_option("src", "weights file or folder, hf:ORG/NAME or timm:NAME.TAG", "SRC"),
            DESTINATION,
            FAMILY,
            option(
                "--features",
                "what the encoder returns: tokens, or the query, key or value of attention; default: tokens",
                metavar="NAME",
                choices=("tokens", "query", "key", "value"),
            ),
            option(
                "--layers",
                "layers to concatenate, such as -2,-1 for the last two; default: the last",
                metavar="LIST",
                type=layer_numbers,
            ),
            option("--norm", "apply the final layer norm; default: yes", action=argparse.BooleanOptionalAction),
            option(
                "--prefix",
                "the network to use if the file holds several, such as state_dict; default: detected",
                metavar="NAME",
            ),
            option("--heads", "attention heads; default: detected", metavar="N", type=int),
            option("--grid", "rows and columns of the position table; default: square", metavar="8,6", type=grid_size),
            option("--mean", "mean of pixels in [0, 1]; default: the family's", metavar="R,G,B", type=colour),
            option("--std", "standard deviation of pixels; default: the family's", metavar="R,G,B", type=colour),
        ),
    ),
    "export": Command(
        runners.run_export,
        "write an encoder in a format that other projects load",
        (
            path_option("src", "training workdir, step folder or imported folder", "SRC"),
            DESTINATION,
            option("--format", "timm, hf, big_vision or hummingbird; default: timm", metavar="NAME", default="timm"),
            option(
                "--network",
                "network of a training run: online or target; default: online",
                metavar="NAME",
                default="online",
                choices=("online", "target"),
            ),
        ),
    ),
    "data": Command(
        runners.run_data,
        "check the data that a config reads, and write pictures of it",
        (
            path_option("config", config_help("evaluate/pascal_voc"), NAME),
            option("--all", "check every item instead of a sample", action="store_true"),
            option("--index", "list the images once, and keep the list beside them for all runs", action="store_true"),
            option("--convert", "write the images as shards to --out: arrayrecord", metavar="KIND"),
            path_option("--out", "folder for data.json and pictures; default: runs/data/NAME", "DIR", default=""),
        ),
        ("pretrain", "evaluate"),
    ),
    "bank": Command(
        runners.run_bank,
        "build, describe or verify a memory bank",
        (
            option("action", "build, info or verify", metavar="ACTION", choices=("build", "info", "verify")),
            path_option("path", "folder of the bank", "BANK"),
            path_option("--config", config_help("evaluate/pascal_voc", "config, for build"), NAME),
            path_option("--checkpoint", CHECKPOINT_HELP.replace("encoder:", "encoder, for build:")),
            JSON,
        ),
        ("evaluate",),
    ),
}
