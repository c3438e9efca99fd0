"""The command `hummingbird`: parses arguments, calls one function per sub-command, turns errors into exit statuses.

Exit status: 0 success; 2 bad config or input (one line, no traceback); 42 stopped by a signal after saving (start the
same command again to go on); 1 anything else.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from hummingbird.errors import Preempted, UserError

PREEMPTED_STATUS = 42


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point; exits the process."""
    sys.exit(run(sys.argv[1:] if argv is None else list(argv)))


def run(argv: list[str]) -> int:
    """Runs one command line; returns the exit status."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    logging.getLogger("hummingbird").setLevel(logging.INFO)
    try:
        arguments, overrides = parse(argv)
        return COMMANDS[arguments.command](arguments, overrides) or 0
    except UserError as error:
        print(f"hummingbird: error: {error}", file=sys.stderr)
        return 2
    except Preempted as stopped:
        print(f"hummingbird: {stopped}", file=sys.stderr)
        return PREEMPTED_STATUS
    except KeyboardInterrupt:
        print("hummingbird: interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130


CONFIG = ("--config", {"metavar": "FILE[:variant]", "help": "config file; --config.a.b=value overrides a setting"})
CHECKPOINT = ("--checkpoint", {"help": "workdir, step folder, imported folder, weights file, random:vit_s16 or rgb:16"})
WORKDIR = ("--workdir", {"required": True, "help": "folder of the run; the same one goes on where it stopped"})
INIT_FROM = (
    "--init_from",
    {
        "metavar": "PATH",
        "help": "a NEW run, at step 0, with the encoder (and all else that fits) of a training workdir, imported folder"
        " or weights file; optimiser, bank and statistics are new. To go on with a run give its --workdir alone: one"
        " that has a checkpoint goes on from it, and this is ignored",
    },
)
JSON = ("--json", {"action": "store_true", "help": "one line of JSON"})
NETWORK = {"default": "online", "choices": ("online", "target"), "help": "which network of a training run"}
TOPOLOGY = {"metavar": "v3:8x8", "help": "TPU topology; without it, the devices of this machine"}
FAMILY = ("--family", {"help": "whose weights they are; default: recognised"})
Option = tuple[str, dict[str, Any]]


def numbers(text: str) -> tuple[int, ...]:
    """ "-2,-1" -> (-2, -1)."""
    return tuple(int(word) for word in text.split(","))


def required(option: Option) -> Option:
    """The option, which must be given."""
    return option[0], {**option[1], "required": True}


# name: (what it does, its arguments)
PARSERS: dict[str, tuple[str, list[Option]]] = {
    "pretrain": ("pretrain an encoder", [required(CONFIG), WORKDIR, INIT_FROM]),
    "evaluate": ("score an encoder by retrieval", [required(CONFIG), required(CHECKPOINT), WORKDIR]),
    "sweep": (
        "run many pretrainings or evaluations from one file of overrides",
        [
            required(CONFIG),
            ("--sweep", {"required": True, "metavar": "FILE[:variant]", "help": "sweep file, see configs/sweeps/"}),
            WORKDIR,
            ("--launcher", {"default": "local", "help": "local, slurm or print"}),
            CHECKPOINT,
            ("--parallel", {"type": int, "help": "runs at a time"}),
        ],
    ),
    "plan": (
        "compile the train step for a TPU topology without the hardware",
        [
            required(CONFIG),
            ("--topology", TOPOLOGY),
            ("--table", {"action": "store_true", "help": "a table, not JSON"}),
        ],
    ),
    "info": ("say what a checkpoint, bank or weights file is", [("path", {"metavar": "PATH"}), FAMILY, JSON]),
    "import": (
        "make another project's weights ours",
        [
            ("src", {"metavar": "SRC", "help": "weights file or folder of another project"}),
            ("dst", {"metavar": "DST", "help": "new folder"}),
            FAMILY,
            ("--features", {"choices": ("tokens", "query", "key", "value"), "help": "the features; default: tokens"}),
            ("--layers", {"type": numbers, "metavar": "-2,-1", "help": "layers side by side; default: the last"}),
            ("--norm", {"action": argparse.BooleanOptionalAction, "help": "final norm on tokens; default: with it"}),
        ],
    ),
    "export": (
        "write an encoder in the form that others load",
        [
            ("src", {"metavar": "SRC", "help": "training workdir, step folder or imported folder"}),
            ("dst", {"metavar": "DST", "help": "new folder"}),
            ("--format", {"default": "timm", "help": "timm, hf, big_vision or hummingbird"}),
            ("--network", NETWORK),
        ],
    ),
    "data": (
        "show what a config would read, and check it",
        [
            ("config", {"metavar": "FILE[:variant]"}),
            ("--all", {"action": "store_true", "help": "check every item, not a sample"}),
            ("--out", {"default": "", "help": "folder for the contact sheet"}),
        ],
    ),
    "bank": (
        "build, inspect or verify a memory bank",
        [
            ("action", {"choices": ("build", "info", "verify"), "help": "what to do"}),
            ("path", {"metavar": "BANK", "help": "folder of the bank"}),
            CONFIG,
            CHECKPOINT,
            JSON,
        ],
    ),
}


def parse(argv: list[str]) -> tuple[argparse.Namespace, list[tuple[str, str]]]:
    """The arguments, and the pairs (key, text) of every `--config.key=text`."""
    parser = argparse.ArgumentParser(
        prog="hummingbird",
        description="Pretrains encoders that understand scenes in context, and measures any encoder that way.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (text, options) in PARSERS.items():
        sub = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        for flag, how in options:
            sub.add_argument(flag, **how)
    known, rest = parser.parse_known_args(argv)
    return known, _overrides(parser, rest)


def _overrides(parser: argparse.ArgumentParser, rest: list[str]) -> list[tuple[str, str]]:
    pairs = []
    words = iter(rest)
    for word in words:
        if not word.startswith("--config."):
            parser.error(f"unrecognised argument {word}")
        key, equals, text = word.removeprefix("--config.").partition("=")
        if not equals:
            text = next(words, None)
            if text is None or text.startswith("--"):
                parser.error(f"{word} needs a value: {word}=VALUE")
        pairs.append((key, text))
    return pairs


def _pretrain(arguments: argparse.Namespace, overrides: list[tuple[str, str]]) -> None:
    from hummingbird import config, hooks, train
    from hummingbird.devices import distributed

    if arguments.init_from is not None:
        overrides = [*overrides, ("init_from", arguments.init_from)]
    resolved = config.resolve("pretrain", arguments.config, overrides)
    distributed.initialize()
    train.pretrain(resolved, arguments.workdir, hooks.build_hooks(resolved, arguments.workdir))


def _evaluate(arguments: argparse.Namespace, overrides: list[tuple[str, str]]) -> None:
    from hummingbird import config, encoder, retrieval
    from hummingbird.devices import distributed

    resolved = config.resolve("evaluate", arguments.config, overrides)
    distributed.initialize()
    loaded = encoder.build_encoder(arguments.checkpoint, resolved.encoder)
    result = retrieval.evaluate(loaded, resolved, arguments.workdir)
    print(json.dumps({"task": result["task"], "dataset": result["dataset"], **_scalars(result["metrics"])}))
    report = pathlib.Path(arguments.workdir) / "report.html"
    if resolved.report.enabled and report.exists():
        print(f"report: {report}", file=sys.stderr)


def _scalars(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if not isinstance(value, dict)}


def _sweep(arguments: argparse.Namespace, overrides: list[tuple[str, str]]) -> int:
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


def _plan(arguments: argparse.Namespace, overrides: list[tuple[str, str]]) -> None:
    from hummingbird import config
    from hummingbird.commands import plan

    result = plan.plan(config.resolve("pretrain", arguments.config, overrides), arguments.topology)
    print(plan.table(result) if arguments.table else json.dumps(result))


def _info(arguments: argparse.Namespace, overrides: list[tuple[str, str]]) -> None:
    from hummingbird.commands import info

    show(info.describe(arguments.path, arguments.family), arguments.json)


def _import(arguments: argparse.Namespace, overrides: list[tuple[str, str]]) -> None:
    from hummingbird import weights

    chosen = {name: getattr(arguments, name) for name in ("family", "features", "layers", "norm")}
    show(weights.import_weights(arguments.src, arguments.dst, **chosen))


def _export(arguments: argparse.Namespace, overrides: list[tuple[str, str]]) -> None:
    from hummingbird import weights

    show(weights.export_weights(arguments.src, arguments.dst, format=arguments.format, network=arguments.network))


def _data(arguments: argparse.Namespace, overrides: list[tuple[str, str]]) -> int:
    from hummingbird.commands import inspect_data

    return inspect_data.run(arguments.config, overrides, out=arguments.out, check_all=arguments.all)


def _bank(arguments: argparse.Namespace, overrides: list[tuple[str, str]]) -> None:
    from hummingbird import config, encoder
    from hummingbird.retrieval import store

    if arguments.action == "build":
        if not (arguments.config and arguments.checkpoint):
            raise UserError("bank build needs --config=FILE and --checkpoint=PATH")
        resolved = config.resolve("evaluate", arguments.config, overrides)
        loaded = encoder.build_encoder(arguments.checkpoint, resolved.encoder)
        show(store.build(loaded, resolved, arguments.path), arguments.json)
    else:
        show({"info": store.bank_info, "verify": store.verify_bank}[arguments.action](arguments.path), arguments.json)


def show(found: dict[str, Any], as_json: bool = False) -> None:
    """Prints what a command found, as JSON or for people."""
    try:
        print(json.dumps(found) if as_json else "\n".join(_lines(found)), flush=True)
    except BrokenPipeError:  # the reader has seen enough, as `head` does; nothing is to be said at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _lines(found: dict[str, Any]) -> Iterator[str]:
    for key, value in found.items():
        if key == "config" and isinstance(value, dict):
            yield "config:"
            yield from (f"  {name} = {setting}" for name, setting in value.items())
        elif isinstance(value, dict):
            yield f"{key}: " + ", ".join(f"{name} {item}" for name, item in value.items())
        else:
            yield f"{key}: {value:,}" if isinstance(value, int) and key != "step" else f"{key}: {value}"


COMMANDS = {
    "pretrain": _pretrain,
    "evaluate": _evaluate,
    "sweep": _sweep,
    "plan": _plan,
    "info": _info,
    "import": _import,
    "export": _export,
    "data": _data,
    "bank": _bank,
}
