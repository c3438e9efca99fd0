"""Trained decoders: heads on frozen or trained features, fitted by the loop of `train` and scored as retrieval is."""

from hummingbird.decoders.finetune import Fitted
from hummingbird.decoders.fitting import fit

__all__ = ["Fitted", "fit"]
