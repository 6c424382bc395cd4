"""The parts of the page as HTML: what is said in them, and that words of people and models stay words."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from showing import lakeside, source

from self1e.segment.calibration import Calibration
from self1e.web import examples, markup
from self1e.web.models import limits_of
from self1e.web.state import PageError, Session, Source
from self1e.web.views import thumbnail, together

HOSTILE = "<img src=x onerror=alert(1)>\"'`${alert(2)}`{{x}}&"


class Tags(HTMLParser):
    """Which elements there are, with their attributes; and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data

    def doing(self, event: str) -> list[dict[str, str | None]]:
        return [attributes for _, attributes in self.found if attributes.get("data-do") == event]


def everything(session: Session) -> str:
    parts = (markup.stage, markup.hints, markup.legend, markup.talk, markup.why, markup.past)
    return markup.header(session.model) + "".join(part(session) for part in parts)


def test_words_of_others_stay_words(session):
    session.open(Source(lakeside().content, HOSTILE, (HOSTILE,)), thumbnail)
    session.find([HOSTILE])
    session.explain(0)
    list(session.ask(HOSTILE))
    html = everything(session) + markup.talk(session, HOSTILE, HOSTILE)
    session.open(source(60, 40), thumbnail)
    tags = Tags(html + markup.past(session))
    assert not [each for each in tags.found if any(name.startswith("on") for name in each[1])]
    assert not [attributes for tag, attributes in tags.found if tag == "img" and attributes["src"] == "x"]
    assert tags.text.count(HOSTILE) >= 6  # name, prompt, question twice, answer as it is written, history


def test_all_pictures_and_links_are_the_app_s(session):
    session.open(lakeside(), thumbnail)
    session.segment("the red boat; the bus")
    session.explain(0)
    list(session.ask("I would like to cross the lake."))
    tags = Tags(everything(session) + markup.stage(Session(session.models)))
    addresses = [value for _, each in tags.found for name, value in each.items() if name in ("src", "href")]
    assert addresses and all(re.match(r"(pictures|downloads|examples)/", each or "") for each in addresses)


def test_the_legend_says_what_was_found(session):
    session.open(lakeside(), thumbnail)
    session.segment("the red boat; the bus")
    tags = Tags(markup.legend(session))
    boat, bus = (each for tag, each in tags.found if tag == "li")
    result = session.layers[0].result
    assert (boat["data-found"], boat["data-area"]) == ("true", str(result.area))
    assert (bus["data-found"], bus["data-area"]) == ("false", "0")
    assert f"{100 * result.area / 448**2:.1f} % of the picture" in tags.text and f"{result.score:.2f}" in tags.text
    assert f"not found, sure of that: {session.layers[1].result.score:.2f}" in tags.text
    assert [each["aria-label"] for each in tags.doing("toggle")] == ["Hide the red boat", "Hide the bus"]
    session.set(0.9, 0.4)
    fewer = Tags(markup.legend(session)).found[1][1]["data-area"]
    assert int(fewer or 0) == result.at(0.9).area < result.area
    session.alone(1)
    assert [each["aria-label"] for each in Tags(markup.legend(session)).doing("toggle")] == [
        "Show the red boat",
        "Hide the bus",
    ]


def test_a_mask_that_is_withheld_is_not_shown(session, nano, monkeypatch):
    """Wherever the slider stands; and that its map looks as if there were one is said."""
    session.open(lakeside(), thumbnail)
    session.segment("the red boat")
    session.explain(0)
    assert "withheld" not in markup.why(session)
    session.clear()
    monkeypatch.setattr(nano, "calibration", Calibration(least=1.0, withheld=0.9))
    session.segment("the red boat")
    session.set(0.1, 0.4)
    assert "not found, sure of that: 0.90" in Tags(markup.legend(session)).text
    assert not together(session.opened.image, session.shown, session.threshold).mask.any()
    assert "The mask is withheld" in Tags(markup.why(session)).text


def test_suggestions_go_once_they_were_asked(session):
    session.open(lakeside(), thumbnail)
    assert [each["data-prompt"] for each in Tags(markup.hints(session)).doing("suggest")] == ["the red boat"]
    session.segment("the red boat")
    assert markup.hints(session) == ""


def test_answers_have_a_mark_for_each_mask(session):
    session.open(lakeside(), thumbnail)
    list(session.ask("I would like to cross the lake. Explain."))
    tags = Tags(markup.talk(session))
    assert len([1 for _, each in tags.found if each.get("class") == "seg"]) == 1
    assert len(tags.doing("keep")) == 1 and "1 mask, score" in tags.text
    list(session.ask("What colour is the boat?"))
    assert len(Tags(markup.talk(session)).doing("keep")) == len([1 for each in session.talk if len(each)])


def addresses(html: str, name: str) -> list[str]:
    return [
        address for _, each in Tags(html).found if (address := each.get("src") or "").partition("?")[0].endswith(name)
    ]


def test_answers_about_another_picture_have_other_addresses(session):
    """Or a browser might show the answer that it has."""
    question, seen = "I would like to cross the lake. Explain.", []
    for given in (lakeside(), Source(lakeside().content + b" ", "again.png")):
        session.open(given, thumbnail)
        list(session.ask(question))
        seen += addresses(markup.talk(session), "reply-0.jpg")
    assert len(set(seen)) == 2


def test_sliders_leave_the_maps_alone(session):
    """They would be drawn again at each step."""
    session.open(lakeside(), thumbnail)
    session.segment("the red boat; the sky")
    session.explain(0)
    before = addresses(markup.why(session), ".jpg")
    session.set(0.9, 0.4)
    assert addresses(markup.why(session), ".jpg") == before and len(set(before)) == 5
    session.look_at(1)
    looked = addresses(markup.why(session), ".jpg")
    assert looked[0] != before[0] and looked[1:] == before[1:]
    session.explain(1)
    assert not {*addresses(markup.why(session), ".jpg")} & {*looked}


def test_limits_are_told(session, model):
    assert limits_of(model) in markup.header(model)
    model.nouns = ("boat", "tree")
    assert "Which 2 nouns?" in markup.header(model) and "boat, tree" in markup.header(model)


def test_a_server_tells_no_why(session, model):
    session.open(lakeside(), thumbnail)
    session.segment("the red boat")
    assert Tags(markup.why(session)).doing("why")
    model.explains = False
    assert "without --server" in markup.why(session)


@pytest.mark.parametrize("each", examples.EXAMPLES, ids=lambda each: each.file)
def test_examples_are_the_repository_s(each):
    from showing import PICTURES

    found, of = examples.example(each.file)
    assert found.content == (PICTURES / each.file).read_bytes() and of is each
    assert len(examples.thumbnail(each.file)) < 60_000


def test_there_is_no_example_elsewhere():
    with pytest.raises(PageError, match="no example"):
        examples.example("../mini/config.json")


def test_scenes_are_drawn_from_numbers(session):
    one, again, other = examples.scene(7), examples.scene(7), examples.scene(8)
    assert one == again and one.content != other.content
    assert one.suggestions and one.name.startswith("toyland-")
    session.open(one, thumbnail)
    session.find(list(one.suggestions))
    assert any(layer.result.found for layer in session.layers)
