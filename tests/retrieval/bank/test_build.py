import dataclasses

import ml_dtypes
import numpy as np
import pytest

from hummingbird.errors import UserError
from hummingbird.retrieval.bank.build import BankBuilder
from hummingbird.tasks import DepthTask, LocalLabels, SegmentationTask


def local(values):
    values = np.asarray(values)
    return LocalLabels(values, (values > 0).any(1))


DEPTHS = LocalLabels(np.array([[1.0], [2.0]], np.float32), np.array([True, True]))


def test_bank_drops_empty_patches_and_knows_where_entries_come_from():
    builder = BankBuilder(10, SegmentationTask("abc"))
    counts = np.array([[1, 0, 0], [0, 0, 0], [0, 2, 2]])
    builder.add(np.eye(3, 4, dtype=np.float32), local(counts), image=5, epoch=1, patch=np.array([8, 9, 10]))
    bank = builder.finish()
    assert len(bank) == 2
    assert bank.keys.shape == (2, 4)
    assert bank.image.tolist() == [5, 5]
    assert bank.epoch.tolist() == [1, 1]
    assert bank.patch.tolist() == [8, 10]
    np.testing.assert_array_equal(bank.labels.dense(np.arange(2)), counts[[0, 2]])


def test_bank_never_grows_beyond_its_capacity():
    builder = BankBuilder(3, DepthTask())
    for image in range(3):
        builder.add(np.ones((2, 4), np.float32), DEPTHS, image, 0, np.arange(2))
    assert builder.finish().image.tolist() == [0, 0, 1]


def test_a_bank_that_processes_share_ends_where_the_whole_one_does():
    builder = BankBuilder(6, DepthTask())
    for image in range(3):
        keys = np.full((2, 4), image, np.float32)
        builder.add(keys, DEPTHS, image, 0, np.arange(2))
    whole = builder.finish()
    shares, parts = (2, 3, 1), []
    for process, (start, rows) in enumerate(zip((0, 2, 5), shares, strict=True)):
        part = dataclasses.replace(whole, keys=whole.keys[start : start + rows], shares=shares).shorten(4, process)
        assert (len(part), part.shares, part.image.tolist()) == (4, (2, 2, 0), [0, 0, 1, 1])
        assert part.keys_bytes == 4 * 4 * 4
        parts.append(part.keys)
    np.testing.assert_array_equal(np.concatenate(parts), whole.shorten(4, 0).keys)
    assert np.shares_memory(whole.shorten(4, 0).keys, whole.keys), "a second copy of the keys could fill the memory"


def test_bank_stores_bfloat16_when_asked():
    builder = BankBuilder(2, DepthTask(), "bfloat16")
    builder.add(np.ones((2, 4), np.float32), DEPTHS, 0, 0, np.arange(2))
    assert builder.finish().keys.dtype == ml_dtypes.bfloat16


def test_prompt_without_any_label_is_refused():
    builder = BankBuilder(2, SegmentationTask("abc"))
    builder.add(np.ones((2, 4), np.float32), local(np.zeros((2, 3), int)), 0, 0, np.arange(2))
    with pytest.raises(UserError, match=r"no patch with a valid label"):
        builder.finish()
