"""The command `hummingbird`: parses arguments, calls one function per sub-command, turns errors into exit statuses.

Exit status: 0 success; 2 bad config or input (one line, no traceback); 42 stopped by a signal after saving (start the
same command again to go on); 1 anything else.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
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
        COMMANDS[arguments.command](arguments, overrides)
    except UserError as error:
        print(f"hummingbird: error: {error}", file=sys.stderr)
        return 2
    except Preempted as stopped:
        print(f"hummingbird: {stopped}", file=sys.stderr)
        return PREEMPTED_STATUS
    except KeyboardInterrupt:
        print("hummingbird: interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


def parse(argv: list[str]) -> tuple[argparse.Namespace, list[tuple[str, str]]]:
    """The arguments, and the pairs (key, text) of every `--config.key=text`."""
    parser = argparse.ArgumentParser(prog="hummingbird", description=__doc__.splitlines()[0], allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str, *options: tuple[str, dict[str, Any]]) -> None:
        sub = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        for flag, how in options:
            sub.add_argument(flag, **how)

    config = ("--config", {"metavar": "FILE[:variant]", "help": "config file; --config.a.b=value overrides a setting"})
    needed = (config[0], {**config[1], "required": True})
    workdir = ("--workdir", {"required": True, "help": "folder of the run; the same one goes on where it stopped"})
    command("pretrain", "pretrain an encoder", needed, workdir)
    checkpoint = {"required": True, "help": "workdir, step folder, weights file, random:vit_s16 or rgb:16"}
    command("evaluate", "score an encoder by retrieval", needed, ("--checkpoint", checkpoint), workdir)
    command(
        "info", "say what a checkpoint, bank or weights file is", ("path", {}), ("--json", {"action": "store_true"})
    )

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
    from hummingbird import config, distributed, hooks, train

    resolved = config.resolve("pretrain", arguments.config, overrides)
    distributed.initialize()
    train.pretrain(resolved, arguments.workdir, hooks.build_hooks(resolved, arguments.workdir))


def _evaluate(arguments: argparse.Namespace, overrides: list[tuple[str, str]]) -> None:
    from hummingbird import config, encoder, retrieval

    resolved = config.resolve("evaluate", arguments.config, overrides)
    loaded = encoder.load_encoder(arguments.checkpoint, resolved.encoder.network, resolved.encoder.dtype)
    result = retrieval.evaluate(loaded, resolved, arguments.workdir)
    print(json.dumps({"task": result["task"], "dataset": result["dataset"], **_scalars(result["metrics"])}))


def _scalars(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if not isinstance(value, dict)}


def _info(arguments: argparse.Namespace, overrides: list[tuple[str, str]]) -> None:
    from hummingbird import info

    found = info.describe(arguments.path)
    if arguments.json:
        print(json.dumps(found))
        return
    for key, value in found.items():
        if key == "config":
            print("config:")
            for name, setting in value.items():
                print(f"  {name} = {setting}")
        elif isinstance(value, dict):
            print(f"{key}: " + ", ".join(f"{name} {item}" for name, item in value.items()))
        else:
            print(f"{key}: {value:,}" if isinstance(value, int) and key != "step" else f"{key}: {value}")


COMMANDS = {"pretrain": _pretrain, "evaluate": _evaluate, "info": _info}
