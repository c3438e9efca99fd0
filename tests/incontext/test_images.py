import numpy as np
import pytest
from PIL import Image

from hummingbird.errors import UserError
from hummingbird.incontext.images import read_pages, to_rgb

GREY = np.array([[0, 51], [204, 255]], np.uint8)


@pytest.mark.parametrize(
    "image",
    [
        GREY,
        GREY[..., None],
        np.stack([GREY, np.zeros_like(GREY)], -1),
        np.stack([GREY] * 3, -1),
        np.stack([GREY] * 3 + [np.zeros_like(GREY)], -1),
        GREY.astype(np.uint16) * 257,
        (GREY / 255).astype(np.float32),
        Image.fromarray(GREY),
    ],
    ids=["grey", "one channel", "grey alpha", "rgb", "rgba", "16 bits", "floats", "pillow"],
)
def test_the_same_picture_in_any_form_is_the_same(image):
    np.testing.assert_array_equal(to_rgb(image), np.stack([GREY] * 3, -1))


def test_a_range_is_mapped_and_clipped():
    assert to_rgb(np.array([[-5, 0, 2048, 4095, 9000]]), (0, 4095))[0, :, 0].tolist() == [0, 0, 128, 255, 255]
    assert to_rgb(np.array([[True, False]]))[0, :, 1].tolist() == [255, 0]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 5)), r"its shape is \[4, 4, 5\], expected"),
        (np.zeros((0, 4, 3)), r"its shape is \[0, 4, 3\]"),
        (np.array([[0.0, 1.5]]), r"floating-point values are 0..1.5, not 0..1; give value_range"),
        (np.array([[0.0, np.nan]]), "NaN or infinite"),
        (np.array([[1, 2]]), "int64 have no common range; give value_range"),
        (np.array([["a"]]), "expected numbers"),
    ],
)
def test_what_is_no_image_is_refused(image, message):
    with pytest.raises(UserError, match=message):
        to_rgb(image)


def test_pages_are_read_as_they_are_stored(tmp_path):
    pages = [np.full((3, 4), 1000 * i, np.uint16) for i in (1, 2)]
    first, second = map(Image.fromarray, pages)
    first.save(tmp_path / "stack.tif", save_all=True, append_images=[second])
    np.testing.assert_array_equal(read_pages(tmp_path / "stack.tif"), pages)
    Image.fromarray(GREY).convert("RGBA").save(tmp_path / "one.png")
    np.testing.assert_array_equal(read_pages(tmp_path / "one.png")[0], np.stack([GREY] * 3, -1))
    np.save(tmp_path / "many.npy", np.zeros((5, 2, 3, 3), np.float32))
    assert [page.shape for page in read_pages(tmp_path / "many.npy")] == [(2, 3, 3)] * 5
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_pages(tmp_path / "gone.png")
