"""Banks on disk, for `hummingbird bank`: build, inspect, verify. The files: `hummingbird.retrieval.bank.files`."""

from __future__ import annotations

from typing import Any

from hummingbird.config import EvaluateConfig, replace
from hummingbird.data.sources import build_dense_source
from hummingbird.retrieval.bank.files import bank_info, is_bank, load_bank, verify_bank
from hummingbird.retrieval.encode import Clock
from hummingbird.retrieval.prompt import make_bank
from hummingbird.retrieval.protocol import build_protocol
from hummingbird.tasks import build_task

__all__ = ["bank_info", "build", "is_bank", "load_bank", "verify_bank"]


def build(encoder: Any, config: EvaluateConfig, path: str) -> dict[str, Any]:
    """Builds, or finishes, the bank of an evaluation in a folder; `bank_info` of it.

    A folder that holds this bank already is verified and left as it is; one with another bank is refused.
    """
    source = build_dense_source(config, "prompt")
    config = replace(config, {"retrieval.bank": path})
    task = build_task(source, config)
    make_bank(encoder, source, task, build_protocol(config, task, encoder.patch_size), config, Clock())
    return bank_info(path)
