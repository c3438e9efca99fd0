"""Dense nearest-neighbour retrieval: evaluates frozen encoders on any kind of dense label."""

from hummingbird.retrieval.bank.sampling import sample_patches
from hummingbird.retrieval.decode import cross_attend
from hummingbird.retrieval.evaluate import evaluate, measure
from hummingbird.retrieval.index.build import build_index
from hummingbird.tasks.segmentation import patch_labels

__all__ = ["build_index", "cross_attend", "evaluate", "measure", "patch_labels", "sample_patches"]
