"""What takes the place of broken examples."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from PIL import Image

from self1e.conversation import Example
from self1e.data.broken import TRIES, AllBrokenError, Tolerant
from self1e.data.records import DataError


class Some:
    """Ten examples, of which some are broken."""

    def __init__(self, *broken: int, error: type[Exception] = DataError) -> None:
        self.broken, self.error, self.asked = broken, error, 0

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> Example:
        self.asked += 1
        if index in self.broken:
            raise self.error(f"number {index} is torn")
        return Example(Image.new("RGB", (4, 4)), (), str(index), skipped=(("inner", "of its own"),))


def test_another_takes_the_place_of_a_broken_one_and_names_it() -> None:
    examples = Tolerant(Some(3, 4, 5, 6, 7, 8), "some")
    assert len(examples) == 10 and examples[2].skipped == (("inner", "of its own"),)
    example = pickle.loads(pickle.dumps(examples))[3]
    assert int(example.id) not in range(3, 9)
    assert example.skipped[0] == ("some 3", "number 3 is torn")
    assert example.skipped[-1] == ("inner", "of its own")
    assert (example.id, example.skipped) == (examples[3].id, examples[3].skipped)
    assert len({examples[index].id for index in range(3, 9)}) > 1


def test_where_all_are_broken_the_run_ends() -> None:
    some = Some(*range(10))
    with pytest.raises(AllBrokenError, match=rf"{TRIES} examples of some in a row are broken(?s:.*)number 7 is torn"):
        Tolerant(some, "some")[7]
    assert some.asked == TRIES


@pytest.mark.parametrize("error", [AllBrokenError, ValueError])
def test_other_errors_are_not_tolerated(error: type[Exception]) -> None:
    some = Some(*np.arange(10), error=error)
    with pytest.raises(error, match="number 7 is torn"):
        Tolerant(some, "some")[7]
    assert some.asked == 1
