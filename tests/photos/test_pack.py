"""Copies of folders of photographs in a few MiB."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import features

from configs.mini.pack import pack
from self1e.photos.index import photographs
from self1e.photos.scene import read_scene
from tests.photos.made_up import add_photo, write_folder


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow writes no AVIF")
def test_a_copy_holds_what_can_be_learnt(tmp_path: Path) -> None:
    folder, out = tmp_path / "photos", tmp_path / "packed"
    write_folder(folder)
    add_photo(folder, "a", [("dog", (0, 0, 50, 50)), ("dog", (60, 60, 90, 90))])
    add_photo(folder, "b", [("cat", (0, 0, 50, 50))], split="test")
    pack(folder, out, 50, 60)
    (copy,) = photographs(out, ("train", "validation", "test"))
    (before, after) = (read_scene(photo) for photo in (photographs(folder, ("train", "validation"))[0], copy))
    assert after.labels.shape == (50, 50) and copy.present == {"dog"}
    for ours, theirs in ((after.labels, before.labels), (after.things, before.things)):
        assert np.array_equal(ours, theirs[1::2, 1::2])
    assert np.abs(after.picture.astype(int) - before.picture[::2, ::2]).mean() < 12
