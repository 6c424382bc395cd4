"""How the page looks, and what the browser does by itself: Gradio's default theme with fonts of its own, two files."""

from __future__ import annotations

import json
from pathlib import Path

import gradio as gr

FOLDER = Path(__file__).parent

STAGE_EVENTS = ("sent", "refused", "example", "scene", "close")
"""What happens on the stage; page.js says when."""


def theme() -> gr.themes.Base:
    """Quiet: one blue, greys, and letters that come with Gradio, not from elsewhere."""
    return gr.themes.Default(
        primary_hue=gr.themes.colors.blue,
        neutral_hue=gr.themes.colors.gray,
        # Of its semibold, Gradio brings some letters only.
        font=(gr.themes.LocalFont("Source Sans Pro", weights=(400, 700)), "ui-sans-serif", "system-ui", "sans-serif"),
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        block_border_width="0px",
        block_shadow="none",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
    )


def css() -> str:
    """All rules of the page."""
    return (FOLDER / "page.css").read_text("utf-8")


def stage_script() -> str:
    """What runs when the stage is on the page."""
    return f"const EVENTS = {json.dumps(STAGE_EVENTS)};\n{(FOLDER / 'page.js').read_text('utf-8')}"


def clicks(*events: str) -> str:
    """What runs when a part of the page is there: a click on an element with `data-do` is the event of that name."""
    return (
        f"const known = {json.dumps(events)};"
        "element.addEventListener('click', (click) => {"
        "const found = click.target.closest('[data-do]');"
        "if (found && known.includes(found.dataset.do)) trigger(found.dataset.do, {...found.dataset}); });"
    )
