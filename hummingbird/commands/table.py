"""The commands of `hummingbird`: what each does, its arguments, and the function that runs it."""

from __future__ import annotations

import argparse
import json
import pathlib
import sys

from hummingbird.commands.declare import Command, Overrides, colour, grid_size, layer_numbers, option, path_option
from hummingbird.commands.printing import print_all, show
from hummingbird.errors import UserError


# ---------------------------------------------------------------- running them
def _pretrain(arguments: argparse.Namespace, overrides: Overrides) -> None:
    from hummingbird import config, hooks, train
    from hummingbird.devices import distributed

    if arguments.init_from is not None:
        overrides = [*overrides, ("init_from", arguments.init_from)]
    resolved = config.resolve("pretrain", arguments.config, overrides)
    distributed.initialize()
    train.pretrain(resolved, arguments.workdir, hooks.build_hooks(resolved, arguments.workdir))


def _evaluate(arguments: argparse.Namespace, overrides: Overrides) -> None:
    from hummingbird import config, retrieval
    from hummingbird.devices import distributed

    resolved = config.resolve("evaluate", arguments.config, overrides)
    distributed.initialize()
    result = retrieval.evaluate(arguments.checkpoint, resolved, arguments.workdir)
    scores = {name: value for name, value in result["metrics"].items() if not isinstance(value, dict)}
    index = {"index": result["index"]["kind"], "recall_at_k": result["index"]["recall_at_k"]}
    print(json.dumps({"task": result["task"], "dataset": result["dataset"], **scores, **index}))
    report = pathlib.Path(arguments.workdir) / "report.html"
    if resolved.report.enabled and report.exists():
        print(f"report: {report}", file=sys.stderr)


def _segment(arguments: argparse.Namespace, overrides: Overrides) -> None:
    from hummingbird.incontext.segment import resolve_config, segment

    resolved = resolve_config(arguments.prompt, overrides)
    images = [path for group in arguments.images for path in group]
    print(json.dumps(segment(arguments.checkpoint, arguments.prompt, images, arguments.out, resolved)))


def _sweep(arguments: argparse.Namespace, overrides: Overrides) -> int:
    from hummingbird import sweep

    failed = sweep.run(
        arguments.config,
        arguments.sweep,
        arguments.workdir,
        arguments.launcher,
        overrides,
        checkpoint=arguments.checkpoint,
        parallel=arguments.parallel,
    )
    return 1 if failed else 0


def _plan(arguments: argparse.Namespace, overrides: Overrides) -> None:
    from hummingbird import config
    from hummingbird.commands import plan

    result = plan.plan(config.resolve("pretrain", arguments.config, overrides), arguments.topology)
    print(plan.table(result) if arguments.table else json.dumps(result))


def _info(arguments: argparse.Namespace, overrides: Overrides) -> None:
    from hummingbird.commands import info

    if arguments.models:
        return print_all(info.list_models(arguments.path, arguments.json))
    if arguments.path is None:
        raise UserError("info needs a path, or --models to list encoders that load by name")
    found = info.describe(arguments.path, arguments.family)
    show(found if arguments.json else info.shortened(found), arguments.json)


def _import(arguments: argparse.Namespace, overrides: Overrides) -> None:
    from hummingbird import weights

    names = ("family", "features", "layers", "norm", "prefix", "heads", "grid", "mean", "std")
    show(weights.import_weights(arguments.src, arguments.dst, **{name: getattr(arguments, name) for name in names}))


def _export(arguments: argparse.Namespace, overrides: Overrides) -> None:
    from hummingbird import weights

    show(weights.export_weights(arguments.src, arguments.dst, format=arguments.format, network=arguments.network))


def _data(arguments: argparse.Namespace, overrides: Overrides) -> int:
    from hummingbird.commands import inspect_data, prepare_data

    if arguments.convert:
        return prepare_data.convert(arguments.config, arguments.convert, arguments.out, overrides)
    if arguments.index:
        return prepare_data.index(arguments.config, overrides)
    return inspect_data.run(arguments.config, overrides, out=arguments.out, check_all=arguments.all)


def _bank(arguments: argparse.Namespace, overrides: Overrides) -> None:
    from hummingbird import config, encoder
    from hummingbird.data.sources import build_dense_source
    from hummingbird.retrieval.bank import files
    from hummingbird.retrieval.evaluation import build_evaluation
    from hummingbird.retrieval.fitted_encodings import FittedEncodings, needs_fit
    from hummingbird.retrieval.own_encodings import Kept

    if arguments.action == "build":
        if not (arguments.config and arguments.checkpoint):
            raise UserError("bank build needs --config=NAME and --checkpoint=PATH")
        resolved = config.resolve("evaluate", arguments.config, [*overrides, ("retrieval.bank", arguments.path)])
        loaded = encoder.build_encoder(arguments.checkpoint, resolved.encoder)
        evaluation = build_evaluation(loaded, resolved, build_dense_source(resolved, "prompt"))
        (FittedEncodings() if needs_fit(evaluation) else Kept()).bank(evaluation)
    report = files.verify_bank if arguments.action == "verify" else files.describe_bank
    show(report(arguments.path), arguments.json)


def _report(arguments: argparse.Namespace, overrides: Overrides) -> None:
    from hummingbird.retrieval import report

    runs = report.read_runs(arguments.workdirs)
    try:
        report.write_comparison(arguments.out, runs)
    except OSError as error:
        raise UserError(f"--out={arguments.out}: cannot be written ({error.strerror}); name another file") from error
    print(f"report: {arguments.out}, {len(runs)} evaluations" if len(runs) > 1 else f"report: {arguments.out}")


def _serve(arguments: argparse.Namespace, overrides: Overrides) -> int:
    from hummingbird.incontext.app import server

    return server.serve(
        arguments.checkpoint,
        arguments.prompt,
        arguments.port,
        arguments.host,
        arguments.workdir,
        arguments.input_size,
        arguments.open,
    )


# ---------------------------------------------------------------- declaring them
NAME = "NAME[:variant]"
CONFIG_HELP = "config: shipped one, such as evaluate/pascal_voc, or file; --config.KEY=VALUE overrides a setting"
CHECKPOINT_HELP = (
    "encoder: training workdir or step folder, imported folder, weights file, hf:ORG/NAME[@REVISION], timm:NAME.TAG,"
    " random:vit_s16 or rgb:16"
)
CONFIG = path_option("--config", CONFIG_HELP, NAME, required=True)
CHECKPOINT = path_option("--checkpoint", CHECKPOINT_HELP)
WORKDIR = path_option("--workdir", "output folder; the same command resumes", "DIR", required=True)
DESTINATION = path_option("dst", "folder to create", "DST")
FAMILY = option("--family", "project that the weights come from; default: detected", metavar="NAME")
JSON = option("--json", "print one line of JSON", action="store_true")

COMMANDS: dict[str, Command] = {
    "pretrain": Command(
        _pretrain,
        "pretrain an encoder",
        (
            CONFIG,
            WORKDIR,
            path_option(
                "--init_from",
                "start a new run from a training workdir, imported folder, weights file or hf:ORG/NAME;"
                " ignored when the workdir holds a checkpoint to resume from",
            ),
        ),
        ("pretrain",),
    ),
    "evaluate": Command(
        _evaluate,
        "score a frozen encoder by retrieval",
        (CONFIG, path_option("--checkpoint", CHECKPOINT_HELP, required=True), WORKDIR),
        ("evaluate",),
    ),
    "report": Command(
        _report,
        "show finished evaluations side by side on one page",
        (
            path_option("workdirs", "workdir of an evaluation, or folder of several such as a sweep", "DIR", nargs="+"),
            path_option("--out", "page to write; default: comparison.html", "PAGE", default="comparison.html"),
        ),
    ),
    "segment": Command(
        _segment,
        "label your own images and videos from a few annotated ones",
        (
            path_option("--checkpoint", CHECKPOINT_HELP, required=True),
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
        _serve,
        "label your own images from a few strokes, on a page on this machine",
        (
            path_option("--checkpoint", f"{CHECKPOINT_HELP}; default: the newest run under runs/demo, else rgb:16"),
            path_option("--prompt", "annotated images to begin with: folder, or file of Prompt.save"),
            option("--port", "TCP port, 0 for any; default: 7860", metavar="N", type=int, default=7860),
            option("--host", "address; default: 127.0.0.1, this machine only", metavar="NAME", default="127.0.0.1"),
            path_option("--workdir", "where sessions are kept; default: ~/.cache/hummingbird/serve", "DIR"),
            option("--input_size", "side of the encoder's input; default: 512", metavar="N", type=int, default=512),
            option("--open", "open the page in a browser", action="store_true"),
        ),
    ),
    "sweep": Command(
        _sweep,
        "run many pretrainings or evaluations from one file of overrides",
        (
            path_option("--config", f"{CONFIG_HELP}; left out if the sweep names its evaluations", NAME),
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
        ("pretrain", "evaluate"),
    ),
    "plan": Command(
        _plan,
        "compile the train step for a TPU topology, without the hardware",
        (
            CONFIG,
            option("--topology", "TPU topology, such as v3:8x8; default: this machine's devices", metavar="NAME"),
            option("--table", "print a table instead of JSON", action="store_true"),
        ),
        ("pretrain",),
    ),
    "info": Command(
        _info,
        "describe a training run, a memory bank or a weights file",
        (
            path_option("path", "workdir, step folder, bank, weights file or hf:ORG/NAME", nargs="?"),
            FAMILY,
            option(
                "--models", "list encoders that load by name; PATH: only those with it in theirs", action="store_true"
            ),
            JSON,
        ),
    ),
    "import": Command(
        _import,
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
                "--prefix", "of several networks in the file, such as state_dict; default: detected", metavar="NAME"
            ),
            option("--heads", "attention heads; default: detected", metavar="N", type=int),
            option("--grid", "rows and columns of the position table; default: square", metavar="8,6", type=grid_size),
            option("--mean", "mean of pixels in [0, 1]; default: the family's", metavar="R,G,B", type=colour),
            option("--std", "standard deviation of pixels; default: the family's", metavar="R,G,B", type=colour),
        ),
    ),
    "export": Command(
        _export,
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
        _data,
        "check the data that a config reads, and write pictures of it",
        (
            path_option("config", CONFIG_HELP, NAME),
            option("--all", "check every item instead of a sample", action="store_true"),
            option("--index", "list the images once, and keep the list beside them for all runs", action="store_true"),
            option("--convert", "write the images as shards to --out: arrayrecord", metavar="KIND"),
            path_option("--out", "folder for data.json and pictures; default: runs/data/NAME", "DIR", default=""),
        ),
        ("pretrain", "evaluate"),
    ),
    "bank": Command(
        _bank,
        "build, describe or verify a memory bank",
        (
            option("action", "build, info or verify", metavar="ACTION", choices=("build", "info", "verify")),
            path_option("path", "folder of the bank", "BANK"),
            path_option("--config", CONFIG_HELP.replace("config:", "config, for build:"), NAME),
            path_option("--checkpoint", CHECKPOINT_HELP.replace("encoder:", "encoder, for build:")),
            JSON,
        ),
        ("evaluate",),
    ),
}
