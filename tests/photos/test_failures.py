"""The sheet of what mini finds and misses."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configs.mini import failures
from self1e.evaluation.samples import Sample
from tests.photos.made_up import add_photo, write_folder

TABLE = """image_id\tsplit\tlicense_id\tlicense\tflickr_url
7\tval2017\t4\tAttribution License\thttp://farm1.staticflickr.com/1/700_a_z.jpg
8\tval2017\t3\tAttribution-NonCommercial-NoDerivs License\thttp://farm1.staticflickr.com/1/800_a_z.jpg
9\tval2017\t7\tNo known copyright restrictions\thttp://farm1.staticflickr.com/1/900_a_z.jpg
"""


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    folder = tmp_path / "coco"
    write_folder(folder)
    for number in (7, 8, 9):
        add_photo(folder, f"{number:012}", [("sky", (0, 0, 100, 50)), ("dog", (20, 60, 40, 80))], split="test")
    (tmp_path / "licences.tsv").write_text(TABLE)
    given = ["failures.py", "mini", str(folder), str(tmp_path / "licences.tsv"), "--out", str(tmp_path / "sheet.png")]
    monkeypatch.setattr(sys, "argv", given)
    return given


def test_only_what_may_be_passed_on_is_drawn_with_its_source(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    failures.main()
    listed = capsys.readouterr().out.splitlines()
    assert sorted(line.partition("photograph](")[2] for line in listed) == [
        "https://www.flickr.com/photo.gne?id=700)",
        "https://www.flickr.com/photo.gne?id=900)",
    ]
    assert {line.split(",")[0][3:] for line in listed} == {"the dog", "the sky"}, "in turn"
    sheet = np.asarray(Image.open(arguments[-1]).convert("RGB"))
    assert (sheet == 255).all(2).mean() > 0.2
    with pytest.raises(SystemExit):
        failures.main()  # overwrites nothing


def test_without_a_free_photograph_it_says_so(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path(arguments[3]).write_text(TABLE.splitlines()[0])
    with pytest.raises(SystemExit):
        failures.main()
    assert "none of the 3 photographs" in capsys.readouterr().err
    assert not Path(arguments[-1]).exists()


def test_the_worst_come_first() -> None:
    sample = Sample(0, 0, "", "", "", "")
    missed, small, poor = (
        replace(sample, score=score, target=target) for score, target in ((0.0, 9), (0.0, 4), (0.2, 99))
    )
    assert sorted([poor, small, missed], key=failures.badness) == [missed, small, poor]
