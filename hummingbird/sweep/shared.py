"""Runs evaluations that share an encoding in one process: `python -m hummingbird.sweep.shared FOLDER COMMAND...`.

The prompt is encoded once, into a bank from which shorter ones, or ones with fewer passes, are cut. The queries are
read and encoded once, into a temporary file beside it. Settings that follow each other over the same bank also share
its index. Each then costs only its search, vote and metrics.
"""

from __future__ import annotations

import functools
import logging
import signal
import sys
import time
import traceback
from typing import TYPE_CHECKING

from hummingbird import config
from hummingbird.errors import UserError
from hummingbird.sweep.folder import DONE, FAILED, RUNNING, TAIL_LINES, SweepFolder
from hummingbird.sweep.schedule import Command

if TYPE_CHECKING:  # loaded in `_encode`, when the first command runs
    from hummingbird.data.interface import DenseSource
    from hummingbird.encoder import Encoder
    from hummingbird.retrieval.encodings import Encodings
    from hummingbird.retrieval.evaluation import Evaluation
    from hummingbird.retrieval.protocol import EvalProtocol


def run_shared(folder: SweepFolder, commands: list[Command], family: list[Command] | None = None) -> None:
    """Runs evaluations of one encoder over one prompt, and writes their statuses; a failure stops only its own command.

    Args:
      folder: the sweep's folder.
      commands: evaluations to run.
      family: all evaluations that share the encoding, done or not; None: `commands`.
    """
    from hummingbird import retrieval

    encode = functools.cache(functools.partial(_encode, tuple(family or commands)))
    for command in commands:
        started = time.time()
        folder.set_status(command.id, RUNNING, started=started)
        print(f"-- {command.id}", flush=True)
        try:
            resolved = config.resolve("evaluate", command.config, command.overrides)
            encoder, sources, encoded = encode()
            retrieval.evaluate(encoder, resolved, folder.workdir(command.id), sources, encoded)
        except Exception as error:  # the next command may still work
            text = f"hummingbird: error: {error}" if isinstance(error, UserError) else traceback.format_exc()
            print(text, flush=True)
            tail = "\n".join(text.strip().splitlines()[-TAIL_LINES:])
            folder.set_status(command.id, FAILED, started=started, seconds=time.time() - started, tail=tail)
        else:
            folder.set_status(command.id, DONE, started=started, seconds=time.time() - started)


def _encode(commands: tuple[Command, ...]) -> tuple[Encoder, tuple[DenseSource, DenseSource], Encodings]:
    """Returns the encoder, prompt and query, and their encoding, for all commands with usable settings."""
    from hummingbird.data.sources import build_dense_source
    from hummingbird.encoder import build_encoder
    from hummingbird.retrieval.evaluation import build_evaluation
    from hummingbird.retrieval.fitted_encodings import FittedEncodings, needs_fit
    from hummingbird.retrieval.shared_encoding import share_encoding

    resolved = config.resolve("evaluate", commands[0].config, commands[0].overrides)
    encoder = build_encoder(commands[0].checkpoint, resolved.encoder)
    prompt, query = (build_dense_source(resolved, split) for split in ("prompt", "query"))
    protocols: list[EvalProtocol] = []
    failed = UserError("no command to run")
    for command in commands:
        try:
            own = config.resolve("evaluate", command.config, command.overrides)
            protocols += _protocols(build_evaluation(encoder, own, prompt, query))
        except UserError as error:  # the command itself reports it when it runs
            failed = error
    if not protocols:
        raise failed
    shared = build_evaluation(encoder, resolved, prompt, query)
    if needs_fit(shared):
        return encoder, (prompt, query), FittedEncodings(several=True)
    return encoder, (prompt, query), share_encoding(shared, protocols, commands[0].bank)


def _protocols(evaluation: Evaluation) -> list[EvalProtocol]:
    """Returns the protocol of an evaluation and of its parts of the prompt; UserError if they cannot be met."""
    from hummingbird.retrieval.fractions import check_parts
    from hummingbird.retrieval.selection import drawn_parts, prompt_images

    prompt_images(len(evaluation.prompt), evaluation.protocol)
    check_parts(evaluation)
    data = evaluation.data
    return [evaluation.protocol, *drawn_parts(evaluation.protocol, data.fractions, data.subsets)]


def main(arguments: list[str]) -> int:
    """Runs the given commands; returns 0 even if some fail, since their statuses say so."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # nothing to save: a bank resumes from its last commit
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    folder = SweepFolder(arguments[0])
    schedule = folder.load_schedule()
    assert schedule is not None, f"{folder.path} holds no sweep"
    commands = [schedule.commands[id] for id in arguments[1:]]
    family = [command for command in schedule.commands.values() if command.bank == commands[0].bank]
    run_shared(folder, commands, family)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
