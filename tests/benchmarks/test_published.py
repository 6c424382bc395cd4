"""The table of published figures: which results get into it, and which row they land in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.published import COLUMNS, PAPER, ResultsError, main, measured, table

#: As `self1e eval` writes them, of what is read.
FIGURES = {
    "benchmark": "refcoco|unc|val",
    "model": "models/mine",
    "weights_sha256": "12ab",
    "answer": "given",
    "limit": None,
    "max_tiles": 1,
    "quantization": None,
    "broken": [],
    "ciou": 0.5,
    "giou": 0.25,
}


def write(folder: Path, name: str, **changes: Any) -> None:
    (folder / name).mkdir()
    (folder / name / "figures.json").write_text(json.dumps(FIGURES | changes))


def test_results_land_in_the_row_of_the_papers_model(tmp_path: Path) -> None:
    write(tmp_path, "a")
    write(tmp_path, "b", benchmark="reasonseg|val")
    write(tmp_path, "c", benchmark="vqav2|val", max_tiles=6)  # no column, so nothing to tell of
    write(tmp_path, "d", model="another", weights_sha256="34cd")
    found, left_out = measured(tmp_path, {"models/mine": "SELF1E-2B"})
    mine = {("refcoco|unc|val", "ciou"): 50.0, ("reasonseg|val", "giou"): 25.0, ("reasonseg|val", "ciou"): 50.0}
    assert (found, left_out) == ({"SELF1E-2B": mine, "another": {("refcoco|unc|val", "ciou"): 50.0}}, [])
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table(found).splitlines()[2:]]
    assert [row[:2] for row in rows] == [[name, who] for name in PAPER for who in ("paper", "ours")] + [
        ["another", "ours"]
    ]
    assert rows[0][2:] == [f"{each:.1f}" for each in PAPER["SELF1E-2B"]]
    assert rows[1][2:] == [f"{mine[column]:.1f}" if column in mine else "not run" for column in COLUMNS]
    assert set(rows[3][2:]) == {"not run"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_tiles": 6}, "max_tiles is 6"),
        ({"quantization": {"scheme": "int8"}}, "quantization is {'scheme': 'int8'}"),
        ({"broken": ["3: cannot read a.jpg"]}, "broken is ['3: cannot read a.jpg']"),
        ({"answer": "generated"}, "answer is generated"),
        ({"limit": 10, "max_tiles": None}, "limit is 10, max_tiles is None"),
    ],
)
def test_other_protocols_are_left_out(
    tmp_path: Path, changes: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, "a", **changes)
    assert measured(tmp_path) == ({}, [f"{tmp_path / 'a' / 'figures.json'}: {message}"])
    main([str(tmp_path)])
    printed = capsys.readouterr()
    assert printed.out.strip() == table({}) and message in printed.err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "a/figures.json and .*b/figures.json are both of SELF1E-2B on refcoco.unc.val"),
        ({"weights_sha256": "34cd"}, "are both of SELF1E-2B on refcoco"),
        ({"model": "models/theirs"}, "are both of SELF1E-2B on refcoco"),
        ({"benchmark": "reasonseg|val", "weights_sha256": "34cd"}, "are both of SELF1E-2B, but of different weights"),
    ],
)
def test_two_runs_are_not_merged(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    write(tmp_path, "a")
    write(tmp_path, "b", **changes)
    write(tmp_path, "c", model="models/theirs", benchmark="reasonseg|test")
    with pytest.raises(ResultsError, match=message):
        measured(tmp_path, {"models/mine": "SELF1E-2B", "models/theirs": "SELF1E-2B"})


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("models/mine=SELF1E-3B", "the paper has no model 'SELF1E-3B': it has SELF1E-2B, SELF1E-SEG-2B"),
        ("mine=SELF1E-2B", "there is no result of 'mine' below .*, only of ['models/mine']"),
        ("SELF1E-2B", "--model SELF1E-2B: write NAME=ROW"),
    ],
)
def test_wrong_models_are_refused(tmp_path: Path, model: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "a")
    with pytest.raises(SystemExit, match="2"):
        main([str(tmp_path), "--model", model])
    first, _, last = message.partition(".*")
    assert first in (told := capsys.readouterr().err) and last in told
