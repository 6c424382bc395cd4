"""nano does what the README shows, judged by the scene that its picture was drawn from."""

import pytest

from self1e import Segmenter
from self1e.toyland import generate_scene
from self1e.toyland.kinds import KINDS

LAKESIDE = 529
"""The seed of examples/pictures/lakeside.png."""


@pytest.fixture(scope="module")
def scene():
    return generate_scene(LAKESIDE)


@pytest.fixture(scope="module")
def segmenter():
    return Segmenter.from_pretrained("nano", device="cpu")


def things(scene, kind):
    return scene.object_mask(*(thing.id for thing in scene.things if thing.kind == kind))


def iou(mask, truth):
    return (mask & truth).sum() / (mask | truth).sum()


def test_readme_prompts(segmenter, scene):
    prompts = {"the house with the blue roof": "house", "the white cow": "cow", "all the boats": "boat"}
    for result, kind in zip(segmenter.segment(scene.picture, list(prompts)), prompts.values(), strict=True):
        assert result.found
        assert iou(result.mask, things(scene, kind)) > 0.6, result.prompt


def test_readme_chat(segmenter, scene):
    reply = segmenter.chat(scene.picture, "I would like to cross the lake. Explain.")
    assert "boat" in reply.text.partition("[SEG]")[2]
    assert iou(reply.mask, things(scene, "boat")) > 0.5


def test_a_conversation_of_several_turns(segmenter, scene):
    chat = segmenter.start_chat(scene.picture)
    assert [chat.ask(question).text for question in ("What colour is the cow?", "Is there a unicorn?")] == [
        "White.",
        "No.",
    ]


def test_what_is_not_there(segmenter, scene):
    """Most things of its world that are not in the picture are not found; how many is for the evaluation to say."""
    there = {thing.kind for thing in scene.things}
    absent = [f"the {kind}" for kind in KINDS if kind not in there]
    nothing = [result for result in segmenter.segment(scene.picture, absent) if not result.found]
    assert len(nothing) > 0.7 * len(absent) > 10
    assert not any(result.mask.any() for result in nothing)
