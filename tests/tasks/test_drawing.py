"""Colours, heat maps and sheets of small pictures."""

import cv2
import numpy as np
import pytest

from hummingbird.tasks import drawing
from hummingbird.tasks.drawing import GAP, MARGIN, TEXT, Tile


def test_void_is_hatched_and_classes_keep_their_colours():
    colours = drawing.class_colours(["background", "cat", "dog"])
    painted = drawing.paint_classes(np.array([[0, 1], [2, 255]]), colours, void=255)
    np.testing.assert_array_equal(painted[0, 0], colours[0])
    np.testing.assert_array_equal(painted[1, 0], colours[2])
    assert painted[1, 1].tolist() in ([128] * 3, [168] * 3)


@pytest.mark.parametrize("count", [2, 7, 21, 171, 256])
def test_classes_have_distinct_colours(count):
    colours = drawing.class_colours([f"class{i}" for i in range(count)])
    lab = cv2.cvtColor(colours[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0]  # CIELAB: 2.3 is just noticeable
    distance = np.linalg.norm(lab[:, None] - lab[None], axis=-1) + 1000 * np.eye(count)
    assert distance.min() > (20 if count <= 21 else 6)


def test_depth_colours_share_one_scale():
    painted = drawing.paint_values(np.array([[1.0, 3.0, np.nan, 9.0]]), 1.0, 3.0, "viridis")
    assert painted[0, 0].tolist() == [68, 1, 84]  # viridis at 0
    assert painted[0, 1].tolist() == painted[0, 3].tolist() == [253, 231, 37]  # viridis at 1; beyond is clipped
    assert painted[0, 2].tolist() in ([128] * 3, [168] * 3)


def test_background_is_grey_and_takes_no_colour_from_the_others():
    with_background = drawing.class_colours(["cat", "Background", "dog"])
    np.testing.assert_array_equal(with_background[[0, 2]], drawing.class_colours(["cat", "dog"]))
    assert with_background[1].tolist() == list(drawing.GREY)


def test_more_classes_than_colours_repeat_them():
    colours = drawing.class_colours([f"class{i}" for i in range(300)])
    np.testing.assert_array_equal(colours[256:], colours[:44])


def test_heat_is_brightest_at_the_peak_and_an_even_spread_is_not_full_heat():
    image = np.full((40, 40, 3), 128, np.uint8)
    weights = np.full((4, 4), 0.02, np.float32)
    weights[1, 2] = 0.7
    heat = drawing.overlay_heat(image, weights).astype(int).sum(axis=-1)
    brightest = heat.reshape(4, 10, 4, 10).mean(axis=(1, 3))
    assert np.unravel_index(brightest.argmax(), (4, 4)) == (1, 2)
    even = drawing.overlay_heat(image, np.full((4, 4), 1 / 16, np.float32)).astype(int).sum(axis=-1)
    assert even.max() < 0.75 * heat.max()
    assert drawing.overlay_heat(image, np.zeros((4, 4), np.float32)).max() < 128  # nothing to divide by


def test_tiles_stand_in_rows_under_their_headings():
    red, tall = np.full((5, 5, 3), (255, 0, 0), np.uint8), np.zeros((80, 40, 3), np.uint8)
    page = drawing.sheet([[Tile(red), Tile(tall)], [Tile(None)]], 40, "title", {0: "a"}, ["note"], gap_before=1)
    top, right = MARGIN + 2 * TEXT + GAP, MARGIN + 40 + GAP + 2 * GAP
    assert page.shape == (top + 2 * (40 + TEXT + GAP) + TEXT + MARGIN, right + 40 + MARGIN, 3)
    assert (page[top : top + 40, MARGIN : MARGIN + 40] == (255, 0, 0)).all()
    assert (page[top : top + 40, right + 10 : right + 30] == 0).all()
    assert (page[top : top + 40, right : right + 10] == 255).all()
    below = top + 40 + TEXT + GAP
    assert (page[below, MARGIN] == drawing.BLANK).all()


def test_small_pictures_grow_with_visible_pixels():
    picture = np.zeros((2, 2, 3), np.uint8)
    picture[0, 0] = 255
    grown = drawing.square(Tile(picture), 8)
    assert set(np.unique(grown)) == {0, 255}
    assert (grown[:4, :4] == 255).all()


def test_long_captions_end_at_their_tile():
    plain = drawing.sheet([[Tile(None), Tile(None)]], 40)
    long = drawing.sheet([[Tile(None, "m" * 100), Tile(None)]], 40)
    changed = np.flatnonzero((plain != long).any(axis=(0, 2)))
    assert len(changed)
    assert changed.max() < MARGIN + 40 + GAP


def test_an_empty_sheet_is_a_small_white_picture():
    assert (drawing.sheet([], 40) == 255).all()
