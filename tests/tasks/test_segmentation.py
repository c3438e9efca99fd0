import numpy as np
import pytest

from hummingbird.errors import UserError
from hummingbird.tasks.class_metrics import SegmentationMetrics
from hummingbird.tasks.drawing import hatch
from hummingbird.tasks.patches import Cells, patch_cells
from hummingbird.tasks.segmentation import PROTOCOLS, SegmentationTask, class_areas, patch_labels


def test_patch_labels_are_the_mean_of_one_hot_pixels():
    mask = np.array([[[0, 1, 2, 2], [0, 0, 2, 2]]])
    labels = patch_labels(mask, 2, 3)
    assert labels.shape == (1, 1, 2, 3)
    assert labels.dtype == np.float32
    np.testing.assert_allclose(labels[0, 0], [[0.75, 0.25, 0], [0, 0, 1]])


def test_void_pixels_never_vote():
    mask = np.array([[0, 255, 255, 255], [1, 255, 255, 255]])
    np.testing.assert_allclose(patch_labels(mask, 2, 2)[0], [[0.5, 0.5], [0, 0]])


def test_patch_labels_agree_with_a_plain_loop():
    rng = np.random.default_rng(0)
    mask = rng.choice([0, 1, 2, 3, 4, 255], (2, 12, 20), p=[0.3, 0.2, 0.1, 0.1, 0.1, 0.2])
    labels = patch_labels(mask, 4, 5)
    for b, i, j in np.ndindex(2, 3, 5):
        pixels = mask[b, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4].ravel()
        valid = pixels[pixels != 255]
        expected = [np.mean(valid == c) if len(valid) else 0 for c in range(5)]
        np.testing.assert_allclose(labels[b, i, j], expected, atol=1e-7)


@pytest.mark.parametrize("shape", [(12, 20), (7, 9), (3, 2), (100, 30)])
def test_areas_of_classes_agree_with_a_mask_enlarged_so_far_that_no_pixel_is_cut(shape):
    """Each label pixel becomes as many pixels as there are patches, so that every edge lies between two of them."""
    rows, columns, (height, width) = 4, 5, shape
    mask = np.random.default_rng(0).choice([0, 1, 2, 255], shape)
    large = mask.repeat(rows, 0).repeat(columns, 1)
    cells = Cells(np.arange(rows + 1) * height / rows, np.arange(columns + 1) * width / columns)
    areas = class_areas(mask, cells, 3)
    for i, j in np.ndindex(rows, columns):
        pixels = large[i * height : (i + 1) * height, j * width : (j + 1) * width].ravel()
        expected = [(pixels == c).sum() / (rows * columns) for c in range(3)]
        np.testing.assert_allclose(areas[i * columns + j], expected, rtol=1e-12)
    np.testing.assert_allclose(cells.areas, height * width / 20)


def test_patches_of_padding_hold_no_pixel():
    mask = np.array([[0, 1], [1, 1]])
    cells = Cells(np.array([0.0, 0.0, 2.0, 2.0]), np.array([0.0, 1.0, 2.0]))
    np.testing.assert_array_equal(class_areas(mask, cells, 2), [[0, 0], [0, 0], [1, 1], [0, 2], [0, 0], [0, 0]])


@pytest.mark.parametrize("wrong", [5, -1, 254])
def test_class_ids_out_of_range_are_refused_by_name(wrong):
    mask = np.zeros((4, 4), int)
    mask[2, 2] = wrong
    with pytest.raises(UserError, match=f"{wrong}.*0..4"):
        patch_labels(mask[None], 4, 5)


def test_another_void_value_is_respected():
    mask = np.array([[[7, 0], [0, 0]]])
    np.testing.assert_allclose(patch_labels(mask, 2, 2, ignore=7)[0, 0, 0], [1, 0])


def test_size_that_is_no_multiple_of_the_patch_is_refused():
    with pytest.raises(UserError, match=r"5x4.*patch size 4"):
        patch_labels(np.zeros((1, 5, 4), int), 4, 2)


def test_miou_of_a_hand_worked_case():
    # cat: hit 2, union 2 + 1 (missed) = 3. dog: hit 1, union 1 + 1 (wrongly predicted) = 2. cow is nowhere.
    metrics = SegmentationMetrics(["cat", "dog", "cow"])
    metrics.add(np.array([[0, 0], [0, 1]]), np.array([[0, 0], [1, 1]]))
    result = metrics.result()
    assert result["per_class_iou"] == {"cat": pytest.approx(200 / 3), "dog": 50.0, "cow": None}
    assert result["miou"] == pytest.approx((200 / 3 + 50) / 2)
    assert result["pixel_accuracy"] == 75.0
    assert result["mean_class_accuracy"] == pytest.approx(100 * (2 / 3 + 1) / 2)


def test_predicted_class_that_is_not_in_the_truth_counts_zero():
    metrics = SegmentationMetrics(["cat", "dog"])
    metrics.add(np.array([[0, 0]]), np.array([[0, 1]]))
    assert metrics.result()["per_class_iou"] == {"cat": 50.0, "dog": 0.0}
    assert metrics.result()["miou"] == 25.0


def test_absent_classes_can_count_zero():
    metrics = SegmentationMetrics(["cat", "dog"], absent="zero")
    metrics.add(np.array([[0, 0]]), np.array([[0, 0]]))
    assert metrics.result()["miou"] == 50.0


def test_hungarian_matching_undoes_a_permutation_of_classes():
    truth = np.random.default_rng(0).integers(0, 4, (20, 20))
    swapped = np.array([2, 0, 3, 1])[truth]
    metrics = SegmentationMetrics(list("abcd"), matching="hungarian")
    metrics.add(truth, swapped)
    assert metrics.result()["miou"] == 100.0
    plain = SegmentationMetrics(list("abcd"))
    plain.add(truth, swapped)
    assert plain.result()["miou"] == 0.0


def test_void_never_counts():
    metrics = SegmentationMetrics(["cat", "dog"])
    metrics.add(np.array([[0, 255]]), np.array([[0, 1]]))
    assert metrics.result()["miou"] == 100.0
    assert metrics.result()["per_class_iou"]["dog"] is None


def test_miou_is_taken_over_the_data_set_not_per_image():
    truth = np.random.default_rng(0).integers(0, 3, (4, 8, 8))
    guess = np.random.default_rng(1).integers(0, 3, (4, 8, 8))
    streamed, whole = SegmentationMetrics(["a", "b", "c"]), []
    for t, g in zip(truth, guess, strict=True):
        streamed.add(t, g)
    for c in range(3):
        whole.append(((truth == c) & (guess == c)).sum() / ((truth == c) | (guess == c)).sum())
    assert streamed.result()["miou"] == pytest.approx(100 * np.mean(whole))


def test_true_ids_out_of_range_and_empty_truth_are_refused():
    metrics = SegmentationMetrics(["cat", "dog"])
    with pytest.raises(UserError, match=r"\[2\].*0\.\.1"):
        metrics.add(np.array([[2]]), np.array([[0]]))
    metrics.add(np.array([[255]]), np.array([[0]]))
    with pytest.raises(UserError, match=r"no valid pixel"):
        metrics.result()


def test_an_image_has_a_score_of_its_own():
    metrics = SegmentationMetrics(["cat", "dog"])
    assert metrics.add(np.array([[0, 1]]), np.array([[0, 1]])) == 100.0
    assert metrics.add(np.array([[0, 0]]), np.array([[0, 1]])) == 25.0
    assert np.isnan(metrics.add(np.array([[255]]), np.array([[0]])))


def test_metrics_of_several_processes_are_those_of_one():
    truth = np.random.default_rng(0).integers(0, 3, (2, 8, 8))
    guess = np.random.default_rng(1).integers(0, 3, (2, 8, 8))
    whole, first, second = (SegmentationMetrics(["a", "b", "c"]) for _ in range(3))
    for metrics, images in ((whole, (0, 1)), (first, (0,)), (second, (1,))):
        for i in images:
            metrics.add(truth[i], guess[i])
    first.parts = first.parts + second.parts
    assert first.result() == whole.result()


def test_void_is_left_out_or_class_0_as_the_protocol_says():
    mask = np.array([[255, 255, 1, 1], [255, 255, 1, 255]])
    paper = SegmentationTask(["a", "b"]).local_labels(mask, patch_cells(2, 4, 2))
    np.testing.assert_array_equal(paper.values, [[0, 0], [0, 3]])
    assert paper.labelled.tolist() == [False, True]
    theirs = SegmentationTask(["a", "b"], rules=PROTOCOLS["open-hummingbird"]).local_labels(mask, patch_cells(2, 4, 2))
    np.testing.assert_array_equal(theirs.values, [[4, 0], [1, 3]])
    assert theirs.labelled.all()


def test_mixed_patches_are_not_shown():
    mask = np.array([[0, 1, 1, 1], [0, 0, 1, 1]])
    local, group = SegmentationTask(["a", "b"]).showcase(mask, patch_cells(2, 4, 2))
    assert local.labelled.tolist() == [False, True]
    assert group[1] == 1


def test_void_is_hatched_and_classes_have_distinct_colours():
    painted = SegmentationTask([str(i) for i in range(40)]).paint(np.append(np.arange(40), 255)[None])
    assert len(np.unique(painted[0], axis=0)) == 41
    assert painted[0, -1].tolist() == hatch(1, 41)[0, -1].tolist()


def test_classes_are_counted_by_pixel_and_image():
    census = SegmentationTask(["a", "b", "c"]).census()
    census.add(np.array([[0, 0, 255, 1]]))
    census.add(np.array([[0, 255, 255, 255]]))
    assert census.facts() == {
        "classes": {
            "a": {"pixel_share": 0.75, "images": 2},
            "b": {"pixel_share": 0.25, "images": 1},
            "c": {"pixel_share": 0.0, "images": 0},
        }
    }
    assert census.lines() == [
        "2 of 3 classes occur; share of pixels, images:",
        f"  a  75.00%       2  {'#' * 30}",
        f"  b  25.00%       1  {'#' * 10}",
        "not in the images read: c",
    ]
