"""A small model says when it is asked for what it was not taught."""

import shutil
import warnings

import numpy as np
import pytest

from self1e import Segmenter
from self1e.checkpoints.weights import ModelError
from self1e.segment.nouns import NOUNS_NAME, TaughtNouns

PICTURE = np.zeros((36, 48, 3), np.uint8)


@pytest.fixture
def folder(tiny_model_folder, tmp_path):
    shutil.copytree(tiny_model_folder, tmp_path / "taught")
    TaughtNouns({"dog": ["dogs", "doggy"], "traffic light": [], "glasses": []}).write(tmp_path / "taught")
    return tmp_path / "taught"


def test_written_and_read(folder):
    nouns = TaughtNouns.read(folder)
    assert (folder / NOUNS_NAME).read_text() == "dog: dogs, doggy\ntraffic light\nglasses\n"
    assert list(nouns) == ["dog", "traffic light", "glasses"] and len(nouns) == 3
    assert nouns.words["dog"] == ["dogs", "doggy"]


def test_no_file_and_a_broken_one(tiny_model_folder, folder):
    assert TaughtNouns.read(tiny_model_folder) is None
    (folder / NOUNS_NAME).write_bytes(b"\xff\xfe")
    with pytest.raises(ModelError, match=r"nouns\.txt cannot be read"):
        Segmenter.from_pretrained(folder)


def test_no_nouns_name_nothing():
    assert not TaughtNouns({}).any_in("the dog")


@pytest.mark.parametrize(
    "prompts",
    ["the dog", "the DOGGY on the left", ["a traffic light"], "What could I ride?", [], "the man with glasses"],
)
def test_what_it_was_taught_is_not_commented_on(folder, prompts):
    segmenter = Segmenter.from_pretrained(folder, device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        segmenter.segment(PICTURE, prompts)
        segmenter.segment(PICTURE, "the xylophone", template="none")


def test_what_it_was_not_taught_is_said_once(folder):
    segmenter = Segmenter.from_pretrained(folder, device="cpu")
    with pytest.warns(UserWarning, match=r"was not taught 'the xylophone'.* 3 nouns .*self1e info .* lists") as told:
        for _ in range(2):
            segmenter.segment([(PICTURE, ["the dog", "the xylophone", "the lute"]), (PICTURE, "the harp")])
    assert len(told) == 1
    assert told[0].filename == __file__
