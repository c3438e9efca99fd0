"""Shapes and run lengths against pycocotools, a test of every pixel's centre, and encoders written from the formats."""

import numpy as np
import pytest

from hummingbird.data.annotations import run_lengths, shapes
from hummingbird.data.interface import Unreadable


def centres(height, width):
    y, x = np.mgrid[:height, :width] + 0.5
    return x, y


def inside(corners, x, y):
    """Counts, for each point, the edges to its right: odd inside."""
    crossed = np.zeros(x.shape, int)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        beside = (y0 <= y) != (y1 <= y)
        crossed += beside & (x >= np.where(beside, x0 + (y - y0) * (x1 - x0) / np.where(y1 == y0, 1, y1 - y0), 0))
    return crossed % 2 == 1


def test_polygons_cover_the_pixels_with_their_centres_inside():
    rng = np.random.default_rng(0)
    for _ in range(50):
        corners = rng.uniform(-15, 55, (rng.integers(3, 9), 2))
        np.testing.assert_array_equal(shapes.polygon(corners.tolist(), 40, 47), inside(corners, *centres(40, 47)))


def test_polygons_that_share_an_edge_neither_overlap_nor_leave_a_gap():
    left, right = [(0, 0), (3.3, 0), (6.1, 8), (0, 8)], [(3.3, 0), (9, 0), (9, 8), (6.1, 8)]
    covered = shapes.polygon(left, 8, 9).astype(int) + shapes.polygon(right, 8, 9)
    assert (covered == 1).all()


def test_polygons_agree_with_pycocotools_up_to_their_border():
    coco = pytest.importorskip("pycocotools.mask")
    t = np.linspace(0, 2 * np.pi, 50)
    corners = np.stack([60 + 40 * np.cos(t), 50 + (30 + 8 * np.cos(5 * t)) * np.sin(t)], 1)
    ours = shapes.polygon(corners.tolist(), 100, 120)
    theirs = coco.decode(coco.frPyObjects([corners.ravel().tolist()], 100, 120))[..., 0] > 0
    assert (ours & theirs).sum() / (ours | theirs).sum() > 0.98


def test_boxes_and_ellipses_turn_clockwise_on_the_screen():
    corners = shapes.box(2, 3, 8, 5, 90, (5, 4))
    np.testing.assert_array_equal(
        shapes.polygon(corners, 10, 10), shapes.polygon([(4, 1), (6, 1), (6, 7), (4, 7)], 10, 10)
    )
    slanted = shapes.ellipse((10, 10), (8, 2), 45, 20, 20)
    assert slanted[14, 14]
    assert not slanted[5, 14]
    assert slanted.sum() == pytest.approx(np.pi * 16, rel=0.1)


def test_strokes_cover_what_lies_near_their_line():
    x, y = centres(20, 30)
    along = np.clip(((x - 4) * 20 + (y - 5) * 10) / 500, 0, 1)
    near = np.hypot(x - 4 - 20 * along, y - 5 - 10 * along) <= 2
    np.testing.assert_array_equal(shapes.stroke([(4, 5), (24, 15)], 4, 20, 30), near)
    dot = shapes.stroke([(7.9, 3.1)], 0.2, 20, 30)
    assert np.argwhere(dot).tolist() == [[3, 7]]
    assert not shapes.stroke([(-9, 3), (-5, 4)], 2, 20, 30).any()


@pytest.mark.parametrize("points", [[(0, 0), (1, 1)], [(0, 0), (1, np.nan), (2, 2)], [], [(1, 2, 3)]])
def test_polygons_without_an_area_are_refused(points):
    with pytest.raises(Unreadable):
        shapes.polygon(points, 4, 4)


def test_compressed_run_lengths_are_those_of_pycocotools():
    coco = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(1)
    for scale in (1, 1, 7, 40):
        mask = np.kron(rng.random((rng.integers(1, 30), rng.integers(1, 30))) < 0.4, np.ones((scale, scale))) > 0
        stored = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        counts = run_lengths.coco_counts(stored["counts"].decode())
        np.testing.assert_array_equal(run_lengths.by_columns(counts, *mask.shape), mask)


def pack_brush(mask, literal):
    """Label Studio's run lengths: an RGBA picture with the mask as alpha, written bit by bit as text."""
    pixels = np.repeat((mask * 255)[..., None], 4, axis=2).ravel()
    widths = (3, 4, 8, 16)
    text = f"{len(pixels):032b}{8 - 1:05b}" + "".join(f"{width - 1:04b}" for width in widths)
    start = 0
    while start < len(pixels):
        if literal:
            count = min(200, len(pixels) - start)
        else:
            same = pixels[start:] != pixels[start]
            count = min(int(same.argmax()) or len(same), 2**16)
        kind = next(i for i, width in enumerate(widths) if count - 1 < 2**width)
        text += f"{0 if literal else 1:b}{kind:02b}{count - 1:0{widths[kind]}b}"
        text += "".join(
            f"{value:08b}" for value in (pixels[start : start + count] if literal else pixels[start : start + 1])
        )
        start += count
    text += "0" * (-len(text) % 8)
    return [int(text[i : i + 8], 2) for i in range(0, len(text), 8)]


@pytest.mark.parametrize("literal", [False, True])
def test_brush_strokes_of_label_studio_are_unpacked(literal):
    mask = np.zeros((13, 17), np.uint8)
    mask[3:9, 4:12] = mask[11, ::3] = 1
    np.testing.assert_array_equal(run_lengths.label_studio(pack_brush(mask, literal), 13, 17), mask > 0)


def test_broken_run_lengths_are_refused():
    for wrong in (
        lambda: run_lengths.by_rows([3, 4], 2, 3),
        lambda: run_lengths.coco_counts("\x7f"),
        lambda: run_lengths.coco_counts("P"),
        lambda: run_lengths.label_studio([0, 0, 0, 24], 2, 3),
        lambda: run_lengths.label_studio([1, 2, 999], 2, 3),
    ):
        with pytest.raises(Unreadable):
            wrong()
