"""The embedded toy world is deterministic, consistent in depth and occlusion, and not solvable by colour."""

import hashlib
import pathlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from hummingbird.data import scenes
from hummingbird.errors import UserError

SIZE = 64


@pytest.fixture(scope="module")
def world():
    """60 scenes of one world: {"image": [60, 64, 64, 3], "mask": [60, 64, 64], "depth": [60, 64, 64]}."""
    items = [scenes.render(5, index, SIZE) for index in range(60)]
    return {key: np.stack([item[key] for item in items]) for key in items[0]}


def digest(seed, index, size):
    scene = scenes.render(seed, index, size)
    return hashlib.sha256(b"".join(scene[key].tobytes() for key in sorted(scene))).hexdigest()


def test_shapes_dtypes_and_ranges(world):
    for size in (64, 96):
        scene = scenes.render(0, 3, size)
        assert scene["image"].shape == (size, size, 3)
        assert scene["image"].dtype == np.uint8
        assert scene["mask"].shape == (size, size)
        assert scene["mask"].dtype == np.int32
        assert scene["depth"].shape == (size, size)
        assert scene["depth"].dtype == np.float32
        assert all(scene[key].flags.c_contiguous for key in scene)
    assert np.isfinite(world["depth"]).all()
    assert world["depth"].min() > 1
    assert world["depth"].max() <= scenes.MAX_DEPTH
    assert world["mask"].min() >= 0
    assert world["mask"].max() < len(scenes.CLASSES)
    assert world["image"].std() > 25  # not washed out


def test_every_class_occurs_and_none_dominates(world):
    share = np.bincount(world["mask"].ravel(), minlength=len(scenes.CLASSES)) / world["mask"].size
    assert len(scenes.OBJECTS) >= 8
    assert len(set(scenes.CLASSES)) == len(scenes.CLASSES)
    assert share.min() > 0.005, dict(zip(scenes.CLASSES, share.round(3), strict=True))
    assert share.max() < 0.3


def test_scenes_have_themes(world):
    held = [set(np.unique(mask)) for mask in world["mask"]]
    objects = [{c for c in one if scenes.CLASSES[c] in scenes.OBJECTS} for one in held]
    assert all(1 <= len(one) <= 2 for one in objects)
    assert all(sum(scenes.CLASSES[c] in scenes.GROUNDS for c in one) == 1 for one in held)
    assert len({frozenset(one) for one in objects}) > 20  # 55 are possible


@pytest.mark.process
def test_another_process_renders_the_same_bytes():
    code = (
        "import hashlib; from hummingbird.data import scenes; s = scenes.render(3, 41, 64);"
        "print(hashlib.sha256(b''.join(s[k].tobytes() for k in sorted(s))).hexdigest())"
    )
    root = pathlib.Path(scenes.__file__).parents[2]
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert other.stdout.strip() == digest(3, 41, SIZE)


@pytest.mark.process
def test_threads_take_turns_and_a_forked_process_has_a_turn_of_its_own():
    with ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(lambda i: scenes.render(3, i, 32)["image"], range(8)))
    for i, image in enumerate(drawn):
        np.testing.assert_array_equal(image, scenes.render(3, i, 32)["image"])
    code = (
        "import os; from hummingbird.data import scenes; scenes._drawing.acquire(); child = os.fork();"
        "child or (scenes.render(0, 0, 32), os._exit(7)); print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout.strip() == "7"


def test_access_is_random_and_does_not_depend_on_order():
    forward = [digest(1, index, 48) for index in range(6)]
    backward = [digest(1, index, 48) for index in reversed(range(6))]
    assert forward == backward[::-1]
    assert len(set(forward)) == 6


def test_other_seeds_give_other_scenes():
    one, other = scenes.render(1, 0, SIZE), scenes.render(2, 0, SIZE)
    assert (one["image"] != other["image"]).mean() > 0.9
    # (seed, index) must not collide, as their sum would
    assert (scenes.render(0, 1, SIZE)["image"] != scenes.render(1, 0, SIZE)["image"]).mean() > 0.9


def test_a_scene_is_the_same_scene_at_every_size():
    small, large = scenes.render(4, 9, 48), scenes.render(4, 9, 144)
    centres = large["mask"][1::3, 1::3], large["depth"][1::3, 1::3]  # the pixels with the same centres
    assert (centres[0] == small["mask"]).mean() > 0.99
    assert np.isclose(centres[1], small["depth"], rtol=1e-3).mean() > 0.99
    blocks = large["image"].reshape(48, 3, 48, 3, 3).mean((1, 3))
    assert np.abs(blocks - small["image"]).mean() < 12


def test_the_nearest_object_covers_each_pixel():
    hidden = 0
    for index in range(12):
        plan, scene = scenes._plan(6, index), scenes.render(6, index, SIZE)
        image, mask, depth = scenes._background(plan, SIZE)
        layers = [(mask, depth)]
        for thing in plan.things:  # each alone on an empty canvas
            alone, away = np.full((SIZE, SIZE), -1, np.int32), np.full((SIZE, SIZE), np.inf, np.float32)
            scenes._draw(plan, thing, SIZE, image.copy(), alone, away)
            layers.append((alone, away))
        nearest = np.argmin([away for _, away in layers], axis=0)[None]
        assert np.array_equal(scene["depth"], np.min([away for _, away in layers], axis=0))
        assert np.array_equal(scene["mask"], np.take_along_axis(np.stack([m for m, _ in layers]), nearest, 0)[0])
        hidden += (np.sum([np.isfinite(away) for _, away in layers[1:]], axis=0) > 1).sum()
    assert hidden > 12 * 50  # objects occlude one another


def test_ground_depth_follows_the_camera():
    plan, scene = scenes._plan(8, 2), scenes.render(8, 2, SIZE)
    ground = scene["mask"] == scenes.CLASSES.index(plan.ground)
    rows = np.nonzero(ground)[0] + 0.5
    # a ray through the row falls (row / size - horizon) / focal per metre travelled, and the camera is that high
    fall = scene["depth"][ground] * (rows / SIZE - plan.horizon) / plan.focal
    assert ground.sum() > 100
    np.testing.assert_allclose(fall, plan.camera_height, rtol=1e-5)


def test_objects_stand_on_the_ground_and_shrink_with_distance():
    for index in range(10):
        plan = scenes._plan(9, index)
        for thing in plan.things:
            mask, depth = np.full((256, 256), -1, np.int32), np.zeros((256, 256), np.float32)
            scenes._draw(plan, thing, 256, np.zeros((3, 256, 256), np.float32), mask, depth)
            rows = np.nonzero((mask >= 0).any(1))[0]
            assert depth[mask >= 0].tolist() == [np.float32(thing.distance)] * (mask >= 0).sum()
            foot = 256 * (plan.horizon + plan.focal * plan.camera_height / thing.distance)
            if rows[0] > 0 and rows[-1] < 255:  # entirely visible
                assert abs(rows[-1] + 1 - foot) <= 1.5
                tall = thing.height * plan.focal * 256 / thing.distance
                assert rows[-1] - rows[0] + 1 == pytest.approx(tall, rel=0.06, abs=2)


def test_colour_does_not_identify_the_class(world):
    """Nearest neighbours in colour, from 40 other scenes, barely beat guessing the most frequent class."""
    rng = np.random.default_rng(0)
    colours, labels = world["image"].reshape(60, -1, 3).astype(np.float32), world["mask"].reshape(60, -1)
    pick = rng.choice(SIZE * SIZE, 150, replace=False)
    known, known_labels = colours[:40, pick].reshape(-1, 3), labels[:40, pick].ravel()
    asked, truth = colours[40:, pick[:40]].reshape(-1, 3), labels[40:, pick[:40]].ravel()
    distance = (asked**2).sum(1)[:, None] - 2 * asked @ known.T + (known**2).sum(1)
    accuracy = (known_labels[distance.argmin(1)] == truth).mean()
    commonest = np.bincount(truth).max() / len(truth)
    assert accuracy < commonest + 0.05, (accuracy, commonest)


def test_image_labels_are_balanced_and_name_most_of_the_objects():
    source = scenes.Scenes(5, 40, SIZE, first=10**9, labels=True)
    labels = [source.image_label(i) for i in range(len(source))]
    np.testing.assert_array_equal(np.bincount(labels), [4] * len(scenes.OBJECTS))
    right = []
    for i, label in enumerate(labels):
        plan = scenes._plan(5, 10**9 + i, label)
        names = [thing.name for thing in plan.things]
        assert 3 * names.count(scenes.OBJECTS[label]) >= 2 * len(names)
        count = np.bincount(source[i]["label"].ravel(), minlength=len(scenes.CLASSES))
        right.append(count[-len(scenes.OBJECTS) :].argmax() == label)
    assert np.mean(right) > 0.8  # of the pixels, too, although a near object of another class may be large


def test_scenes_without_labels_are_those_of_earlier_versions():
    source = scenes.Scenes(3, 2, SIZE, first=41)
    assert source.fingerprint == "scenes-1 seed=3 first=41 length=2 size=64 task=segmentation"
    assert source.image_label(0) == -1
    plan = scenes._plan(3, 41)
    assert [thing.name for thing in plan.things] == ["crate", "target", "crate", "target", "crate"]
    assert (plan.ground, plan.backdrop) == ("grass", "brick wall")
    assert scenes.Scenes(3, 2, SIZE, first=41, labels=True).fingerprint == source.fingerprint + " labels=objects"


def test_the_dense_source_is_a_sequence_of_scenes():
    masks, depths = scenes.Scenes(3, 5, 48), scenes.Scenes(3, 5, 48, "depth")
    later = scenes.Scenes(3, 2, 48, first=3)
    assert len(masks) == 5
    assert masks.classes == list(scenes.CLASSES)
    assert depths.classes == []
    assert (masks.task, depths.task, masks.ignore) == ("segmentation", "depth", 255)
    assert np.array_equal(masks[4]["label"], scenes.render(3, 4, 48)["mask"])
    assert np.array_equal(depths[4]["label"], scenes.render(3, 4, 48)["depth"])
    assert np.array_equal(later[1]["image"], masks[4]["image"])
    assert later[1]["name"] == masks[4]["name"]
    assert len({s.fingerprint for s in (masks, depths, later)}) == 3
    assert len(list(masks)) == 5  # ends by IndexError
    with pytest.raises(UserError, match="segmentation, depth"):
        scenes.Scenes(3, 5, 48, "normals")
