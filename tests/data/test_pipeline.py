"""Batches are equal on any number of hosts, workers and threads, and resume exactly; broken images are counted."""

import dataclasses
import itertools
import json
import logging
import multiprocessing
import types

import jax
import numpy as np
import pytest
from grain.experimental import assert_equal_output_after_checkpoint

from hummingbird import config, train
from hummingbird.data import feed, pipeline
from hummingbird.data.broken import BrokenImages, build_broken_images
from hummingbird.data.pipeline import build_batches
from hummingbird.errors import UserError
from hummingbird.train import pretraining
from tests.data.files import encode, ramp, write

BASE = {
    "input_size": 16,
    "batch_size": 8,
    "context.bank_length": 8,
    "data.scenes.size": 24,
    "data.scenes.pretrain_images": 20,
}


def batches(seed=3, host=0, hosts=1, **changes):
    return build_batches(config.resolve("pretrain", overrides={**BASE, **changes}), seed, host, hosts)


def first(iterator, count):
    return list(itertools.islice(iterator, count))


def assert_same(left, right):
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture(scope="module")
def expected():
    return first(batches(), 6)


def test_a_batch_has_the_documented_shapes_and_types(expected):
    batch = expected[0]
    assert batch["views"].keys() == {"global"}
    views = batch["views"]["global"]
    assert (views.shape, views.dtype) == ((8, 2, 16, 16, 3), np.uint8)
    assert (batch["label"].dtype, batch["index"].dtype) == (np.int32, np.int64)
    assert np.abs(views[:, 0].astype(int) - views[:, 1]).mean() > 1  # two different crops


def test_local_crops_are_a_second_group_and_leave_the_first_as_it_was(expected):
    local = {"augment.local.count": 3, "augment.local.size": 8}
    batch, again = first(batches(**local), 1)[0], first(batches(host=1, hosts=2, **local), 1)[0]
    assert {name: x.shape[1:] for name, x in batch["views"].items()} == {
        "global": (2, 16, 16, 3),
        "local": (3, 8, 8, 3),
    }
    np.testing.assert_array_equal(batch["views"]["global"], expected[0]["views"]["global"])
    np.testing.assert_array_equal(again["views"]["local"], batch["views"]["local"][4:])
    assert len({crop.tobytes() for crop in batch["views"]["local"][0]}) == 3


def test_one_view_and_views_of_the_same_crop(expected):
    one, same = (first(batches(**{f"augment.{name}": x}), 1)[0] for name, x in (("views", 1), ("same_crop", True)))
    np.testing.assert_array_equal(one["views"]["global"][:, 0], same["views"]["global"][:, 1])
    np.testing.assert_array_equal(same["views"]["global"][:, 0], same["views"]["global"][:, 1])


def test_the_fingerprint_names_what_is_unusual_about_the_views():
    usual = dict(batches().fingerprint)
    assert set(usual) == {
        *("source", "images", "seed", "batch_size", "input_size", "crop_area", "crop_aspect", "lenient")
    }
    changed = {"augment.local.count": 2, "augment.views": 1, "augment.same_crop": True}
    unusual = dict(batches(**changed).fingerprint)
    assert {key: x for key, x in unusual.items() if key not in usual} == {
        "views": 1,
        "same_crop": True,
        "local": [2, 96, 0.05, 0.25],
    }


def test_every_image_is_seen_once_an_epoch_in_a_new_order(expected):
    seen = np.concatenate([batch["index"] for batch in expected])
    assert sorted(seen[:20]) == list(range(20))
    assert sorted(seen[20:40]) == list(range(20))
    assert seen[:20].tolist() != seen[20:40].tolist()


def test_seed_decides_order_and_crops(expected):
    assert_same(first(batches(), 2), expected[:2])
    other = first(batches(seed=4), 1)[0]
    assert other["index"].tolist() != expected[0]["index"].tolist()


@pytest.mark.parametrize("hosts", [2, 4, 8])
def test_hosts_split_the_same_global_batches(expected, hosts):
    parts = [first(batches(host=host, hosts=hosts), 3) for host in range(hosts)]
    for step in range(3):
        together = jax.tree.map(lambda *arrays: np.concatenate(arrays), *(part[step] for part in parts))
        assert jax.tree.all(jax.tree.map(np.array_equal, together, expected[step]))


@pytest.mark.parametrize(
    "changes", [{"data.threads": 0}, {"data.read_ahead": 0}, {"data.threads": 9}, {"data.cache": 0}]
)
def test_threads_and_caching_do_not_change_batches(expected, changes):
    assert_same(first(batches(**changes), 6), expected)


@pytest.mark.process
def test_workers_do_not_change_batches_and_a_killed_one_is_fatal(expected):
    iterator = batches(**{"data.workers": 2, "data.threads": 1, "data.read_ahead": 1})
    assert_same(first(iterator, 4), expected[:4])
    workers = [process for process in multiprocessing.active_children() if process.is_alive()]
    assert len(workers) >= 2
    workers[0].kill()
    with pytest.raises(RuntimeError, match="data worker died"):
        first(iterator, 20)
    iterator.close()


def test_batches_resume_at_every_step():
    """Seven batches: Grain's own assertion needs a finite iterable that can be restarted."""

    class Seven:
        def __init__(self):
            self._batches = batches()
            self.get_state, self.set_state = self._batches.get_state, self._batches.set_state

        def __iter__(self):
            return self

        def __next__(self):
            if self.get_state()["position"] == 7:
                raise StopIteration
            return next(self._batches)

    class Data:
        def __iter__(self):
            return Seven()

    assert_equal_output_after_checkpoint(Data())


def test_a_saved_position_is_plain_json_and_fits_other_hosts_and_workers(expected):
    iterator = batches()
    first(iterator, 3)
    state = json.loads(json.dumps(iterator.get_state()))
    parts = []
    for host in range(2):
        resumed = batches(host=host, hosts=2, **{"data.threads": 0})
        resumed.set_state(state)
        parts.append(first(resumed, 2))
    np.testing.assert_array_equal(parts[0][1]["views"]["global"], expected[4]["views"]["global"][:4])
    np.testing.assert_array_equal(parts[1][1]["views"]["global"], expected[4]["views"]["global"][4:])


@pytest.mark.parametrize(
    ("changes", "seed", "named"),
    [
        ({}, 9, "seed was 3, is 9"),
        ({"batch_size": 4}, 3, "batch_size was 8, is 4"),
        ({"input_size": 24}, 3, "input_size was 16, is 24"),
        ({"data.scenes.seed": 1}, 3, "source was"),
        ({"augment.crop_area": (0.2, 1.0)}, 3, "crop_area was"),
    ],
)
def test_resuming_on_other_data_is_refused_with_the_difference(changes, seed, named):
    state = json.loads(json.dumps(batches().get_state()))
    with pytest.raises(UserError, match=named):
        batches(seed=seed, **changes).set_state(state)


def test_start_over_reads_other_data_from_the_beginning(caplog):
    iterator = batches()
    first(iterator, 2)
    other = batches(seed=9, **{"data.start_over": True})
    other.set_state(iterator.get_state())
    assert "(seed was 3, is 9); starting from the beginning of the new data" in caplog.text
    assert_same(first(other, 2), first(batches(seed=9), 2))
    same = batches(**{"data.start_over": True})
    same.set_state(iterator.get_state())
    assert same.get_state()["position"] == 2


def test_the_bank_is_filled_from_the_same_source_with_the_first_views_alone(monkeypatch):
    filled = []
    program = types.SimpleNamespace(fill=lambda state, batch, i: filled.append(batch) or state)
    monkeypatch.setattr(pretraining, "to_devices", lambda config, program, batch: batch)
    source = batches().source
    monkeypatch.setattr(pipeline, "build_image_source", None)  # building it again would fail
    train.fill_bank(config.resolve("pretrain", overrides={**BASE, "context.bank_length": 16}), program, "state", source)
    assert [batch["views"]["global"].shape for batch in filled] == 2 * [(8, 1, 16, 16, 3)]


def test_what_is_read_ahead_is_bounded_in_images_and_bytes():
    data = lambda **changes: config.resolve("pretrain", overrides={f"data.{k}": x for k, x in changes.items()}).data
    ahead = lambda **changes: feed.build_reading(data(threads=4, **changes), 1024, 300_000).ahead
    assert ahead(read_ahead=1) == 1024
    assert ahead(read_ahead=8, buffer=300) == (300 << 20) // 300_000
    assert ahead(read_ahead=0) == 0
    usual = feed.build_reading(data(), 1024, 300_000)
    assert usual.threads == feed.cores()
    assert feed.build_reading(data(), 1024, 300_000, remote=True).threads == feed.cores() + feed.WAITING
    assert feed.build_reading(data(workers=4), 1024, 300_000, remote=True).threads >= feed.WAITING // 4


def test_too_little_shared_memory_for_workers_is_refused_before_they_start(monkeypatch):
    monkeypatch.setattr(feed.shutil, "disk_usage", lambda path: types.SimpleNamespace(free=64 << 20))  # Docker's
    data = config.resolve("pretrain", overrides={"data.workers": 2}).data
    with pytest.raises(UserError, match=r"data.workers: .* 4696 MiB .* 64 MiB free; .*--shm-size.* data.workers=0"):
        feed.build_reading(data, 4096, 300_000)
    assert feed.build_reading(dataclasses.replace(data, workers=0), 4096, 300_000).threads == feed.cores()


def test_batches_that_cannot_be_made_are_refused():
    with pytest.raises(UserError, match="do not divide over 3 hosts"):
        batches(hosts=3)
    with pytest.raises(UserError, match="more than the 20 images"):
        batches(**{"batch_size": 32, "context.bank_length": 32})


# ---------------------------------------------------------------- unreadable images
@pytest.fixture
def broken_folder(tmp_path):
    """Makes twelve images; numbers 3, 4 and 7 cannot be read."""
    for i in range(12):
        data = encode(ramp(30, 40, i), "JPEG")
        write(tmp_path / f"{i:02d}.jpg", {3: b"", 4: data[:-60], 7: b"text"}.get(i, data))
    return {"data.name": "images", "data.root": str(tmp_path), "batch_size": 4}


def test_unreadable_images_are_replaced_by_the_next_counted_and_named(broken_folder, caplog):
    iterator = batches(**broken_folder, **{"data.max_broken": 3})
    with caplog.at_level(logging.WARNING):
        seen = np.concatenate([batch["index"] for batch in first(iterator, 3)])
    assert sorted(seen) == sorted([0, 1, 2, 5, 5, 5, 6, 8, 8, 9, 10, 11])
    assert sorted(iterator.broken) == [3, 4, 7]
    for name, problem in (("03.jpg", "empty"), ("04.jpg", "damaged"), ("07.jpg", "not an image")):
        assert sum(name in line and problem in line for line in caplog.messages) == 1
    first(iterator, 3)
    assert len(iterator.broken) == 3  # each is counted once
    again = batches(**broken_folder, **{"data.max_broken": 3})
    again.set_state(json.loads(json.dumps(iterator.get_state())))
    assert again.broken == iterator.broken


def test_more_unreadable_images_than_allowed_end_the_run(broken_folder):
    with pytest.raises(UserError, match=r"3 images are unreadable, config key data.max_broken allows 2"):
        first(batches(**broken_folder, **{"data.max_broken": 2}), 3)


def test_the_budget_is_a_share_of_the_images_unless_a_number_is_given():
    data = lambda **changes: config.resolve("pretrain", overrides={f"data.{k}": x for k, x in changes.items()}).data
    assert build_broken_images(data(), 14_200_000).limit == 14_200
    assert build_broken_images(data(broken_fraction=0.5), 100).limit == 50
    assert build_broken_images(data(), 100).limit == 10
    assert build_broken_images(data(max_broken=0), 14_200_000).limit == 0


def test_images_are_counted_over_all_hosts_and_the_first_names_those_of_the_others(monkeypatch, caplog):
    class Shared:
        texts = types.MappingProxyType({})

        def put(self, topic, text):
            self.texts = {**self.texts, host: text}

        def read(self, topic):
            return self.texts

    board, now, host = Shared(), 0.0, 0
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "process_index", lambda: host)
    first, second = (BrokenImages(3, "data.broken_fraction", board, lambda: now) for _ in range(2))
    first.add([(1, "one.jpg"), (2, "two.jpg")])
    host = 1
    second.add([(2, "two.jpg"), (3, "three.jpg")])  # 2 was read by both
    host, now = 0, 60.0
    first.add([])
    assert "process 1 replaced an unreadable image: three.jpg" in caplog.text
    assert [index for index, _ in first.get_state()] == [1, 2, 3]
    resumed = BrokenImages(3, "data.broken_fraction", Shared(), lambda: now)
    resumed.set_state(first.get_state())
    resumed.add([(2, "two.jpg")])  # known: no smaller allowance after a resume
    host = 1
    with pytest.raises(UserError, match=r"4 images are unreadable, config key data.broken_fraction allows 3"):
        second.add([(4, "four.jpg")])


def test_images_of_one_pixel_and_of_every_shape_make_views(tmp_path):
    for i, (height, width) in enumerate([(1, 1), (1, 50), (50, 1), (7, 9)]):
        write(tmp_path / f"{i}.png", encode(ramp(height, width, i)))
    batch = next(batches(**{"data.name": "images", "data.root": str(tmp_path), "batch_size": 4}))
    assert batch["views"]["global"].shape == (4, 2, 16, 16, 3)
