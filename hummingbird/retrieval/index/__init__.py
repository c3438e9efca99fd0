"""Nearest-neighbour indexes: exact on the CPU, exact on accelerators, and ScaNN."""

from hummingbird.retrieval.index.build import build_index
from hummingbird.retrieval.index.interface import Index

__all__ = ["Index", "build_index"]
