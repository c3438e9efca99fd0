"""Lists of names are read as other programs write them."""

import pytest

from hummingbird.data import names
from hummingbird.data.interface import Unreadable


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_text_is_decoded_by_its_byte_order_mark(encoding):
    mark = "\ufeff" if encoding.endswith("le") else ""
    assert names.text_lines((mark + "straße 1\r\n\r\nb\r\n").encode(encoding), "x") == ["straße 1", "b"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("straße".encode("latin-1"), "list.txt is not UTF-8 text: byte 0xdf at position 4"),
        (b"\xff\xfea", "list.txt is not UTF-16 text: byte 0x61"),
    ],
)
def test_other_encodings_are_refused_with_the_file_and_the_encoding(data, message):
    with pytest.raises(Unreadable, match=message) as caught:
        names.text_lines(data, "list.txt")
    assert "save it as UTF-8" in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        "my photo 1",
        "my photo 1.png",
        "images/my photo 1.png",
        "./images/my photo 1.png",
        "/elsewhere/images/my photo 1.jpg",
        "images\\my photo 1.png",
        '"my photo 1.png"',
        "my photo 1.png,my photo 1_mask.png",
        "my photo 1.png\tcat",
    ],
)
def test_a_line_may_name_its_file_in_many_ways(line):
    files = {"my photo 1": "images/my photo 1.png", "my": "images/my.png"}
    assert names.match_names([line], files) == ["my photo 1"]


def test_the_first_column_counts_and_a_whole_name_before_a_part_of_it():
    files = {"a": "images/a.png", "a.b": "images/a.b.png", "x/c": "images/x/c.png"}
    lines = ["a.png masks/a.png", "a.b", "a.b.png", "a 1 0.5", "images/x/c.png labels/x/c.png", "absent.png 1"]
    assert names.match_names(lines, files) == ["a", "a.b", "a.b", "a", "x/c", "absent"]


def test_names_that_are_not_utf8_can_be_hashed_and_shown():
    odd = b"stra\xdfe".decode("utf-8", "surrogateescape")
    assert names.printable(odd) == r"stra\xdfe"
    assert len(names.names_fingerprint([odd])) == 12
    assert names.names_fingerprint([odd]) != names.names_fingerprint(["strae"])
    assert names.shorten([odd, "b"]) == r"stra\xdfe, b"
