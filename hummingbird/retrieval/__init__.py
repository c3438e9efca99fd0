"""Dense nearest-neighbour retrieval: evaluates frozen encoders on segmentation and depth."""

from hummingbird.retrieval.bank.labels import patch_labels
from hummingbird.retrieval.bank.memory import sample_patches
from hummingbird.retrieval.decode import cross_attend
from hummingbird.retrieval.evaluate import evaluate, measure
from hummingbird.retrieval.index.build import build_index

__all__ = ["build_index", "cross_attend", "evaluate", "measure", "patch_labels", "sample_patches"]
