"""Opens the data of a sweep's evaluations and decoders before anything runs: a wrong folder costs no pretraining."""

from __future__ import annotations

from collections.abc import Iterable

from hummingbird import config
from hummingbird.config import EvaluateConfig
from hummingbird.config.sequences import SEQUENCES
from hummingbird.errors import UserError
from hummingbird.sweep.schedule import Command


def check_data(commands: Iterable[Command]) -> None:
    """Opens the data sets of evaluations and decoders, each once. Only a folder that lists no classes is read through.

    Pretrainings are left out: they open theirs as they start, and listing millions of files twice helps nobody.

    Raises:
      UserError: data that an evaluation or a decoder cannot use; the message names the first run that needs it.
    """
    opened: set[object] = set()
    for command in commands:
        if command.kind == "pretrain":
            continue
        try:
            settings = _evaluation(command)
            needed = settings.data, settings.images.classes, settings.images.test_share
            if needed not in opened:
                opened.add(needed)
                _open(settings)
        except UserError as error:
            raise UserError(f"sweep run {command.id}: {error}") from None


def _evaluation(command: Command) -> EvaluateConfig:
    """Returns the settings of an evaluation, or of the one that scores a decoder."""
    if command.kind == "finetune":
        return config.resolve("finetune", command.config, command.overrides).evaluation()
    return config.resolve("evaluate", command.config, command.overrides)


def _open(settings: EvaluateConfig) -> None:
    """Opens the data set of an evaluation, whatever its kind; UserError if it cannot be used."""
    from hummingbird.data.image_sets import build_labelled
    from hummingbird.data.sources import build_dense_source
    from hummingbird.retrieval.evaluation import check_sources
    from hummingbird.retrieval.recognition.landmarks import build_landmarks
    from hummingbird.retrieval.recognition.sequences import build_splits

    task = settings.data.task
    if task in SEQUENCES:
        build_splits(settings)
    elif task == "classification":
        build_labelled(settings)
    elif task == "image_retrieval":
        build_landmarks(settings.data)
    else:
        check_sources(build_dense_source(settings, "prompt"), build_dense_source(settings, "query"))
