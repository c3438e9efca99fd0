import numpy as np
import pytest

from hummingbird.errors import UserError
from hummingbird.retrieval.metrics import DepthMetrics, SegmentationMetrics, eigen_crop


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


def test_depth_metrics_of_a_hand_worked_case():
    metrics = DepthMetrics(0.001, 10.0)
    metrics.add(np.array([[1.0, 2.0, 0.0]]), np.array([[2.0, 2.0, 5.0]]))
    metrics.add(np.array([[4.0, np.nan]]), np.array([[3.0, 1.0]]))
    result = metrics.result()
    assert result["rmse"] == pytest.approx(np.sqrt((1 + 0 + 1) / 3))
    assert result["abs_rel"] == pytest.approx((1 + 0 + 0.25) / 3)
    assert result["rmse_log"] == pytest.approx(np.sqrt((np.log(2) ** 2 + np.log(4 / 3) ** 2) / 3))
    assert (result["delta1"], result["delta2"], result["delta3"]) == pytest.approx((1 / 3, 2 / 3, 2 / 3))


def test_depth_range_and_crop_leave_pixels_out():
    metrics = DepthMetrics(1.0, 5.0)
    metrics.add(np.array([[0.5, 2.0, 7.0]]), np.array([[3.0, 2.5, 3.0]]))
    assert metrics.result()["rmse"] == pytest.approx(0.5)
    inside = eigen_crop(480, 640)
    assert inside.sum() == (471 - 45) * (601 - 41)
    assert inside[45, 41]
    assert inside[470, 600]
    assert not inside[44, 41]
    cropped = DepthMetrics(1.0, 5.0, eigen_crop=True)
    cropped.add(np.full((480, 640), 2.0), np.where(inside, 2.0, 4.0))
    assert cropped.result()["rmse"] == 0.0


def test_no_valid_depth_is_refused():
    metrics = DepthMetrics()
    metrics.add(np.zeros((2, 2)), np.ones((2, 2)))
    with pytest.raises(UserError, match=r"no valid depth"):
        metrics.result()
