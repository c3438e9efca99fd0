"""What the sweeps that set retrieval against trained decoders share: methods, data sets, published encoders."""

from __future__ import annotations

from typing import NamedTuple

from hummingbird.sweep.spec import Point

# Stages of a run, by the names of the paper's legends.
METHODS = {"NN retrieval": "nn", "Linear + frozen": "frozen", "Linear + E2E FT": "e2e"}
# Settings of these decoders; those of the encoder's layers follow from training it.
DECODERS: Point = {"finetune.e2e.decoder.train_encoder": True}

QUICK: Point = {"report.enabled": False}  # demos: a report takes as long as the rest


class DataSet(NamedTuple):
    """A data set of the paper's figures.

    Attributes:
      title: its name.
      evaluate, finetune: configs of the stages.
      images: in its training set.
    """

    title: str
    evaluate: dict[str, str]
    finetune: dict[str, str]
    images: int


def data_set(title: str, evaluate: str, finetune: str, images: int) -> DataSet:
    """Returns a data set with retrieval, a linear head on the frozen encoder, and one trained end to end."""
    return DataSet(title, {"nn": evaluate}, {"frozen": finetune, "e2e": finetune}, images)


# By variant of a sweep file.
DATA_SETS = {
    "": data_set("PASCAL VOC", "evaluate/pascal_voc", "finetune/linear:pascal_voc", 10_582),
    "ade20k": data_set("ADE20K", "evaluate/ade20k", "finetune/linear:ade20k", 20_210),
    "demo": data_set("scenes", "evaluate/demo", "finetune/linear:scenes", 64),
}
