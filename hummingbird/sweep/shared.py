"""Evaluations that share an encoding, in one process: `python -m hummingbird.sweep.shared WORKDIR TASK...`.

The prompt is encoded once, into a bank in their folder, from which banks of other lengths or with fewer passes are cut;
the queries are read and encoded once, into a temporary file beside it. What is left for each setting is the search, the
vote and the comparison with the truth.
"""

import functools
import logging
import signal
import sys
import time
import traceback
from typing import Any

from hummingbird import config
from hummingbird.errors import UserError
from hummingbird.sweep import state
from hummingbird.sweep.plan import Task
from hummingbird.sweep.state import Workdir


def run_shared(workdir: Workdir, tasks: list[Task], family: list[Task] | None = None) -> None:
    """Runs evaluations of one encoder over one prompt, keeping the state of each; one that fails stops no other.

    Args:
      family: all tasks that share the encoding, those too that are done; None: `tasks`.
    """
    from hummingbird import retrieval

    encode = functools.cache(functools.partial(_encode, tuple(family or tasks)))
    for task in tasks:
        started = time.time()
        workdir.set_state(task.id, state.RUNNING, started=started)
        print(f"-- {task.id}", flush=True)
        try:
            resolved = config.resolve("evaluate", task.config, task.overrides)
            encoder, sources, encoded = encode()
            retrieval.evaluate(encoder, resolved, str(workdir.folder(task.id)), sources, encoded)
        except Exception as error:  # whatever it is belongs to this task; the next may still work
            tail = f"hummingbird: error: {error}" if isinstance(error, UserError) else traceback.format_exc()
            print(tail, flush=True)
            tail = "\n".join(tail.strip().splitlines()[-state.TAIL_LINES :])
            workdir.set_state(task.id, state.FAILED, started=started, seconds=time.time() - started, tail=tail)
        else:
            workdir.set_state(task.id, state.DONE, started=started, seconds=time.time() - started)


def _encode(tasks: tuple[Task, ...]) -> tuple[Any, tuple[Any, Any], Any]:
    """The encoder, the sources and what is encoded, for all tasks whose settings can be met."""
    from hummingbird.data.sources import build_dense_source
    from hummingbird.encoder import build_encoder
    from hummingbird.retrieval.evaluation import build_evaluation
    from hummingbird.retrieval.fractions import check_parts
    from hummingbird.retrieval.selection import drawn_parts, prompt_images
    from hummingbird.retrieval.shared_encoding import share_encoding

    resolved = config.resolve("evaluate", tasks[0].config, tasks[0].overrides)
    encoder = build_encoder(tasks[0].checkpoint, resolved.encoder)
    prompt, query = (build_dense_source(resolved, split) for split in ("prompt", "query"))
    protocols, failed = [], None
    for task in tasks:
        try:
            own = config.resolve("evaluate", task.config, task.overrides)
            evaluation = build_evaluation(encoder, own, prompt, query)
            prompt_images(len(prompt), evaluation.protocol)
            check_parts(evaluation)
        except UserError as error:  # the task itself reports it when it runs
            failed = error
        else:
            parts = drawn_parts(evaluation.protocol, own.data.fractions, own.data.subsets)
            protocols += [evaluation.protocol, *parts]
    if not protocols:
        assert failed is not None
        raise failed
    shared = build_evaluation(encoder, resolved, prompt, query)
    return encoder, (prompt, query), share_encoding(shared, protocols, tasks[0].bank)


def main(arguments: list[str]) -> int:
    """Runs the tasks named; exit status 0 whatever became of them, for that is in their states."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # nothing to save: a bank goes on from its last commit
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    workdir = Workdir(arguments[0])
    plan = workdir.load_plan()
    assert plan is not None, f"{workdir.path} holds no sweep"
    tasks = [plan.tasks[id] for id in arguments[1:]]
    run_shared(workdir, tasks, [task for task in plan.tasks.values() if task.bank == tasks[0].bank])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
