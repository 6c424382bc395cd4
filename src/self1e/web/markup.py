"""The parts of the page as HTML. Whatever people or models wrote is escaped here.

Elements say by `data-do` which event of the app a click on them is; see `clicks` in style.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from urllib.parse import quote
from zlib import crc32

import numpy as np

from self1e.conversation import SEG
from self1e.segment.explain import Explanation
from self1e.segment.results import Segmentation
from self1e.web.examples import EXAMPLES
from self1e.web.models import Model, limits_of
from self1e.web.state import Layer, Opened, Session
from self1e.web.views import DOWNLOADS, palette
from self1e.web.why import AGAINST, FOR, panels_of

ICONS = {
    "compare": '<path d="M12 3v18M5 6h4M5 18h4M15 6h4v12h-4M9 6v12H5V6"/>',
    "minus": '<path d="M5 12h14"/>',
    "plus": '<path d="M5 12h14M12 5v14"/>',
    "fit": '<path d="M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5"/>',
    "keys": '<path d="M3 7h18v10H3zM7 11h.01M11 11h.01M15 11h.01M8 14h8"/>',
    "new": '<path d="M4 5h16v14H4zM12 9v6M9 12h6"/>',
    "shown": '<path d="M2 12s4-7 10-7 10 7 10 7-4 7-10 7S2 12 2 12z"/><circle cx="12" cy="12" r="3"/>',
    "hidden": '<path d="M3 3l18 18M10 5.2A9.6 9.6 0 0 1 12 5c6 0 10 7 10 7a17 17 0 0 1-3 3.6M6 7.4A17 17 0 0 0 2 12s4 7'
    ' 10 7a10 10 0 0 0 4-.9"/>',
    "alone": '<circle cx="12" cy="12" r="8"/><circle cx="12" cy="12" r="2.5"/>',
    "remove": '<path d="M6 6l12 12M18 6L6 18"/>',
    "download": '<path d="M12 4v11M7 11l5 5 5-5M5 20h14"/>',
    "picture": '<path d="M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4"/><circle cx="9" cy="9" r="1.3"/>',
}

KEYS = (
    ("/", "say what to find"),
    ("1 … 9", "show or hide a mask"),
    ("Shift 1 … 9", "only this mask"),
    ("B", "hold: without masks"),
    ("C", "compare before and after"),
    ("+ − F", "zoom in, out, fit"),
    ("N", "another picture"),
    ("?", "this list"),
)


def icon(name: str) -> str:
    """A drawing of a line's width, in the colour of the text."""
    return f'<svg class="icon" viewBox="0 0 24 24" aria-hidden="true">{ICONS[name]}</svg>'


def _button(name: str, label: str, **data: object) -> str:
    """A button that is only an icon."""
    label = escape(label)
    return f'<button type="button" class="tool" title="{label}" aria-label="{label}"{_data(data)}>{icon(name)}</button>'


def _data(data: Mapping[str, object]) -> str:
    """Attributes of an element that say what a click on it does."""
    return "".join(f' data-{key}="{escape(str(value))}"' for key, value in data.items())


def header(model: Model) -> str:
    """Which model this is, and what it can do."""
    limits = escape(limits_of(model))
    if model.nouns:
        words = escape(", ".join(model.nouns))
        limits += f" <details><summary>Which {len(model.nouns)} nouns?</summary><p>{words}</p></details>"
    return (
        '<header class="head"><h1>self1e</h1>'
        f'<p class="model"><b>{escape(model.name)}</b> {escape(model.size)}</p>'
        f'<div class="limits">{limits}</div></header>'
    )


# ------------------------------------------------------------------------------------------------------------ the stage


def stage(session: Session) -> str:
    """The picture, or ways to one."""
    inside = _empty(session) if session.picture is None else _stage(session, session.picture)
    facts = f'data-key="{session.key}" data-version="{session.version}"'
    return f'<section class="stage" {facts}>{inside}{_dialogs()}</section>'


def _empty(session: Session) -> str:
    names = [model.name for model in session.models]
    cards = "".join(
        f'<li><button type="button" data-do="example" data-file="{each.file}">'
        f'<img src="examples/{each.file}" alt="" width="120" height="90"><span>{each.prompts[0]}</span></button></li>'
        for each in EXAMPLES
        if each.model in names or each.model == "mini"
    )
    scenes = '<button type="button" class="plain" data-do="scene">Draw a scene</button>' if "nano" in names else ""
    return (
        f'<div class="drop">{icon("picture")}<h2>Show it a picture</h2>'
        "<p>Drop one here, paste it, or choose.</p>"
        '<div class="ways"><label class="plain strong"><input type="file" class="file" '
        'accept="image/*,.heic,.heif" aria-label="Choose a picture">Choose a picture</label>'
        f'<button type="button" class="plain" data-tool="camera">Camera</button>{scenes}</div>'
        f'<ul class="examples" aria-label="Examples">{cards}</ul></div>'
    )


def _stage(session: Session, picture: Opened) -> str:
    width, height = picture.image.size
    base, file = f"pictures/{quote(session.key)}", escape(picture.source.name)
    names = ", ".join(layer.prompt for layer in session.shown)
    label = f"{file}: {escape(names)}" if names else file
    timing = f"read in {picture.seconds:.2f} s"
    if session.seconds:
        timing += f" · masks in {session.seconds:.2f} s"
    tools = "".join(
        (
            _button("compare", "Compare before and after (C)", tool="compare"),
            _button("minus", "Zoom out (−)", tool="out"),
            _button("fit", "Fit (F)", tool="fit"),
            _button("plus", "Zoom in (+)", tool="in"),
            _button("keys", "Keyboard (?)", tool="keys"),
            _button("new", "Another picture (N)", do="close"),
        )
    )
    return (
        f'<div class="viewport" style="--ratio: {width / height:.5f}"><div class="pane">'
        f'<img class="before" src="{base}/original.jpg?{picture.source.stamp}" alt="{file}" draggable="false">'
        f'<img class="after" src="{base}/masks.jpg?{session.version}" alt="{label}" draggable="false"></div>'
        '<i class="line"></i><input type="range" class="split" min="0" max="100" value="50" '
        'aria-label="Before and after"></div>'
        f'<div class="bar"><p><b>{file}</b> {width} × {height}'
        f'<span class="timing">{timing}</span></p><div class="tools">{tools}</div></div>'
    )


def _dialogs() -> str:
    keys = "".join(f"<dt>{key}</dt><dd>{what}</dd>" for key, what in KEYS)
    return (
        '<dialog class="camera"><video autoplay playsinline muted></video><div class="ways">'
        '<button type="button" class="plain strong" data-tool="shoot">Take the picture</button>'
        '<button type="button" class="plain" data-tool="dismiss">Close</button></div></dialog>'
        f'<dialog class="keys"><h2>Keyboard</h2><dl>{keys}</dl>'
        '<button type="button" class="plain" data-tool="dismiss">Close</button></dialog>'
    )


def hints(session: Session) -> str:
    """What one could ask, as long as it was not asked."""
    if session.picture is None:
        return ""
    asked = [layer.prompt for layer in session.layers]
    left = [each for each in session.picture.source.suggestions if each not in asked]
    chips = "".join(_chip(each, do="suggest", prompt=each) for each in left)
    return f'<div class="hints"><span>Try</span>{chips}</div>' if chips else ""


# ----------------------------------------------------------------------------------------------------------- the panels


def legend(session: Session) -> str:
    """What was asked: a row each, and what can be downloaded."""
    if not session.layers:
        return _nothing("What you ask for stands here, a colour each.", "Several at once: “the cat; the sofa”.")
    rows = "".join(_row(session, number, layer) for number, layer in enumerate(session.layers))
    forms = "".join(
        f'<a href="downloads/{quote(session.key)}/{name}?{session.version}" download title="Download: {title}">'
        f"{icon('download')}{title}</a>"
        for name, (title, *_) in DOWNLOADS.items()
    )
    return (
        f'<ul class="legend">{rows}</ul>'
        f'<div class="downloads" aria-label="Download what is shown">{forms}</div>'
        '<button type="button" class="quiet" data-do="clear">Remove all</button>'
    )


def _row(session: Session, number: int, layer: Layer) -> str:
    result = layer.at(session.threshold)
    share = 100 * result.area / result.mask.size
    on = layer in session.shown
    facts = f"{share:.1f} % of the picture" if result.found else f"not found, sure of that: {result.score:.2f}"
    score = (
        f'<span class="score" style="--score: {result.score:.3f}" title="The overlap (IoU) to expect, from 0 to 1">'
        f"<i></i>{result.score:.2f}</span>"
        if result.found
        else ""
    )
    remark = f'<p class="remark">{escape(_sentence(layer.remark))}</p>' if layer.remark else ""
    eye = _button("shown" if on else "hidden", f"{'Hide' if on else 'Show'} {layer.prompt}", do="toggle", layer=number)
    alone = _button("alone", f"Only {layer.prompt}", do="alone", layer=number)
    remove = _button("remove", f"Remove {layer.prompt}", do="remove", layer=number)
    states = {"off": not on, "lost": not result.found, "solo": layer is session.solo}
    classes = " ".join(name for name, holds in states.items() if holds)
    return (
        f'<li class="{classes}" style="--colour: rgb{palette(layer.colour)}" data-found="{str(result.found).lower()}" '
        f'data-area="{result.area}">'
        f'<span class="swatch" title="{number + 1}"></span><div class="what"><b>{escape(layer.prompt)}</b>'
        f'<span class="facts"><span>{facts}</span></span>'
        f"{score}{remark}</div>"
        f'<span class="tools">{eye}{alone}{remove}</span></li>'
    )


def _sentence(text: str) -> str:
    """What is worth saying of a remark on a page: its first part."""
    return text.partition(". `self1e info")[0] + "."


def talk(session: Session, asked: str = "", written: str = "") -> str:
    """What was said about the picture.

    Args:
        session: Of the page.
        asked: A question that is being answered.
        written: As far as that is.
    """
    turns = "".join(_turn(session, number, reply) for number, reply in enumerate(session.talk))
    if asked:
        turns += f'<p class="me">{escape(asked)}</p><p class="it">{_answer(written)}<i class="cursor"></i></p>'
    if not turns:
        return _nothing("Ask about the picture, in whole sentences.", "“Where is the cat?” is answered with a mask.")
    forget = '<button type="button" class="quiet" data-do="forget">Begin anew</button>' if session.talk else ""
    return f'<div class="talk" aria-live="polite">{turns}</div>{forget}'


def _turn(session: Session, number: int, reply: Segmentation) -> str:
    shown = ""
    if len(reply):
        stamp = crc32(f"{session.opened.source.stamp} {reply.model} {reply.prompt}".encode())
        score = f"score {reply.score:.2f}" if reply.found else "nothing found"
        shown = (
            f'<button type="button" class="answer" data-do="keep" data-turn="{number}" title="Put it on the picture">'
            f'<img src="pictures/{quote(session.key)}/reply-{number}.jpg?{stamp}" alt="Masks of the answer">'
            f"<span>{len(reply)} mask{'' if len(reply) == 1 else 's'}, {score} · put on the picture</span></button>"
        )
    return f'<p class="me">{escape(reply.prompt)}</p><p class="it">{_answer(reply.text)}</p>{shown}'


def _answer(text: str) -> str:
    """An answer with a dot of its mask's colour for each [SEG]."""
    first, *parts = text.split(SEG)
    said = escape(first)
    for colour, part in enumerate(parts):
        said += f'<i class="seg" style="--colour: rgb{palette(colour)}" title="[SEG]">[SEG]</i>{escape(part)}'
    return said.strip() or "…"


def why(session: Session) -> str:
    """The method at work on one prompt."""
    if not session.layers or not session.model.explains:
        return _nothing(
            "How does a language model draw a mask, without a mask decoder?",
            "Segment something, and see every step of the method on your picture."
            if session.model.explains
            else "A server does not tell: start self1e web without --server.",
        )
    explained = session.explanation
    chosen = "" if explained is None else explained.prompt
    asked = "".join(
        _chip(layer.prompt, layer.prompt == chosen, do="why", layer=number)
        for number, layer in enumerate(session.layers)
    )
    lead = f'<div class="hints"><span>How it comes to the mask of</span>{asked}</div>'
    return lead if explained is None else lead + _steps(session, explained)


def _steps(session: Session, explanation: Explanation) -> str:
    base = f"pictures/{quote(session.key)}"
    stamp = f"{session.opened.source.stamp}-{crc32(explanation.refilled.tobytes())}"
    cards = ""
    for number, panel in enumerate(panels_of(explanation), start=1):
        title, layers, version = escape(panel.title), "", stamp
        if panel.name == "attention":
            layers = _layers(len(explanation.attention), session.looked_at)
            version += f"-{session.looked_at}"
        cards += (
            f'<figure><img src="{base}/why-{panel.name}.jpg?{version}" alt="{title}">'
            f"<figcaption><h3>{number}. {title}</h3>"
            f"<code>{escape(panel.formula)}</code><p>{escape(panel.meaning)}</p>{layers}</figcaption></figure>"
        )
    withheld = any(np.any(each.result.withheld) for each in session.layers if each.prompt == explanation.prompt)
    told = '<p class="remark">The mask is withheld: its score is too low for one to trust it.</p>'
    return (told if withheld else "") + (
        f'<div class="why">{cards}</div><p class="key"><i style="--colour: rgb{AGAINST}"></i>speaks against the mask '
        f'<i style="--colour: rgb{FOR}"></i>speaks for it</p>'
    )


def _layers(count: int, looked_at: int) -> str:
    names = ["mean", *map(str, range(1, count + 1))]
    chips = "".join(_chip(name, number == looked_at, do="look", layer=number) for number, name in enumerate(names))
    return f'<div class="layers" aria-label="Layer of the language model">{chips}</div>'


def _chip(text: str, chosen: bool = False, **data: object) -> str:
    pressed = str(chosen).lower()
    return f'<button type="button" class="chip" aria-pressed="{pressed}"{_data(data)}>{escape(text)}</button>'


def past(session: Session) -> str:
    """Earlier pictures."""
    if not session.past:
        return _nothing("Earlier pictures stand here, until you close the page.")
    cards = "".join(
        f'<li><button type="button" data-do="restore" data-number="{number}">'
        f'<img src="pictures/{quote(session.key)}/past-{number}.jpg?{crc32(one.thumbnail)}" alt="">'
        f"<span><b>{escape(one.source.name)}</b>{escape('; '.join(one.prompts))}</span></button></li>"
        for number, one in enumerate(session.past)
    )
    return f'<ul class="past">{cards}</ul>'


def _nothing(*lines: str) -> str:
    return f'<div class="nothing">{"".join(f"<p>{line}</p>" for line in lines)}</div>'
