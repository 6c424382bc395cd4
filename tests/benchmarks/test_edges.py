"""What refining and voting are worth, on one drawn scene."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.edges import WAYS, measure, of_records, spread, table
from benchmarks.machine import ROOT
from benchmarks.records import RESULTS, read
from self1e import Segmenter
from self1e.data.records import Query, Record
from self1e.processing.images import load_image

PICTURE = Path(__file__).parents[2] / "examples" / "pictures" / "lakeside.png"


def test_only_the_plain_way_gives_its_own_masks() -> None:
    nano = Segmenter.from_pretrained("nano", device="cpu", dtype="float32")
    picture, prompts = load_image(PICTURE), ["the red boat", "the house"]
    truths = [result.mask.astype(np.uint8) for result in nano.segment(picture, prompts)]
    found = measure(nano, iter([(picture, prompts, truths)]))
    assert list(found) == list(WAYS)
    assert {figures["masks"] for figures in found.values()} == {2}
    perfect = {way for way, figures in found.items() if figures["ciou"] == figures["boundary"] == 1}
    assert perfect == {"resized"}
    rows = table([{"settings": {"model": "nano", "on": "toyland"}, "ways": found}]).splitlines()[2:]
    assert rows[0] == "| nano | toyland | resized | 2 | 100.0 | 100.0 | 100.0 | 1.0 x |"
    assert len(rows) == len(WAYS)


def test_the_page_has_the_table_of_the_results() -> None:
    assert table(read(RESULTS / "edges.json")) in (ROOT / "docs" / "edges.md").read_text("utf-8")


class Drawn(list[Record]):
    """A source of records."""

    name = "drawn"


def test_only_what_is_there_is_asked_for() -> None:
    boat = Query("the boat", "phrase", lambda: np.ones((4, 4), np.uint8))
    hidden = Query("the cow", "phrase", lambda: np.zeros((4, 4), np.uint8))
    absent = Query("the bus", "phrase", lambda: np.ones((4, 4), np.uint8), absent=True)
    records = Drawn(Record("", PICTURE, queries) for queries in ((boat, hidden, absent), (hidden, absent), (boat,)))
    assert [prompts for _, prompts, _ in of_records(records, 3)] == [["the boat"], ["the boat"]]


def test_places_are_evenly_spread() -> None:
    assert spread(3, 9) == [0, 4, 8]
    assert spread(5, 2) == [0, 1]
