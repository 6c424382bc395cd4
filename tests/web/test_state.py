"""What a page remembers, and what it asks the model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from showing import Counted, lakeside, source

from self1e import Segmenter
from self1e.processing.images import ImageError
from self1e.processing.prompts import PromptError
from self1e.segment.nouns import TaughtNouns
from self1e.serve.limits import Limits
from self1e.web import state
from self1e.web.state import MOST_LAYERS, PageError, Session, Sessions, Source
from self1e.web.views import thumbnail


def prompts(session: Session) -> list[str]:
    return [layer.prompt for layer in session.layers]


def test_masks_are_those_of_the_segmenter(session, nano):
    session.open(lakeside(), thumbnail)
    session.segment("the red boat;  the sky ; the red boat")
    expected = nano.segment(session.picture.image, ["the red boat", "the sky"])
    assert prompts(session) == ["the red boat", "the sky"]
    for layer, result in zip(session.layers, expected, strict=True):
        assert np.array_equal(layer.result.masks, result.masks) and layer.result.score == result.score


def test_sliders_and_switches_ask_no_model(session, model):
    session.open(lakeside(), thumbnail)
    session.segment("the red boat; the sky")
    areas = [layer.at(session.threshold).area for layer in session.layers]
    assert model.passes == 1
    session.set(0.2, 0.9)
    wider = [layer.at(session.threshold).area for layer in session.layers]
    assert all(new > old for new, old in zip(wider, areas, strict=True))
    session.toggle(0)
    assert [layer.prompt for layer in session.shown] == ["the sky"]
    session.alone(0)
    assert [layer.prompt for layer in session.shown] == ["the red boat"]
    session.alone(0)
    assert [layer.prompt for layer in session.shown] == ["the sky"]  # as before
    session.remove(0)
    assert (prompts(session), model.passes) == (["the sky"], 1)


def test_a_colour_belongs_to_a_prompt(session):
    session.open(lakeside(), thumbnail)
    session.segment("the sky; the red boat; the cow")
    session.remove(1)
    session.segment("the tree")
    assert [(layer.prompt, layer.colour) for layer in session.layers] == [
        ("the sky", 0),
        ("the cow", 2),
        ("the tree", 1),
    ]


def test_what_the_eye_says_is_what_it_does(session):
    session.open(lakeside(), thumbnail)
    session.segment("the sky; the cow; the tree")
    session.alone(1)
    session.toggle(0)  # is not seen, so this shows it, and ends that only one is
    assert [layer.prompt for layer in session.shown] == ["the sky", "the cow", "the tree"]
    session.alone(1)
    session.toggle(1)  # is seen, so this hides it
    assert [layer.prompt for layer in session.shown] == ["the sky", "the tree"]


def test_what_was_hidden_is_shown_when_asked_again(session, model):
    session.open(lakeside(), thumbnail)
    session.segment("the sky")
    session.toggle(0)
    session.segment("the sky")
    assert session.layers[0].shown and model.passes == 1


def test_versions_change_with_what_is_seen(session):
    seen = [session.version]
    for action in (
        lambda: session.open(lakeside(), thumbnail),
        lambda: session.segment("the sky"),
        lambda: session.set(0.3, 0.3),
        lambda: session.toggle(0),
        lambda: session.alone(0),
        lambda: session.explain(0),
        lambda: session.look_at(1),
        session.clear,
        lambda: session.close(thumbnail),
    ):
        action()
        seen.append(session.version)
    assert seen == sorted(set(seen))


def test_history_restores_pictures_and_prompts(session, monkeypatch):
    session.open(lakeside(), thumbnail)
    session.segment("the sky; the cow")
    session.open(source(60, 40), thumbnail)
    assert [(one.source.name, one.prompts) for one in session.past] == [("lakeside.png", ("the sky", "the cow"))]
    session.restore(0, thumbnail)
    assert (session.picture.source.name, prompts(session)) == ("lakeside.png", ["the sky", "the cow"])
    assert [one.source.name for one in session.past] == ["noise.png"]
    with pytest.raises(PageError, match="not in the history"):
        session.restore(5, thumbnail)
    monkeypatch.setattr(state, "MOST_PAST", 2)
    for width in (61, 62, 63):
        session.open(source(width, 40), thumbnail)
    assert len(session.past) == 2


def test_errors_leave_everything_as_it_was(session):
    session.open(lakeside(), thumbnail)
    session.segment("the sky")
    before = (session.picture, prompts(session), session.version, list(session.past))
    with pytest.raises(ImageError, match=r"notes\.txt is no picture"):
        session.open(Source(b"just words", "notes.txt"), thumbnail)
    with pytest.raises(PromptError, match="too long"):
        session.segment("\N{GRINNING FACE}" * 1900)
    with pytest.raises(PageError, match=f"There are {MOST_LAYERS} masks at most"):
        session.segment(";".join(f"the boat {number}" for number in range(MOST_LAYERS)))
    with pytest.raises(PageError, match="at most 2,000 letters"):
        session.segment("x" * 2001)
    with pytest.raises(PageError, match="Say what to find"):
        session.segment(" ; ")
    assert (session.picture, prompts(session), session.version, session.past) == before


@pytest.mark.parametrize(
    ("asked", "action"),
    [
        ("segment", lambda session: session.segment("the cow")),
        ("explain", lambda session: session.explain(0)),
        ("chat", lambda session: list(session.ask("What is it?"))),
    ],
)
def test_a_picture_that_is_put_away_takes_its_answers_along(session, model, monkeypatch, asked, action):
    """The model takes its time, and the page can be used meanwhile."""
    session.open(lakeside(), thumbnail)
    session.segment("the sky")
    ask = getattr(model, asked)

    def slowly(*given: Any) -> Any:
        answer = ask(*given)
        session.close(thumbnail)
        return answer

    monkeypatch.setattr(model, asked, slowly)
    action(session)
    assert (session.picture, session.layers, session.talk, session.explanation) == (None, [], [], None)


def test_a_picture_that_is_put_away_stays_so(nano, monkeypatch):
    """And its prompts are remembered, those that were being looked for, too."""
    models = [Counted(nano), Counted(nano), Counted(nano)]
    models[1].name, models[2].name = "other", "third"
    session = Session(models)
    session.open(lakeside(), thumbnail)
    session.segment("the sky")
    read, found = models[1].open, models[2].segment

    def reads_slowly(image: Any) -> Any:
        session.close(thumbnail)
        return read(image)

    monkeypatch.setattr(models[1], "open", reads_slowly)
    session.use("other")
    assert (session.picture, session.layers, session.model) == (None, [], models[1])
    assert [past.prompts for past in session.past] == [("the sky",)]

    def finds_slowly(*given: Any) -> Any:
        session.close(thumbnail)
        return found(*given)

    monkeypatch.setattr(models[2], "segment", finds_slowly)
    session.use("third")
    session.restore(0, thumbnail)
    assert (session.picture, session.sought) == (None, ())
    assert [past.prompts for past in session.past] == [("the sky",)]


def test_an_answer_is_kept_while_the_same_is_looked_for(session, model, monkeypatch):
    session.open(lakeside(), thumbnail)
    list(session.ask("the red boat"))
    ask = model.segment

    def slowly(*given: Any) -> Any:
        results = ask(*given)
        session.keep(0)
        return results

    monkeypatch.setattr(model, "segment", slowly)
    session.segment("the red boat; the sky")
    assert prompts(session) == ["the red boat", "the sky"]
    monkeypatch.setattr(state, "MOST_LAYERS", 3)
    session.remove(0)
    with pytest.raises(PageError, match="There are 3 masks at most"):
        session.segment("the cow; the tree")
    assert prompts(session) == ["the sky", "the red boat"]


def test_an_answer_does_not_outlive_its_conversation(session, model, monkeypatch):
    session.open(lakeside(), thumbnail)
    ask = model.chat

    def slowly(*given: Any) -> Any:
        answer = ask(*given)
        session.forget_talk()
        return answer

    monkeypatch.setattr(model, "chat", slowly)
    list(session.ask("What is it?"))
    assert session.talk == []


def test_limits_are_those_of_the_library(model):
    session = Session([model], Limits(pixels=1000))
    with pytest.raises(ImageError, match=r"large\.png has 60x40 pixels, more than 1,000: scale it down first"):
        session.open(source(60, 40, "large.png"), thumbnail)


def test_without_a_picture_there_is_nothing_to_ask(session):
    for action in (lambda: session.segment("the sky"), lambda: list(session.ask("What is it?"))):
        with pytest.raises(PageError, match="There is no picture yet"):
            action()


def test_talk_is_that_of_the_segmenter(session, nano):
    session.open(lakeside(), thumbnail)
    pieces = list(session.ask("I would like to cross the lake. Explain."))
    expected = nano.chat(session.picture.image, "I would like to cross the lake. Explain.")
    assert len(pieces) > 1 and pieces == sorted(pieces, key=len) and pieces[-1] == expected.text == session.talk[0].text
    assert np.array_equal(session.talk[0].masks, expected.masks) and len(expected) == 1
    list(session.ask("What colour is it?"))
    assert (
        session.talk[1].text
        == nano.chat(session.picture.image, "What colour is it?", [(expected.prompt, expected.text)]).text
    )
    session.keep(0)
    assert np.array_equal(session.layers[0].result.masks, expected.masks)
    with pytest.raises(PageError, match="on the picture already"):
        session.keep(0)
    session.forget_talk()
    assert session.talk == []


def test_an_error_in_talk_comes_to_who_asked(session, model, monkeypatch):
    session.open(lakeside(), thumbnail)

    def broken(*_: object) -> None:
        raise PromptError("too long: say less")

    monkeypatch.setattr(model, "chat", broken)
    with pytest.raises(PromptError, match="say less"):
        list(session.ask("What is it?"))
    assert session.talk == []


def test_another_model_is_asked_the_same(nano):
    small, other = Counted(nano), Counted(nano)
    other.name = "other"
    session = Session([small, other])
    session.open(lakeside(), thumbnail)
    session.segment("the sky; the cow")
    session.use("other")
    assert (prompts(session), other.passes, session.model) == (["the sky", "the cow"], 1, other)
    with pytest.raises(ValueError, match="no model 'huge' here: nano, other"):
        session.use("huge")


def test_a_model_that_cannot_read_the_picture_is_not_taken(nano, monkeypatch):
    small, other = Counted(nano), Counted(nano)
    other.name = "other"
    session = Session([small, other])
    session.open(lakeside(), thumbnail)
    session.segment("the sky")
    before = (session.model, session.picture, prompts(session), session.version)

    def broken(_: object) -> None:
        raise OSError("out of memory")

    monkeypatch.setattr(other, "open", broken)
    with pytest.raises(OSError, match="out of memory"):
        session.use("other")
    assert (session.model, session.picture, prompts(session), session.version) == before


@pytest.mark.filterwarnings("ignore:nano was not taught")
def test_remarks_on_what_a_model_was_not_taught(session, nano, monkeypatch):
    monkeypatch.setattr(nano, "nouns", TaughtNouns({"boat": []}))
    session.open(lakeside(), thumbnail)
    session.segment("the boat; the zebra")
    assert session.layers[0].remark is None
    assert session.layers[1].remark.startswith("nano was not taught 'the zebra'")


def test_pages_are_bounded(model):
    sessions = Sessions([model], most_bytes=4_000_000)
    first, second = sessions.new(), sessions.new()
    assert first.key != second.key and sessions.get(first.key) is first
    for session in (first, second):
        session.open(lakeside(), thumbnail)
        session.segment("the sky; the cow")
    assert first.nbytes > 2_000_000
    sessions.get(second.key)
    sessions.tidy()  # the first was left alone for longest
    with pytest.raises(PageError, match="reload it"):
        sessions.get(first.key)
    assert sessions.get(second.key) is second
    sessions.drop(second.key)
    assert len(sessions) == 0


def test_all_that_is_large_is_counted(session):
    before = session.nbytes
    session.sent = lakeside()
    assert session.nbytes == before + len(lakeside().content)
    session.sent = None
    session.open(lakeside(), thumbnail)
    before = session.nbytes
    list(session.ask("I would like to cross the lake. Explain."))
    assert session.nbytes == before + 448 * 448 * (1 + 4)  # a mask and its logits
    session.keep(0)
    assert session.nbytes == before + 448 * 448 * (1 + 4)  # the same


def test_models_from_the_library_fit(nano: Segmenter, model):
    assert (model.name, model.size, model.nouns, model.explains) == ("nano", "7 M parameters on cpu", (), True)
