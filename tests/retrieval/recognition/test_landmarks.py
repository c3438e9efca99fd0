"""Image retrieval on revisited Oxford and Paris: precision by hand, the ground-truth files, and a whole run."""

import os
import pickle

import numpy as np
import pytest

import hummingbird as hb
from hummingbird.data.ground_truth import Landmark, read_ground_truth
from hummingbird.errors import UserError
from hummingbird.retrieval.recognition.precision import Relevance, average_precision, mean_scores, precisions
from tests.data.test_image_sets import picture
from tests.retrieval.recognition.test_evaluate import Colours


def numbers(*values):
    return np.array(values, int)


def test_average_precision_by_hand():
    ranking = numbers(5, 2, 0, 4, 1, 3)
    # Image 5 does not count. Positives 0 and 1 are then at ranks 1 and 3: (0/1 + 1/2) / 2 and (1/3 + 2/4) / 2.
    assert average_precision(ranking, Relevance(numbers(0, 1), numbers(5))) == pytest.approx((1 / 4 + 5 / 12) / 2)
    # Found at once: precision 1 throughout.
    assert average_precision(ranking, Relevance(numbers(5, 2), numbers())) == 1
    assert np.isnan(average_precision(ranking, Relevance(numbers(), numbers(5))))
    # At rank 1 none, among 4 (the last positive's rank) and not 5 or 10 images two.
    assert precisions(ranking, Relevance(numbers(0, 1), numbers(5))) == [0, 2 / 4, 2 / 4]


def test_levels_differ_in_what_counts():
    landmark = Landmark("q", (0, 0, 1, 1), numbers(0), numbers(2), numbers(1))
    scores = mean_scores([numbers(1, 0, 3, 2)], [landmark])
    assert scores["map_easy"] == 100  # 1 and 2 are left out
    assert scores["map_medium"] == pytest.approx(100 * (1 + (1 / 2 + 2 / 3) / 2) / 2)
    assert scores["map_hard"] == pytest.approx(100 * (0 + 1 / 2) / 2)
    assert scores["mp1_medium"] == 100
    no_hard = Landmark("q", (0, 0, 1, 1), numbers(0), numbers(), numbers())
    assert mean_scores([numbers(0, 1)] * 2, [no_hard, no_hard]).get("map_hard") is None


def ground_truth(**changes):
    truth = {
        "bbx": [0.0, 0.0, 8.0, 8.0],
        "easy": np.array([0]),
        "hard": [1],
        "junk": np.array([2], np.int32),
        **changes,
    }
    return {"imlist": ["a", "b", "c", "d"], "qimlist": ["q"], "gnd": [truth]}


@pytest.mark.parametrize("protocol", [2, 4])
def test_ground_truth_is_read_without_running_pickles(protocol):
    found = read_ground_truth(pickle.dumps(ground_truth(), protocol), "gnd.pkl")
    assert found.images == ["a", "b", "c", "d"]
    assert (found.queries[0].image, found.queries[0].box) == ("q", (0, 0, 8, 8))
    assert [of.tolist() for of in found.queries[0][2:]] == [[0], [1], [2]]


class Evil:
    def __reduce__(self):
        return os.system, ("touch harmed",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(Evil()), "it refers to posix.system"),
        (pickle.dumps(ground_truth(easy=[9])), "image number 9 of 4"),
        (pickle.dumps({"imlist": []}), "not the ground truth of revisited Oxford or Paris: 'qimlist'"),
        (b"\x80\x04", "not the ground truth"),
    ],
)
def test_other_files_are_refused(content, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        read_ground_truth(content, "gnd.pkl")
    assert not (tmp_path / "harmed").exists()


def landmarks(root, missing=()):
    (root / "jpg").mkdir()
    (root / "gnd_roxford5k.pkl").write_bytes(pickle.dumps(ground_truth()))
    for number, name in enumerate("abcdq"):
        if name not in missing:
            (root / "jpg" / f"{name}.png").write_bytes(picture(0 if name == "q" else number, side=16))


def test_images_of_the_same_landmark_are_found(tmp_path):
    landmarks(tmp_path)
    run = lambda workdir=None, **more: hb.evaluate(
        Colours(), "landmarks", workdir, root=tmp_path, overrides={"input_size": 16, "progress": False, **more}
    )
    whole = run(tmp_path / "run", **{"images.crop_query": False})
    assert whole["task"] == "image_retrieval"
    assert whole["metrics"]["mp1_medium"] == 100  # the query is image a
    assert whole["protocol"]["similarity"] == "cosine"
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Image retrieval on roxford5k" in page
    assert "Nearest images" in page
    cropped = run()
    assert cropped["data"]["query"] != whole["data"]["query"]
    assert run(**{"features.pca": 2, "images.renormalise": False})["protocol"]["similarity"].startswith("inner product")


def test_missing_images_and_ground_truth_are_named(tmp_path):
    landmarks(tmp_path, missing="c")
    with pytest.raises(UserError, match="lacks 1 images: c"):
        hb.evaluate("rgb:8", "landmarks", root=tmp_path)
    with pytest.raises(UserError, match=r"has no gnd_rparis6k\.pkl"):
        hb.evaluate("rgb:8", "landmarks:rparis6k", root=tmp_path)
