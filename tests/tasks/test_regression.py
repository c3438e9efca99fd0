import numpy as np
import pytest

from hummingbird.errors import UserError
from hummingbird.tasks import NormalsTask, RegressionTask
from hummingbird.tasks.patches import patch_cells
from hummingbird.tasks.regression import angle

NAN = np.nan


def test_a_patch_has_the_mean_of_its_pixels_with_all_channels():
    label = np.array([[[1, 2], [3, NAN], [5, 5], [NAN, NAN]], [[3, 4], [NAN, 1], [7, 9], [6, 1]]], np.float32)
    local = RegressionTask(2).local_labels(label, patch_cells(2, 4, 2))
    np.testing.assert_allclose(local.values, [[2, 3], [6, 5]])
    assert local.labelled.all()
    assert not RegressionTask(2).local_labels(np.full((2, 2, 2), NAN), patch_cells(2, 2, 2)).labelled.any()


def test_errors_of_values_count_all_channels_of_valid_pixels():
    metrics = RegressionTask(2).metrics()
    metrics.add(np.array([[[0.0, 0.0], [NAN, 1.0]]]), np.array([[[3.0, 1.0], [9.0, 9.0]]]))
    assert metrics.result() == pytest.approx({"rmse": np.sqrt((9 + 1) / 2), "mean_absolute_error": 2.0})
    with pytest.raises(UserError, match="no valid value"):
        RegressionTask().metrics().result()


def test_angles_between_normals_of_a_hand_worked_case():
    truth = np.array([[[0, 0, 1.0], [1, 0, 0], [NAN, 0, 0], [0, 1, 0]]])
    guess = np.array([[[0, 1.0, 1], [1, 0, 0], [0, 0, 1], [0, -1, 0]]])
    np.testing.assert_allclose(angle(truth, guess), [[45, 0, NAN, 180]], atol=1e-4)
    metrics = NormalsTask().metrics()
    metrics.add(truth, guess)
    found = metrics.result()
    assert found["mean_angle"] == pytest.approx((45 + 0 + 180) / 3)
    assert found["rms_angle"] == pytest.approx(np.sqrt((45**2 + 180**2) / 3))
    assert found["below_11"] == pytest.approx(1 / 3)


def test_predicted_normals_have_length_one():
    votes = np.random.default_rng(0).normal(size=(3, 4, 3)).astype(np.float32)
    np.testing.assert_allclose(np.linalg.norm(NormalsTask().predict(votes, 20, 30), axis=-1), 1, rtol=1e-5)


def test_one_channel_is_painted_by_a_colour_map_and_three_as_colours():
    label = np.linspace(0, 1, 12, dtype=np.float32).reshape(2, 2, 3)
    assert RegressionTask(3).paint(label)[1, 1].min() > RegressionTask(3).paint(label)[0, 0].max()
    assert RegressionTask(1).paint(label[..., :1]).shape == (2, 2, 3)
