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
    assert pack(folder, out, 50, 60, 10**6) == [out / "photos-1"]
    (copy,) = photographs(out / "photos-1", ("train", "validation", "test"))
    (before, after) = (read_scene(photo) for photo in (photographs(folder, ("train", "validation"))[0], copy))
    assert after.labels.shape == (50, 50) and copy.present == {"dog"}
    for ours, theirs in ((after.labels, before.labels), (after.things, before.things)):
        assert np.array_equal(ours, theirs[1::2, 1::2])
    assert np.abs(after.picture.astype(int) - before.picture[::2, ::2]).mean() < 12


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow writes no AVIF")
def test_what_is_lost_in_a_copy_is_not_called_absent(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    write_folder(folder)
    add_photo(folder, "a", [("dog", (0, 0, 50, 50)), ("cat", (60, 60, 61, 61))], annotated=["cat", "dog", "sheep"])
    pack(folder, tmp_path / "packed", 20, 60, 10**6)
    (copy,) = photographs(tmp_path / "packed" / "photos-1", ("train", "validation"))
    assert copy.present == {"dog"} and copy.annotated == {"dog", "sheep"}


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow writes no AVIF")
def test_what_is_too_much_goes_into_another_copy(tmp_path: Path) -> None:
    folder, out = tmp_path / "photos", tmp_path / "packed"
    write_folder(folder)
    names = [f"photo{place}" for place in range(7)]
    for name in names:
        add_photo(folder, name, [("dog", (0, 0, 50, 50))])
    most = 4000
    copies = pack(folder, out, 100, 60, most)
    assert copies == [out / f"photos-{number}" for number in range(1, len(copies) + 1)] and 1 < len(copies) < 7
    assert max(sum(file.stat().st_size for file in copy.rglob("*") if file.is_file()) for copy in copies) <= most
    held = [photo.picture.stem for copy in copies for photo in photographs(copy, ("train", "validation"))]
    assert held == names
    assert len(pack(folder, tmp_path / "single", 100, 60, 1)) == 7
