"""The command `hummingbird`: parses arguments, calls one function per command, turns errors into exit statuses.

Exit status: 0 success; 1 failure; 2 bad config or input (one line, no traceback); 42 stopped by a signal after saving;
130 interrupted. After 42 and 130 the same command resumes the run.
"""

from __future__ import annotations

import argparse
import functools
import logging
import os
import re
import sys
from collections.abc import Sequence

import hummingbird
from hummingbird.commands.declare import Command, Overrides
from hummingbird.commands.printing import print_all
from hummingbird.commands.table import COMMANDS
from hummingbird.errors import Preempted, UserError, first_line

log = logging.getLogger(__name__)

PREEMPTED_STATUS = 42
INTERRUPTED_STATUS = 130


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command line `argv` (by default the process's own) and exits."""
    sys.exit(run(sys.argv[1:] if argv is None else list(argv)))


def run(argv: list[str]) -> int:
    """Runs one command line; returns the exit status."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    logging.getLogger("hummingbird").setLevel(logging.INFO)
    _disable_x64()
    try:
        arguments, overrides = parse(argv)
        return COMMANDS[arguments.command].run(arguments, overrides) or 0
    except UserError as error:
        return _fail(f"error: {error}", 2)
    except Preempted as stopped:
        return _fail(str(stopped), PREEMPTED_STATUS)
    except KeyboardInterrupt:
        return _fail("interrupted; the same command resumes from the last checkpoint", INTERRUPTED_STATUS)
    except Exception:
        missing = _missing_platform()
        if not missing:
            raise
        return _fail(f"error: {missing}", 2)


def _fail(message: str, status: int) -> int:
    print(f"hummingbird: {message}", file=sys.stderr)
    return status


# ---------------------------------------------------------------- the environment
def _disable_x64() -> None:
    """Ignores JAX_ENABLE_X64, which would turn arrays to 64 bits that checkpoints and kernels hold in 32."""
    if os.environ.get("JAX_ENABLE_X64", "").lower() in ("1", "true", "yes", "on"):
        log.warning("JAX_ENABLE_X64 is ignored: everything is computed in float32 or bfloat16")
        os.environ["JAX_ENABLE_X64"] = "0"


def _missing_platform() -> str:
    """Says that JAX_PLATFORMS names no device of this machine; "" if it does, or is not set."""
    wanted = os.environ.get("JAX_PLATFORMS")
    if not wanted:
        return ""
    import jax

    try:
        jax.devices()
    except Exception as error:
        reason = f" ({first_line(error)})" if str(error) else ""
        return f"JAX_PLATFORMS={wanted}: this machine has no such device{reason}; unset it to use what there is"
    return ""


# ---------------------------------------------------------------- arguments
def parse(argv: list[str]) -> tuple[argparse.Namespace, Overrides]:
    """Parses a command line; exits with the usage if it is wrong, or after printing help.

    Raises:
      UserError: a setting without a value, or for a command that takes none.
    """
    words, overrides = split_overrides(argv)
    command = COMMANDS.get(words[0]) if words else None
    for key, text in overrides:
        if command and not command.settings:
            raise UserError(f"--config.{key}: hummingbird {words[0]} takes no settings")
        if command and key == "help":
            _list_settings(command.settings, text)
            sys.exit(0)
    parser = _parser()
    if not words:
        parser.print_help(sys.stderr)
        sys.exit(2)
    return parser.parse_args(words), overrides


def split_overrides(argv: Sequence[str]) -> tuple[list[str], Overrides]:
    """Separates the settings, --config.KEY=VALUE or --config.KEY VALUE, from the other words of a command line.

    Example:
      >>> split_overrides(["plan", "--config=a.py", "--config.seed", "3", "--config.data.name=images"])
      (['plan', '--config=a.py'], [('seed', '3'), ('data.name', 'images')])
    """
    words, overrides = [], []
    rest = iter(_join_negative(argv))
    for word in rest:
        if not word.startswith("--config."):
            words.append(word)
            continue
        key, equals, text = word.removeprefix("--config.").partition("=")
        if not equals and key != "help":
            text = next(rest, "--")
            if text.startswith("--"):
                raise UserError(f"{word} needs a value: {word}=VALUE")
        overrides.append((key, text))
    return words, overrides


def _join_negative(argv: Sequence[str]) -> list[str]:
    """Joins "--layers", "-2,-1" to "--layers=-2,-1": argparse would take the second word for an option."""
    words: list[str] = []
    for word in argv:
        if words and re.match(r"-\d", word) and re.fullmatch(r"--[^=]+", words[-1]):
            words[-1] += f"={word}"
        else:
            words.append(word)
    return words


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hummingbird",
        description="Pretrain vision encoders in context, and score any encoder by dense retrieval.",
        epilog="hummingbird COMMAND --help explains a command.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"hummingbird {hummingbird.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", title="commands")
    for name, command in COMMANDS.items():
        text = command.help[0].upper() + command.help[1:] + "."
        sub = commands.add_parser(
            name,
            help=command.help,
            description=text,
            epilog=_epilog(name, command),
            formatter_class=functools.partial(argparse.HelpFormatter, max_help_position=28),
            allow_abbrev=False,
        )
        for declared in command.options:
            sub.add_argument(declared.name, **declared.keywords)
    return parser


def _epilog(name: str, command: Command) -> str | None:
    if not command.settings:
        return None
    return (
        f"`hummingbird {name} --config.help` lists all settings that --config.KEY=VALUE overrides,"
        " with their defaults; `--config.help=GROUP` lists those of one group."
    )


def _list_settings(kinds: Sequence[str], group: str) -> None:
    from hummingbird import config

    having = [kind for kind in kinds if any(f"{key}.".startswith(f"{group}.") for key in config.declared(kind))]
    for kind in having if group and having else kinds:
        title = f"# settings of `hummingbird {kind}`\n" if len(kinds) > 1 else ""
        print_all(title + config.list_settings(config.declared(kind), group))
