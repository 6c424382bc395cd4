"""The maps of an explanation as pictures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from showing import lakeside, pixels_of

from self1e.web import views, why
from self1e.web.state import PageError
from self1e.web.views import thumbnail

page_app = pytest.importorskip("self1e.web.app", reason="needs gradio: pip install 'self1e[web]'")


def test_signs_and_shares_are_told_by_colours():
    red, blue, pale = why.signed(np.array([[2.0, -2.0, 0.0]], np.float32))[0].astype(int)
    assert red[0] > red[2] + 100 and blue[2] > blue[0] + 100 and np.ptp(pale) == 0
    dark, bright = why.glow(np.array([[0.0, 0.3]], np.float32))[0].astype(int)
    assert dark.sum() < 60 and bright.sum() > 600


def test_each_step_is_a_picture(session, nano):
    session.open(lakeside(), thumbnail)
    session.segment("the red boat; the sky")
    session.explain(0)
    explained = session.explanation
    assert np.array_equal(explained.refilled, nano.explain(session.picture.image, "the red boat").refilled)
    panels = why.panels_of(explained)
    assert [panel.name for panel in panels] == ["attention", "llm", "residual", "uncompressed", "refilled"]
    side = explained.refilled.shape[0]
    assert f"{side} × {side} cells" in panels[-1].meaning
    made = {panel.name: page_app.seen(session, f"why-{panel.name}") for panel in panels}
    assert len(set(made.values())) == 5
    assert all(pixels_of(each).shape == (why.SIDE, why.SIDE, 3) for each in made.values())
    # Where the mask is, the last one speaks for it.
    last = pixels_of(made["refilled"]).astype(int)
    inside = np.asarray(views.Image.fromarray(session.layers[0].result.mask).resize((why.SIDE, why.SIDE)))
    warmth = last[..., 0] - last[..., 2]
    assert warmth[inside].mean() > 15 > 0 > warmth[~inside].mean()


def test_layers_differ(session):
    session.open(lakeside(), thumbnail)
    session.segment("the red boat")
    session.explain(0)
    mean = page_app.seen(session, "why-attention")
    session.look_at(len(session.explanation.attention))
    assert page_app.seen(session, "why-attention") != mean
    with pytest.raises(PageError):
        session.look_at(99)


def test_rungs_without_a_step_have_no_panel(session):
    session.open(lakeside(), thumbnail)
    session.segment("the red boat")
    session.explain(0)
    lower = replace(session.explanation, residual=None, uncompressed=None)
    assert [panel.name for panel in why.panels_of(lower)] == ["attention", "llm", "refilled"]
