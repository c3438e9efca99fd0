"""Features and scores of every family are those of the project's own code, on photographs.

The photographs are street scenes (CamVid) of the small real data sets; where these are not there, rendered scenes take
their place. The lines printed with `-s` say which of the two was used.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection

import cv2
import jax
import numpy as np
import pytest

from hummingbird import config, retrieval, weights
from hummingbird.data.sources import build_dense_source
from hummingbird.models.frozen import FrozenEncoder
from hummingbird.weights.folders import Weights
from hummingbird.weights.foreign import as_encoder, backbone_of
from tests.weights.beit_zoo import BEIT_ZOO
from tests.weights.conv_zoo import CONV_ZOO
from tests.weights.flax_zoo import FLAX_ZOO
from tests.weights.hf_zoo import HF_ZOO
from tests.weights.stage_zoo import STAGE_ZOO
from tests.weights.upstream import relative_error
from tests.weights.zoo import ZOO, Specimen

pytestmark = pytest.mark.parity

ALL = {**ZOO, **BEIT_ZOO, **HF_ZOO, **FLAX_ZOO, **CONV_ZOO, **STAGE_ZOO}
# Scores follow from features, so that one encoder of each kind shows it outside of `scripts/test --all`.
SCORED = ("DINO", "vision_transformer AugReg npz", "ConvNeXt (timm)")
# Architectures that another row has too, under other names of arrays: compared by `scripts/test --all`, and whenever
# this folder is tested by itself.
OTHER_NAMES = (
    *("HF ViT", "HF BEiT", "HF MAE", "HF DINOv2 registers", "HF DINOv3", "HF DINOv3, gated", "HF CLIP", "HF SigLIP"),
    *("HF ConvNeXt", "HF Swin", "HF Swin V2", "HF ResNet", "timm DINOv3", "timm DINOv3, gated"),
    *("EVA-02 small", "Perception Encoder, language", "DINO training checkpoint"),
)


def rows(weekly: Collection[str]) -> list:
    """Names of all files, some of them marked as slow."""
    return [pytest.param(name, marks=[pytest.mark.slow] if name in weekly else []) for name in ALL]


RETRIEVAL = {
    "batch_size": 4,
    "data.max_images": 4,
    "data.max_queries": 3,
    "data.scenes.size": 96,
    "retrieval.augmentation_epochs": 0,
    "retrieval.index": "exact",
    "retrieval.neighbours": 5,
    "progress": False,
}


class Theirs:
    """The project's own model as an encoder: any callable with a patch size can be evaluated."""

    def __init__(self, specimen: Specimen, patch_size: int):
        self.features, self.patch_size = specimen.features, patch_size

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return self.features(np.asarray(images))


@dataclasses.dataclass
class Pair:
    name: str
    specimen: Specimen
    found: Weights
    ours: FrozenEncoder
    theirs: Theirs


@pytest.fixture(scope="module", params=rows(OTHER_NAMES))
def pair(request, tmp_path_factory):
    """A file as the project publishes it: loaded by us, and the project's model that it was saved from."""
    specimen = ALL[request.param](tmp_path_factory.mktemp("published"))
    found = weights.load(specimen.path)
    ours = as_encoder(backbone_of(found.arch, found.features), found.arrays, request.param)
    return Pair(request.param, specimen, found, ours, Theirs(specimen, ours.patch_size))


@pytest.fixture(scope="module")
def data(request):
    """What is looked at, and settings that name it."""
    try:
        root = request.getfixturevalue("shared_data") / "camvid_mini"
    except pytest.skip.Exception:
        return "scenes", {"data.name": "scenes"}
    return "photographs", {"data.name": "folder", "data.root": str(root)}


@pytest.fixture(scope="module")
def sources(data):
    """Prompt and query source."""
    settings = config.resolve("evaluate", None, data[1])
    return build_dense_source(settings, "prompt"), build_dense_source(settings, "query")


@pytest.fixture(scope="module")
def crops(sources):
    """Two pictures, shrunk to 64 rows so that a crop shows more than one thing: uint8 [2, 64, 64, 3]."""
    prompt, query = sources
    shrunk = (cv2.resize(x, (64 * x.shape[1] // x.shape[0], 64)) for x in (prompt[0]["image"], query[1]["image"]))
    return np.stack([x[:, -64:] for x in shrunk])


def test_features_layers_and_cls_are_those_of_the_projects_own_code(pair, crops, data):
    assert pair.found.family == pair.specimen.family
    assert not pair.specimen.outputs or any(height == width for height, width in pair.specimen.sizes)
    for height, width in pair.specimen.sizes:
        images = np.ascontiguousarray(crops[:, -height:, :width])
        if pair.specimen.outputs and height == width:
            ours = check_layers_cls_and_halves(pair, images)
        else:
            ours = pair.ours(images)
        assert ours.dtype == np.float32
        side = pair.ours.patch_size
        assert ours.shape == (2, height // side, width // side, pair.ours.dim)
        error = relative_error(ours, pair.specimen.features(images))
        print(f"PARITY {pair.name} | {data[0]} {height}x{width} | {error:.1e}")
        assert error < 1e-4


def check_layers_cls_and_halves(pair, images):
    """Compares all that the door offers with what the project's own modules give; returns the features.

    All of it comes from one program, since a test waits for tracing and compiling above all.
    """
    encoder, theirs = pair.ours, pair.specimen.outputs(images)

    @jax.jit
    def door(params, images):
        layers = encoder.outputs(params, images, tuple(range(len(theirs) - 1)), norm=False)
        tokens = encoder.tail(params, encoder.body(params, images))
        last = encoder.outputs(params, images)[0]
        return [x.patches for x in layers], tokens, last.cls, encoder.split(tokens).cls, encoder.apply(params, images)

    layers, tokens, cls, cls_of_tail, features = door(encoder.params, images)
    prefix = tokens.shape[1] - layers[0].shape[1] * layers[0].shape[2]
    for ours, reference in zip(layers, theirs[:-1], strict=True):
        assert relative_error(np.asarray(ours).reshape(2, -1, encoder.dim), reference[:, prefix:]) < 1e-4
    assert relative_error(np.asarray(tokens), theirs[-1]) < 1e-4
    assert (cls is not None) == encoder.backbone.has_cls
    for ours in (cls, cls_of_tail) if encoder.backbone.has_cls else ():
        assert relative_error(np.asarray(ours), theirs[-1][:, 0]) < 1e-4
    return np.asarray(features)


def miou(encoder, sources, data) -> float:
    """Of 3 queries, from 4 annotated images; 6 x 6 cells each, for ConvNeXt's larger cells 3 x 3."""
    cells = 6 if encoder.patch_size <= 8 else 3
    settings = {**RETRIEVAL, **data[1], "input_size": cells * encoder.patch_size}
    resolved = config.resolve("evaluate", None, settings)
    return retrieval.measure(encoder, resolved, *sources)[0]["metrics"]["miou"]


@pytest.mark.parametrize("pair", rows(set(ALL) - set(SCORED)), indirect=True)
def test_retrieval_scores_are_those_of_the_projects_own_code(pair, sources, data):
    ours, theirs = (miou(encoder, sources, data) for encoder in (pair.ours, pair.theirs))
    print(f"MIOU {pair.name} | {data[0]} | {ours:.4f} | {theirs:.4f}")
    assert theirs > 1
    assert ours == pytest.approx(theirs, abs=0.05)  # of 100: room for ties that rounding decides


def test_retrieval_scores_tell_other_features_apart(tmp_path, sources, data):
    """The comparison above could fail: other tokens of the same file score otherwise, by twice its tolerance."""
    path = ALL["DINO"](tmp_path).path
    scores = [miou(weights.load_foreign(path, features=kind), sources, data) for kind in ("tokens", "key", "value")]
    assert min(abs(a - b) for a, b in itertools.pairwise(scores)) > 0.1
