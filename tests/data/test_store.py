"""Archives are read like the folders they were made of."""

import numpy as np

from tests.data.files import (
    dense,
    make_folder,
    make_voc,
    names,
    pack,
    refused,
    write,
)


def test_a_tar_is_read_like_the_folder_it_was_made_of(tmp_path):
    root = make_voc(tmp_path / "voc", ["2007_1", "2007_2", "2008_3", "2009_4"], ["2009_4"], {})
    archive = pack(root / "VOCdevkit", tmp_path / "voc.tar", "VOCdevkit")
    from_tar, from_folder = dense("prompt", "pascal_voc", archive), dense("prompt", "pascal_voc", root)
    assert from_tar.fingerprint == from_folder.fingerprint
    for i in range(3):
        np.testing.assert_array_equal(from_tar[i]["image"], from_folder[i]["image"])
        np.testing.assert_array_equal(from_tar[i]["label"], from_folder[i]["label"])
    folder = pack(make_folder(tmp_path / "own", ["a", "b"], [0, 1], prompt=["a"]), tmp_path / "own.tar")
    assert names(dense("query", "folder", folder)) == ["b"]


def test_archives_that_cannot_be_read_are_refused(tmp_path):
    refused("is compressed", "prompt", "folder", tmp_path / "x.tar.gz")
    refused("no readable tar", "prompt", "folder", write(tmp_path / "x.tar", "this is no archive"))
    refused("neither a folder nor", "prompt", "folder", write(tmp_path / "x.txt", "text"))
