import ml_dtypes
import numpy as np

from hummingbird.config.evaluate import Retrieval
from hummingbird.retrieval.bank.keys import AUTO_FLOAT32_BYTES, key_dtype, normalise


def test_normalise_gives_unit_length_and_the_norms():
    unit, norm = normalise(np.array([[3.0, 4.0], [0.0, 0.0]]))
    np.testing.assert_allclose(unit, [[0.6, 0.8], [0, 0]], rtol=1e-6)
    np.testing.assert_allclose(norm, [5, 0])


def test_large_banks_are_stored_in_half_the_space_unless_a_type_is_named():
    rows = AUTO_FLOAT32_BYTES // (4 * 64)
    assert key_dtype("auto", rows, 64) == np.float32
    assert key_dtype("auto", rows + 1, 64) == ml_dtypes.bfloat16
    assert key_dtype("float32", rows + 1, 64) == np.float32


def test_keys_that_are_standardised_later_are_not_rounded_by_default():
    assert Retrieval().stored_dtype == Retrieval(distance="product").stored_dtype == "auto"
    assert Retrieval(distance="l2").stored_dtype == Retrieval(standardise=True).stored_dtype == "float32"
    assert Retrieval(standardise=True, key_dtype="bfloat16").stored_dtype == "bfloat16"
