"""A small model says when it is asked for what it does not know, or not well."""

import json
import shutil
import warnings
from dataclasses import replace

import numpy as np
import pytest

from self1e import Segmenter
from self1e.checkpoints.errors import ModelError
from self1e.checkpoints.hub import BUNDLED
from self1e.segment.nouns import NOUNS_NAME, TaughtNouns

PICTURE = np.zeros((36, 48, 3), np.uint8)
NOUNS = TaughtNouns(
    {"dog": ["doggy"], "wine glass": [], "glasses": [], "pole": []},
    near={"dog": ["puppy"]},
    iou={"dog": 0.8, "pole": 0.01},
    groups=["animals"],
    others=["hot dog"],
)


@pytest.fixture(scope="module")
def mini():
    nouns = TaughtNouns.read(BUNDLED["mini"])
    assert nouns is not None
    return nouns


@pytest.fixture
def folder(tiny_model_folder, tmp_path):
    shutil.copytree(tiny_model_folder, tmp_path / "taught")
    NOUNS.write(tmp_path / "taught")
    return tmp_path / "taught"


def test_written_and_read(folder):
    nouns = TaughtNouns.read(folder)
    assert nouns.to_dict() == NOUNS.to_dict()
    assert list(nouns) == ["dog", "wine glass", "glasses", "pole"] and len(nouns) == 4
    NOUNS.write(folder)  # in place of itself


def test_no_file_and_broken_ones(tiny_model_folder, folder):
    assert TaughtNouns.read(tiny_model_folder) is None
    for content in (
        b"\xff\xfe",
        b"[]",
        b'{"words": ["dog"]}',
        b'{"near": {}}',
        b'{"words": {}, "iou": {"dog": "0.5"}}',
    ):
        (folder / NOUNS_NAME).write_bytes(content)
        with pytest.raises(ModelError, match=r"nouns\.json cannot be read .* delete it"):
            Segmenter.from_pretrained(folder)


def test_no_nouns_name_nothing():
    assert TaughtNouns({}).doubt("the dog").kind == "unknown"


def test_what_is_found_and_what_is_not():
    assert NOUNS.found == ["dog"] and NOUNS.hardly == ["wine glass", "glasses", "pole"]
    never_measured = TaughtNouns({"dog": [], "pole": []})
    assert never_measured.found == ["dog", "pole"] and never_measured.hardly == []


@pytest.mark.parametrize(
    "prompt",
    [
        *("the cat", "CATS", "the shoe", "the boot", "the plant", "the pants", "the skies", "a t shirt", "TV screen"),
        *("the wine glass", "the glasses", "the street", "the potted plants", "the second car from the right"),
        *("the cat on the sofa", "the cat lying on a xylophone", "the tall building on the left", "the lying cat"),
        *(
            "the person wearing a crown",
            "all of the trees",
            "a pair of shoes",
            "the black and white cat",
            "the animals",
        ),
        *("the sky and the trees", "the car's wheel", "the wheel of the car", "the dog (brown)", "“the cat”"),
        *("the cat left of the dog", "the person dressed in red", "the person closest to the camera", "vehicles"),
    ],
)
def test_what_mini_was_taught(mini, prompt):
    words_alone = replace(mini, iou={})  # what it hardly finds changes with its training
    assert words_alone.doubt(prompt) is None


@pytest.mark.parametrize(
    "prompt",
    [
        *("hot-dog stand", "the hot dog", "stop sign", "the stop signs", "traffic light", "tennis ball on the table"),
        *("the xylophone", "the cat's tail", "the dog house", "the book shelf", "a glass on the table", "catalogue"),
        *("the sky and the xylophone", "the zebra standing in the grass", "the table tennis", "图中左边的人", "!?"),
    ],
)
def test_what_mini_was_not_taught(mini, prompt):
    assert mini.doubt(prompt).kind == "unknown"


@pytest.mark.parametrize(
    ("prompt", "noun"),
    [("the kitten", "cat"), ("two couches", "sofa"), ("a lorry", "truck"), ("the woman in the red dress", "person")],
)
def test_what_mini_knows_by_words_near_to_it(mini, prompt, noun):
    doubt = mini.doubt(prompt)
    assert doubt.kind == "near" and doubt.reason.endswith(f"such as {noun}")


def test_what_mini_hardly_finds(mini):
    assert {"cat", "dog", "person", "sky"} <= set(mini.found)
    mini = replace(mini, iou={**mini.iou, "pole": 0.01})  # whether it is one of these changes with its training
    assert "pole" in mini.hardly and mini.doubt("the poles on the right").kind == "hardly"


@pytest.mark.parametrize("prompts", ["the dog", "the DOGGIES on the left", ["a wine glass"], "What could I ride?", []])
def test_what_it_was_taught_is_not_commented_on(folder, prompts):
    segmenter = Segmenter.from_pretrained(folder, device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        segmenter.segment(PICTURE, prompts)
        segmenter.segment(PICTURE, "the xylophone", template="none")
        segmenter.segment(PICTURE, "the xylophone", template="sentence")


def test_what_it_was_not_taught_is_said_once(folder):
    segmenter = Segmenter.from_pretrained(folder, device="cpu")
    with pytest.warns(UserWarning) as told:
        for _ in range(2):
            segmenter.segment([(PICTURE, ["the dog", "the xylophone", "the lute"]), (PICTURE, "the harp")])
    [note] = told
    assert str(note.message) == (
        f"{folder} was not taught 'the xylophone': what it finds may be something else. `self1e info {folder}` lists "
        'the 4 nouns that it knows; for others there is the large model: `self1e segment PICTURE -p "..." --model '
        "UltraDoughnut/SELF1E`"
    )
    assert note.filename == __file__


def test_each_kind_of_doubt_is_said_once(folder):
    segmenter = Segmenter.from_pretrained(folder, device="cpu")
    with pytest.warns(UserWarning) as told:
        segmenter.segment(PICTURE, ["the puppy", "the pole", "the pole on the left", "the puppies", "the lute"])
    first_sentences = [str(note.message).partition(". ")[0].removeprefix(f"{folder} ") for note in told]
    assert first_sentences == [
        "was not taught 'the puppy': it goes by words that mean nearly the same, such as dog",
        "hardly finds 'the pole': on photographs to test it, its masks overlap by 1 %",
        "was not taught 'the lute': what it finds may be something else",
    ]


def test_it_is_kept_as_json_that_people_can_write(folder):
    (folder / NOUNS_NAME).write_text(json.dumps({"words": {"bolt": []}}))
    assert TaughtNouns.read(folder).doubt("the bolts") is None
