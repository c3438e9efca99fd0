"""Settings that come with a named protocol: they are the defaults while it is chosen, and can be overridden.

What a protocol fixes besides them is in `hummingbird.retrieval.protocol` and in the tasks.
"""

from __future__ import annotations

from collections.abc import Mapping

from hummingbird.config.schema import Tree

PRESETS: Mapping[str, Tree] = {
    # DIP (arXiv 2506.18463), its repository sirkosophia/DIP, README.md and hummingbird/src/hbird_eval.py.
    "dip": {"input_size": 504, "retrieval.temperature": 0.07, "retrieval.distance": "l2"},
    # CAPI, facebookresearch/capi, eval_segmentation.py. Its authors choose k among 1, 3, 10 and 30, and the distance
    # among cosine and L2, on a tenth of the training images; here they are settings (configs/sweeps/capi.py).
    "capi": {
        "input_size": 224,
        "retrieval.neighbours": 10,
        "retrieval.sampling": "all",
        "retrieval.standardise": True,
    },
}
