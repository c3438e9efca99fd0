"""Evaluations that share a memory bank, in one process: `python -m hummingbird.sweep.shared WORKDIR TASK...`.

The prompt is encoded once, into the bank's folder; the queries are encoded once, into a temporary file beside it. What
is left for each setting is the search, the vote and the comparison with the truth.
"""

import hashlib
import logging
import os
import pathlib
import signal
import sys
import tempfile
import time
import traceback
from typing import Any

import numpy as np

from hummingbird import config
from hummingbird.errors import UserError
from hummingbird.sweep import state
from hummingbird.sweep.plan import Task
from hummingbird.sweep.state import Workdir


class CachedEncoder:
    """An encoder that encodes each image once and keeps the features on disk, told apart by the image's checksum.

    Args:
      encoder: callable uint8 [B, H, W, 3] -> features [B, h, w, D]; its attributes are passed on.
      folder: where the temporary file goes.
    """

    def __init__(self, encoder: Any, folder: pathlib.Path):
        self._encoder = encoder
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - lives as long as the encoder
        self._places: dict[bytes, int] = {}
        self._shape: tuple[int, ...] = ()
        self.encoded = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        names = [hashlib.blake2b(image.tobytes() + bytes(str(image.shape), "ascii")).digest() for image in images]
        if any(name not in self._places for name in names):
            features = np.asarray(self._encoder(images), np.float32)
            self.encoded += len(images)
            for name, feature in zip(names, features, strict=True):
                if name not in self._places:
                    self._places[name] = self._file.seek(0, os.SEEK_END)
                    self._file.write(feature.tobytes())
            self._shape = features.shape[1:]
            return features
        size = 4 * int(np.prod(self._shape))
        found = []
        for name in names:
            self._file.seek(self._places[name])
            found.append(np.frombuffer(self._file.read(size), np.float32).reshape(self._shape))
        return np.stack(found)


def run_shared(workdir: Workdir, tasks: list[Task]) -> None:
    """Runs evaluations of one encoder over one bank, keeping the state of each; one that fails stops no other."""
    from hummingbird import retrieval
    from hummingbird.data.sources import build_dense_source
    from hummingbird.encoder import load_encoder
    from hummingbird.retrieval.encode import Clock
    from hummingbird.retrieval.prompt import make_bank
    from hummingbird.retrieval.protocol import build_protocol

    encoder: Any = None
    for task in tasks:
        started = time.time()
        workdir.set_state(task.id, state.RUNNING, started=started)
        print(f"-- {task.id}", flush=True)
        try:
            resolved = config.resolve("evaluate", task.config, task.pairs)
            if encoder is None:
                loaded: Any = load_encoder(task.checkpoint, resolved.encoder.network, resolved.encoder.dtype)
                prompt = build_dense_source(resolved, "prompt")
                protocol = build_protocol(resolved, prompt.task, loaded.patch_size)
                # Built, or finished, before anything is cached: only the queries are to be kept.
                make_bank(loaded, prompt, protocol, resolved, Clock())
                encoder = CachedEncoder(loaded, pathlib.Path(task.bank).parent)
            retrieval.evaluate(encoder, resolved, str(workdir.folder(task.id)))
        except Exception as error:  # whatever it is belongs to this task; the next may still work
            tail = f"hummingbird: error: {error}" if isinstance(error, UserError) else traceback.format_exc()
            print(tail, flush=True)
            tail = "\n".join(tail.strip().splitlines()[-state.TAIL_LINES :])
            workdir.set_state(task.id, state.FAILED, started=started, seconds=time.time() - started, tail=tail)
        else:
            workdir.set_state(task.id, state.DONE, started=started, seconds=time.time() - started)


def main(arguments: list[str]) -> int:
    """Runs the tasks named; exit status 0 whatever became of them, for that is in their states."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # nothing to save: a bank goes on from its last commit
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    workdir = Workdir(arguments[0])
    plan = workdir.load_plan()
    assert plan is not None, f"{workdir.path} holds no sweep"
    run_shared(workdir, [plan.tasks[id] for id in arguments[1:]])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
