"""Nearest-neighbour indexes: exact on the CPU, on devices, and ScaNN."""

from hummingbird.retrieval.index.build import Index, build_index

__all__ = ["Index", "build_index"]
