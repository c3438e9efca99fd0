"""A decoder in one line, for notebooks: `hb.decoders.fit`."""

from __future__ import annotations

import os
import tempfile

from hummingbird import config as configs
from hummingbird.config.finetune import FinetuneConfig
from hummingbird.config.schema import Tree, flatten
from hummingbird.data.interface import DenseSource
from hummingbird.decoders.finetune import Fitted, finetune
from hummingbird.encoder import Encoder
from hummingbird.retrieval.evaluate import NOTHING, Change


def fit(
    encoder: Encoder | str,
    config: FinetuneConfig | str = "linear",
    workdir: str | os.PathLike[str] | None = None,
    sources: tuple[DenseSource, DenseSource] | None = None,
    *,
    root: str | os.PathLike[str] | None = None,
    overrides: Tree = NOTHING,
    **settings: Change,
) -> Fitted:
    """Fits a decoder on an encoder, and scores it as `hb.evaluate` scores retrieval.

    Args:
      encoder: what `load_encoder` returns or takes: the path of a checkpoint, "random:vit_s16", "rgb:8"; or any
        callable that `hb.evaluate` takes, such as a PyTorch model, which stays frozen and gives its last layer.
      config: name of a shipped config, such as "linear:pascal_voc", "upernet:ade20k" or "depth:nyuv2"; path of a config
        file; or a resolved config.
      workdir: folder for checkpoints, logs, metrics.json and report.html; the same call resumes. None: nothing is kept.
      sources: images to train on and to predict; None: those that the config names.
      root: folder of the data set, `data.root`.
      overrides: other settings by key, dotted or nested: {"decoder.train_encoder": True}.
      **settings: like `overrides`, for keys without a dot: total_steps=1000.

    Returns:
      The decoder, with `predict(image)`, and the content of metrics.json.

    Raises:
      UserError: unknown config or setting, or data, labels and encoder that do not fit.

    Example:
      >>> tiny = {"data.scenes": {"prompt_images": 4, "query_images": 2, "size": 32}, "report.enabled": False}
      >>> fitted = fit("rgb:8", overrides=tiny, input_size=32, batch_size=8, total_steps=2, progress=False)
      >>> import numpy as np
      >>> fitted.predict(np.zeros((40, 60, 3), np.uint8)).shape
      (40, 60)
    """
    place: Tree = {} if root is None else {"data.root": os.fspath(root)}
    changes = {**flatten(overrides), **flatten(settings), **place}
    if isinstance(config, str):
        config = configs.resolve("finetune", config, changes)
    elif changes:
        config = configs.replace(config, changes)
    if workdir is not None:
        return finetune(config, encoder, workdir, sources)
    with tempfile.TemporaryDirectory() as folder:
        return finetune(config, encoder, folder, sources)
