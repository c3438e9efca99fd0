"""Image retrieval on revisited Oxford and Paris with a frozen encoder."""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int, UInt8
from PIL import Image

from hummingbird import config as configs
from hummingbird.config import EvaluateConfig
from hummingbird.config.data import EvaluationData
from hummingbird.data.ground_truth import GroundTruth, Landmark, read_ground_truth
from hummingbird.data.image_files import SUFFIXES, decode_image
from hummingbird.data.names import names_fingerprint, shorten
from hummingbird.data.store import Store, enter, open_store
from hummingbird.encoder import Encoder
from hummingbird.errors import UserError
from hummingbird.gradients.pca import fit_pca
from hummingbird.retrieval.processes import first
from hummingbird.retrieval.progress import Clock
from hummingbird.retrieval.recognition.classifiers import normalised
from hummingbird.retrieval.recognition.embed import Prepared
from hummingbird.retrieval.recognition.inputs import Encoding, build_encoding
from hummingbird.retrieval.recognition.pictures import SIDE
from hummingbird.retrieval.recognition.precision import average_precision, mean_scores, medium
from hummingbird.retrieval.recognition.prepare import Preparation, cut
from hummingbird.retrieval.results import Result, describe_encoder, peak_memory
from hummingbird.retrieval.sample_files import ImageNeighbour, ImageQuery, ImageSamples
from hummingbird.run.files import Json, versions
from hummingbird.tasks.drawing import fit

FILES = {"roxford5k": "gnd_roxford5k.pkl", "rparis6k": "gnd_rparis6k.pkl"}
TREE = "gnd_roxford5k.pkl (or gnd_rparis6k.pkl) and its images, in folders of any names"


class Landmarks(NamedTuple):
    """A data set of landmarks.

    Attributes:
      store: holds the images.
      paths: of the images to search in.
      asked: of the query images.
      truth: which images are relevant.
    """

    store: Store
    paths: list[str]
    asked: list[str]
    truth: GroundTruth


def build_landmarks(data: EvaluationData) -> Landmarks:
    """Opens revisited Oxford or Paris: the ground truth and all images that it names.

    Raises:
      UserError: unknown data set, no ground truth, or missing images.
    """
    if data.name not in FILES:
        raise UserError(f"config key data.name: {data.name!r} is not a data set of landmarks; use {' or '.join(FILES)}")
    store = enter(open_store(data.root))
    files = store.files()
    truths = [path for path in files if path.rpartition("/")[2] == FILES[data.name]]
    if not truths:
        raise UserError(f"config key data.root: {store.where} has no {FILES[data.name]}. Expected: {TREE}")
    truth = read_ground_truth(store.read(truths[0]), f"{store.where}/{truths[0]}")
    images = [path for path in files if path.lower().endswith(SUFFIXES)]
    by_name = {path.rpartition("/")[2].rpartition(".")[0]: path for path in images}
    names = [*truth.images, *(query.image for query in truth.queries)]
    missing = sorted({name for name in names if name not in by_name})
    if missing:
        raise UserError(f"config key data.root: {store.where} lacks {len(missing)} images: {shorten(missing)}")
    found = [by_name[name] for name in names]
    return Landmarks(store, found[: len(truth.images)], found[len(truth.images) :], truth)


class Files:
    """Images of a store as encoder inputs, whole or cut to their boxes; they have no labels."""

    def __init__(
        self,
        store: Store,
        paths: list[str],
        preparation: Preparation,
        boxes: list[tuple[float, float, float, float]] | None = None,
        whole: bool = False,
    ):
        self._store, self._paths, self._preparation = store, paths, preparation
        self._boxes, self._whole = boxes, whole
        cuts = "" if boxes is None else f" boxes={names_fingerprint(map(str, boxes))}"
        self.fingerprint = f"files={names_fingerprint(paths)} images={len(paths)}{cuts}"

    def __len__(self) -> int:
        return len(self._paths)

    def name(self, index: int) -> str:
        """Returns the path of image `index`."""
        return f"{self._store.where}/{self._paths[index]}"

    def __getitem__(self, index: int) -> Prepared:
        box = self._boxes[index] if self._boxes else None
        data, name = self._store.read(self._paths[index]), self.name(index)
        whole = np.asarray(self._preparation.decode(data, name)) if self._whole else None
        if whole is not None and box is not None:
            whole = np.asarray(cut(Image.fromarray(whole), box))
        return Prepared(self._preparation(data, name, box), 0, whole)


def measure(
    encoder: Encoder, config: EvaluateConfig, landmarks: Landmarks, collecting: bool = False
) -> tuple[Result, ImageSamples | None]:
    """Ranks all images for each query by the similarity of their features.

    Args:
      encoder: callable with `.patch_size`.
      config: all settings; reads those of features and preparation, `images.crop_query` and `images.renormalise`.
      landmarks: the data set.
      collecting: gather what a report shows.

    Returns:
      The content of metrics.json, and the samples of a report if they are collected.
    """
    clock, images = Clock(), config.images
    with clock("total"):
        encoding = build_encoding(encoder, config, clock)
        boxes = [query.box for query in landmarks.truth.queries] if images.crop_query else None
        if "simclr" in config.features.gradients:
            raise UserError("config key features.gradients: image retrieval has no training images; use kl, dino")
        base = Files(landmarks.store, landmarks.paths, encoding.preparation, None, encoding.whole)
        asked = Files(landmarks.store, landmarks.asked, encoding.preparation, boxes, encoding.whole)
        check_files(base, asked)
        keys = encoding.embedded(base, "images", "prompt").units
        queries = encoding.embedded(asked, "queries", "query").units
        with clock("search"):
            pca = fit_pca(keys, config.features.pca)
            keys, queries = (rows if pca is None else pca(rows) for rows in (keys, queries))
            if images.renormalise:
                keys, queries = normalised(keys), normalised(queries)
            scores = queries @ keys.T
            rankings = list(np.argsort(-scores, axis=1, kind="stable"))
            metrics = mean_scores(rankings, landmarks.truth.queries)
        described = describe_encoder(encoder, keys.shape[1])
        samples = None
        if collecting and first():
            samples = collect(str(described["name"]), landmarks, rankings, scores, config)
    if not metrics:
        raise UserError("no query has an image to find: the ground truth is empty")
    result: Result = {
        "task": "image_retrieval",
        "dataset": config.data.name,
        "data": {
            "root": os.path.basename(config.data.root.rstrip("/")),
            "prompt": base.fingerprint,
            "query": asked.fingerprint,
        },
        "encoder": described,
        "metrics": {**metrics},
        "protocol": protocol(config, encoding, None if pca is None else config.features.pca),
        "memory": {"length": len(keys), "bytes": keys.nbytes, "key_dtype": "float32"},
        "index": {"kind": "exact", "exact": True, "recall_at_k": None},
        "queries": {"images": len(queries)},
        "seconds": clock.seconds,
        "peak_memory_bytes": peak_memory(),
        "warnings": [],
        "versions": versions(),
        "config": {key: list(x) if isinstance(x, tuple) else x for key, x in configs.to_flat(config).items()},
    }
    return result, samples


def check_files(*sets: Files) -> None:
    """Reads the first and the last image of each set, so that a wrong folder is refused before anything is encoded."""
    for files in sets:
        for index in {0, len(files) - 1}:
            files[index]


def protocol(config: EvaluateConfig, encoding: Encoding, pca: int | None) -> dict[str, Json]:
    """Returns every choice that affects the scores."""
    preparation = encoding.preparation
    return {
        "task": "image_retrieval",
        "input_size": preparation.size,
        "crop": preparation.crop,
        "crop_fraction": preparation.fraction if preparation.crop == "centre" else None,
        "exif": "upright" if preparation.upright else "stored",
        "pooling": encoding.pooling,
        "crop_query": config.images.crop_query,
        **encoding.gradients,
        "pca": pca,
        "similarity": "cosine" if config.images.renormalise else "inner product after PCA",
    }


# ---------------------------------------------------------------- pictures
def collect(
    encoder: str,
    landmarks: Landmarks,
    rankings: list[Int[np.ndarray, " N"]],
    scores: Float32[np.ndarray, "Q N"],
    config: EvaluateConfig,
) -> ImageSamples:
    """Gathers a few queries with the best images."""
    rng = np.random.default_rng(config.seed)
    chosen = sorted(rng.permutation(len(rankings))[: config.report.queries].tolist())
    queries: list[ImageQuery] = []
    for number in chosen:
        landmark, ranking = landmarks.truth.queries[number], rankings[number]
        score = average_precision(ranking, medium(landmark))
        box = landmark.box if config.images.crop_query else None
        neighbours: list[ImageNeighbour] = [
            {
                "name": landmarks.paths[i],
                "image": picture(landmarks.store, landmarks.paths[i]),
                "label": relevance(landmark, int(i)),
                "right": {"easy": True, "hard": True, "junk": None}.get(relevance(landmark, int(i)), False),
                "similarity": float(scores[number, i]),
            }
            for i in ranking[: config.report.neighbours]
        ]
        queries.append(
            {
                "name": landmarks.asked[number],
                "image": picture(landmarks.store, landmarks.asked[number], box),
                "truth": "",
                "prediction": f"AP {100 * score:.1f}",
                "right": None,
                "neighbours": neighbours,
            }
        )
    return {"encoder": encoder, "classes": [], "confusion": None, "queries": queries}


def relevance(landmark: Landmark, image: int) -> str:
    """Returns what an image is for a query: easy, hard, junk, or "" for any other."""
    return next((name for name in ("easy", "hard", "junk") if image in getattr(landmark, name)), "")


def picture(
    store: Store, path: str, box: tuple[float, float, float, float] | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """Returns a small picture of an image, or of a box in it."""
    image = decode_image(store.read(path), path)
    if box is not None:
        image = np.asarray(cut(Image.fromarray(image), box))
    return np.ascontiguousarray(fit(image, SIDE, smooth=True))
