"""The app: Gradio's page, and beside it the addresses of pictures and downloads.

Pictures go neither through Gradio's files nor onto the disk: the browser sends and fetches their bytes at addresses
that hold the key of its page, which nobody else knows.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from html import escape
from typing import Any
from urllib.parse import quote

import gradio as gr
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import Response

from self1e.serve.guard import Guard, Keys
from self1e.serve.limits import Limits
from self1e.serve.metrics import Metrics
from self1e.serve.problems import Problem, answer_with_problems
from self1e.web import examples, markup, style, views, why
from self1e.web.models import Model
from self1e.web.state import PageError, Session, Sessions, Source

IDLE = 6 * 3600
"""Seconds after which a page that nobody uses is forgotten."""

WAITING = 32
"""Questions that wait for the model."""

SCENES = 100_000
"""How many fresh scenes there are."""

JPEG = "image/jpeg"
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

Handler = Callable[..., Any]


def make_app(
    models: Sequence[Model], *, limits: Limits | None = None, keys: Keys | None = None, host: str = "127.0.0.1"
) -> FastAPI:
    """The web app.

    Args:
        models: What there is to ask; the first one is asked to begin with.
        limits: Of pictures and texts.
        keys: Who may use it; None: all who reach it.
        host: Where it will listen, see `Guard`.
    """
    limits = limits or Limits()
    sessions = Sessions(models, limits)
    app = FastAPI(title="self1e", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.sessions = sessions
    answer_with_problems(app)
    app.include_router(pictures(sessions))
    page = make_page(sessions)
    gr.mount_gradio_app(
        app,
        page,
        path="/",
        theme=style.theme(),
        css=style.css(),
        footer_links=[],
        run_history=False,  # which would keep prompts in the browser
        show_error=True,
        ssr_mode=False,
        max_file_size=1,  # no file goes this way
    )
    app.add_middleware(Guard, keys=keys or Keys([]), limits=limits, host=host, metrics=Metrics())
    return app


# ----------------------------------------------------------------------------------------------- pictures and downloads


def pictures(sessions: Sessions) -> APIRouter:
    """The addresses of bytes."""
    router = APIRouter()

    def of(key: str) -> Session:
        try:
            return sessions.get(key)
        except PageError as error:
            raise Problem(404, str(error)) from None

    async def made(make: Callable[[], bytes], kind: str, **headers: str) -> Response:
        try:
            content = await asyncio.to_thread(make)
        except PageError as error:
            raise Problem(404, str(error)) from None
        return Response(content, media_type=kind, headers=HEADERS | headers)

    @router.post("/pictures/{key}")
    async def send(key: str, request: Request, name: str = "picture") -> dict[str, int]:
        """Takes a picture's file. It is looked at when the page says so."""
        content = await request.body()
        of(key).sent = Source(content, name[-200:])
        return {"bytes": len(content)}

    @router.get("/pictures/{key}/{name}.jpg")
    async def picture(key: str, name: str) -> Response:
        """What is seen of a page."""
        session = of(key)
        return await made(lambda: seen(session, name), JPEG)

    @router.get("/downloads/{key}/{name}")
    async def download(key: str, name: str) -> Response:
        """A file of results."""
        session = of(key)
        if name not in views.DOWNLOADS:
            raise Problem(404, f"there is no download {name!r}: {', '.join(views.DOWNLOADS)}")
        if session.picture is None:
            raise Problem(404, "There is no picture to download anything of.")
        _, _, kind, make = views.DOWNLOADS[name]
        disposition = f"attachment; filename*=UTF-8''{quote(views.file_name(session, name))}"
        return await made(lambda: make(session), kind, **{"Content-Disposition": disposition})

    @router.get("/examples/{file}")
    async def example(file: str) -> Response:
        """A picture to begin with, small."""
        return await made(lambda: examples.thumbnail(file), JPEG)

    return router


def seen(session: Session, name: str) -> bytes:
    """A picture of a page by its name.

    Raises:
        PageError: If there is none.
    """
    kind, _, rest = name.partition("-")
    if name == "original":
        return views.original(session)
    if name == "masks":
        return views.masks(session)
    if kind == "reply" and rest.isdecimal():
        return views.reply(session, int(rest))
    past, explained = session.past, session.explanation  # they may become others meanwhile
    if kind == "past" and rest.isdecimal() and int(rest) < len(past):
        return past[int(rest)].thumbnail
    if kind == "why" and explained and rest in [panel.name for panel in why.panels_of(explained)]:
        return views.jpeg(why.picture_of(explained, rest, session.opened.image, session.looked_at))
    raise PageError(f"There is no picture {name!r}.")


# ------------------------------------------------------------------------------------------------------------ the page


def in_words(handler: Handler) -> Handler:
    """A handler whose errors are told on the page, in a sentence, and are not logged: they may hold prompts.

    They are not raised, or Gradio would write "Error" over all parts of the page.
    """

    @wraps(handler)
    def told(*given: Any, **named: Any) -> Any:
        try:
            return handler(*given, **named)
        except Exception as error:
            _tell(error)
            return gr.skip()

    return told


def _tell(error: Exception) -> None:
    expected = isinstance(error, ValueError | OSError) or type(error).__name__ == "ServerError"
    message = str(error) if expected else f"Unexpected {type(error).__name__}: `self1e doctor` looks for the cause."
    message = message[:1].upper() + message[1:]
    gr.Warning(escape(message), title="That did not work", duration=12)


class Page:
    """What the events of the page do. Each takes the key of its page first, and gives all parts that may have changed.

    Args:
        sessions: All pages.
    """

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions

    def parts(self, session: Session) -> list[Any]:
        """The page as it is: head, stage, hints, legend, talk, why, past."""
        self.sessions.tidy()
        return [
            markup.header(session.model),
            markup.stage(session),
            markup.hints(session),
            markup.legend(session),
            markup.talk(session),
            markup.why(session),
            markup.past(session),
        ]

    def start(self) -> list[Any]:
        """A page was opened."""
        session = self.sessions.new()
        return [session.key, session.model.name, *self.parts(session)]

    def sent(self, key: str) -> list[Any]:
        """A picture has arrived."""
        session = self.sessions.get(key)
        source, session.sent = session.sent, None
        if source is None:
            raise PageError("The picture did not arrive: send it again.")
        session.open(source, views.thumbnail)
        return self.parts(session)

    def refused(self, key: str, event: gr.EventData) -> list[Any]:
        """A picture did not arrive, and the browser knows why."""
        raise PageError(str(event.detail))

    def example(self, key: str, event: gr.EventData) -> list[Any]:
        """An example was chosen; with a model that knows what is in it, if there is one."""
        session = self.sessions.get(key)
        source, of = examples.example(str(event.file))
        self._prefer(session, of.model)
        session.open(source, views.thumbnail)
        return [session.model.name, *self.parts(session)]

    def scene(self, key: str) -> list[Any]:
        """A scene is to be drawn."""
        session = self.sessions.get(key)
        source = examples.scene(random.randrange(SCENES))
        self._prefer(session, examples.SCENE_MODEL)
        session.open(source, views.thumbnail)
        return [session.model.name, *self.parts(session)]

    @staticmethod
    def _prefer(session: Session, name: str) -> None:
        """Takes the model of a name for the next picture, if there is one."""
        if name in [model.name for model in session.models] and name != session.model.name:
            session.close(views.thumbnail)
            session.use(name)

    def use(self, key: str, name: str) -> list[Any]:
        """Another model was chosen."""
        return self._do(key, lambda session: session.use(name))

    def segment(self, key: str, text: str) -> list[Any]:
        """Something is to be found."""
        return ["", *self._do(key, lambda session: session.segment(text))]

    def suggest(self, key: str, event: gr.EventData) -> list[Any]:
        """A suggestion was taken."""
        return self._do(key, lambda session: session.find([str(event.prompt)]))

    def restore(self, key: str, event: gr.EventData) -> list[Any]:
        """A picture of the past was chosen."""
        return self._do(key, lambda session: session.restore(int(event.number), views.thumbnail))

    def close(self, key: str) -> list[Any]:
        """Another picture is wanted."""
        return self._do(key, lambda session: session.close(views.thumbnail))

    def toggle(self, key: str, event: gr.EventData) -> list[Any]:
        """A mask is to be shown, or hidden."""
        return self._do(key, lambda session: session.toggle(int(event.layer)))

    def alone(self, key: str, event: gr.EventData) -> list[Any]:
        """Only one mask is to be shown."""
        return self._do(key, lambda session: session.alone(int(event.layer)))

    def remove(self, key: str, event: gr.EventData) -> list[Any]:
        """A mask is not wanted any more."""
        return self._do(key, lambda session: session.remove(int(event.layer)))

    def clear(self, key: str) -> list[Any]:
        """No mask is."""
        return self._do(key, Session.clear)

    def draw(self, key: str, threshold: float, opacity: float) -> list[Any]:
        """A slider was moved."""
        return self._do(key, lambda session: session.set(threshold, opacity))

    def keep(self, key: str, event: gr.EventData) -> list[Any]:
        """The masks of an answer are to be on the picture."""
        return self._do(key, lambda session: session.keep(int(event.turn)))

    def forget(self, key: str) -> list[Any]:
        """The conversation is to begin anew."""
        return self._do(key, Session.forget_talk)

    def why(self, key: str, event: gr.EventData) -> list[Any]:
        """How does this mask come?"""
        return self._do(key, lambda session: session.explain(int(event.layer)))

    def look(self, key: str, event: gr.EventData) -> list[Any]:
        """What does another layer attend to?"""
        return self._do(key, lambda session: session.look_at(int(event.layer)))

    def _do(self, key: str, action: Callable[[Session], None]) -> list[Any]:
        session = self.sessions.get(key)
        action(session)
        return self.parts(session)

    def ask(self, key: str, question: str) -> Iterator[Any]:
        """A question; the answer is shown as it is written."""
        try:
            session = self.sessions.get(key)
            for written in session.ask(question):
                yield ["", *[gr.skip()] * 4, markup.talk(session, question, written), *[gr.skip()] * 2]
            yield ["", *self.parts(session)]
        except Exception as error:
            _tell(error)
            yield gr.skip()


def make_page(sessions: Sessions) -> gr.Blocks:
    """The page, with what its events do."""
    page = Page(sessions)
    names = [model.name for model in sessions.models]
    with gr.Blocks(title="self1e", analytics_enabled=False, fill_width=True) as blocks:
        key = gr.State(None, time_to_live=IDLE, delete_callback=sessions.drop)
        with gr.Row(elem_id="top"):
            head = _html()
            model = gr.Radio(names, show_label=False, container=False, elem_id="model", visible=len(names) > 1)
        with gr.Row(elem_id="page"):
            with gr.Column(scale=7, min_width=0, elem_id="left"):
                stage = _html(js_on_load=style.stage_script())
                prompt = _line("What to find", "What to find: the cat; the sofa", "Segment", "prompt")
                hints = _html("suggest")
                with gr.Row(elem_id="sliders"):
                    threshold = gr.Slider(0.02, 0.98, 0.5, step=0.01, label="Threshold", elem_id="threshold")
                    opacity = gr.Slider(0, 1, 0.4, step=0.01, label="Opacity", elem_id="opacity")
            with gr.Column(scale=5, min_width=0, elem_id="right"), gr.Tabs():
                with gr.Tab("Masks"):
                    legend = _html("toggle", "alone", "remove", "clear")
                with gr.Tab("Talk"):
                    talk = _html("keep", "forget")
                    question = _line("Question", "Ask about the picture", "Ask", "question")
                with gr.Tab("Why"):
                    steps = _html("why", "look")
                with gr.Tab("History"):
                    past = _html("restore")
        parts = [head, stage, hints, legend, talk, steps, past]

        def at_model(event: Any, handler: Handler, inputs: list[Any], outputs: list[Any], on: Any) -> None:
            """What waits for the model: one page after the other."""
            event(
                handler,
                [key, *inputs],
                [*outputs, *parts],
                concurrency_id="model",
                concurrency_limit=1,
                show_progress_on=[on],
                api_visibility="private",
            )

        def at_once(event: Any, handler: Handler, inputs: list[Any], **how: Any) -> None:
            """What does not wait for the model."""
            event(
                in_words(handler),
                [key, *inputs],
                parts,
                concurrency_limit=None,
                show_progress="hidden",
                api_visibility="private",
                **how,
            )

        blocks.load(page.start, None, [key, model, *parts], show_progress="hidden", api_visibility="private")
        at_model(stage.sent, in_words(page.sent), [], [], stage)
        at_model(stage.example, in_words(page.example), [], [model], stage)
        at_model(stage.scene, in_words(page.scene), [], [model], stage)
        at_model(model.input, in_words(page.use), [model], [], stage)
        at_model(prompt.submit, in_words(page.segment), [prompt], [prompt], stage)
        at_model(hints.suggest, in_words(page.suggest), [], [], stage)
        at_model(past.restore, in_words(page.restore), [], [], stage)
        at_model(question.submit, page.ask, [question], [question], talk)
        at_model(steps.why, in_words(page.why), [], [], steps)
        at_once(stage.refused, page.refused, [])
        at_once(stage.close, page.close, [])
        for name in ("toggle", "alone", "remove", "clear"):
            at_once(getattr(legend, name), getattr(page, name), [])
        for name in ("keep", "forget"):
            at_once(getattr(talk, name), getattr(page, name), [])
        at_once(steps.look, page.look, [])
        for slider in (threshold, opacity):
            at_once(slider.input, page.draw, [threshold, opacity], trigger_mode="always_last")
    blocks.queue(max_size=WAITING)
    return blocks


def _line(label: str, placeholder: str, button: str, name: str) -> gr.Textbox:
    """A line to write in, with a button; `label` is for those who cannot see it."""
    return gr.Textbox(
        label=label,
        placeholder=placeholder,
        submit_btn=button,
        elem_id=name,
        show_label=False,
        container=False,
        max_lines=1,
    )


def _html(*events: str, js_on_load: str | None = None) -> gr.HTML:
    """A part of the page, with the events that it may cause."""
    return gr.HTML("", apply_default_css=False, js_on_load=js_on_load or style.clicks(*events))
