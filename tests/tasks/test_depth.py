import numpy as np
import pytest

from hummingbird.config.evaluate import Depth
from hummingbird.errors import UserError
from hummingbird.tasks.depth import DepthMetrics, DepthTask, MeanValues, eigen_crop, patch_depth
from hummingbird.tasks.drawing import hatch
from hummingbird.tasks.patches import Cells, patch_cells


def test_patch_depth_is_the_mean_of_valid_depths():
    depth = np.array([[1.0, 3.0, 0.0, np.nan], [0.0, 2.0, 50.0, np.inf]], np.float32)
    mean, counts = patch_depth(depth, patch_cells(2, 4, 2), 0.001, 10.0)
    np.testing.assert_allclose(mean, [2.0, 0.0])
    assert counts.tolist() == [3, 0]


def test_a_pixel_between_two_patches_counts_by_its_area_on_either_side():
    depth = np.array([[1.0, 4.0, 2.0]], np.float32)
    mean, areas = patch_depth(depth, Cells(np.array([0.0, 1.0]), np.array([0.0, 1.5, 3.0])), 0.001, 10.0)
    np.testing.assert_allclose(mean, [(1 + 0.5 * 4) / 1.5, (2 + 0.5 * 4) / 1.5])
    np.testing.assert_allclose(areas, [1.5, 1.5])


def test_images_without_a_valid_depth_have_no_part_in_the_mean_of_images():
    metrics = DepthMetrics()
    metrics.add(np.zeros((2, 2)), np.ones((2, 2)))
    metrics.add(np.full((2, 2), 3.0), np.ones((2, 2)))
    assert metrics.result()["rmse_per_image"] == pytest.approx(2.0)


def test_a_patch_has_a_label_if_any_pixel_has_a_depth_in_range():
    depth = np.array([[1.0, 3.0, 0.0, 0.0], [0.0, 2.0, 50.0, 0.0]], np.float32)
    local = DepthTask().local_labels(depth, patch_cells(2, 4, 2))
    np.testing.assert_allclose(local.values, [[2.0], [0.0]])
    assert local.labelled.tolist() == [True, False]
    assert DepthTask(Depth(high=100.0)).local_labels(depth, patch_cells(2, 4, 2)).labelled.all()


def test_missing_neighbours_do_not_vote():
    labels = MeanValues(np.array([[1.0], [5.0]], np.float32))
    np.testing.assert_allclose(labels.vote(np.array([[1, -1]]), np.array([[1.0, 0.0]])), [[5.0]])


def test_values_of_several_channels_vote_one_by_one():
    rng = np.random.default_rng(0)
    values, ids, weights = rng.random((9, 3)).astype(np.float32), rng.integers(0, 9, (4, 5)), rng.random((4, 5))
    votes = MeanValues(values).vote(ids, weights)
    for q in range(4):
        np.testing.assert_allclose(votes[q], sum(weights[q, j] * values[ids[q, j]] for j in range(5)), rtol=1e-6)


def test_depth_metrics_of_a_hand_worked_case():
    metrics = DepthMetrics(0.001, 10.0)
    metrics.add(np.array([[1.0, 2.0, 0.0]]), np.array([[2.0, 2.0, 5.0]]))
    metrics.add(np.array([[4.0, np.nan]]), np.array([[3.0, 1.0]]))
    result = metrics.result()
    assert result["rmse"] == pytest.approx(np.sqrt((1 + 0 + 1) / 3))
    assert result["rmse_per_image"] == pytest.approx((np.sqrt(1 / 2) + 1) / 2)
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


def test_an_image_has_a_score_of_its_own():
    metrics = DepthMetrics()
    assert metrics.add(np.array([[1.0, 2.0]]), np.array([[4.0, 6.0]])) == pytest.approx(np.sqrt(12.5))
    assert np.isnan(metrics.add(np.array([[0.0]]), np.array([[1.0]])))


def test_errors_are_absolute_and_nan_where_the_truth_is_invalid():
    error = DepthTask().error(np.array([[1.0, 0.0]], np.float32), np.array([[3.5, 2.0]], np.float32))
    np.testing.assert_array_equal(error, [[2.5, np.nan]])


def test_unknown_depth_is_hatched():
    painted = DepthTask().paint(np.array([[0.0, 1.0, 5.0]], np.float32))
    assert painted[0, 0].tolist() == hatch(1, 1)[0, 0].tolist()
    assert painted[0, 1].tolist() != painted[0, 2].tolist()


def test_the_range_of_depths_leaves_unknown_ones_out():
    census = DepthTask().census()
    assert census.facts() == {}
    assert census.lines() == []
    census.add(np.array([[0.0, 2.0, 4.0, 12.0]], np.float32))
    assert census.facts() == {"depth_metres": [2.0, 4.0, 12.0]}
    assert census.lines() == ["depth 2.00 to 12.00 m (median 4.00)"]
