"""The parts of the suite that CI runs on separate machines: scripts/test --shard=2/4."""

import zlib
from collections.abc import Callable

import pytest


def shard(option: str) -> Callable[[str], bool]:
    """Returns whether a test's node id is in the shard "K/N": its function's checksum says so, not its parameters.

    Raises:
      pytest.UsageError: the option is not two whole numbers with 1 <= K <= N.
    """
    part, _, parts = option.partition("/")
    if not (part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
        raise pytest.UsageError(f"--shard={option}: expected K/N with 1 <= K <= N")
    return lambda name: zlib.crc32(name.partition("[")[0].encode()) % int(parts) == int(part) - 1
