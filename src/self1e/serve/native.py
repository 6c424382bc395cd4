"""Our own API, `/api/v1`: models, segment, chat, images. JSON, or the picture's file with fields in a form."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import aclosing
from time import perf_counter
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.datastructures import UploadFile

from self1e.conversation import Turn
from self1e.processing.prompts import Template
from self1e.serve.engine import EngineError
from self1e.serve.messages import Answer, ChatJob, Form, Forms, ImageJob, SegmentJob, SentPicture, Text
from self1e.serve.pictures import looked_at
from self1e.serve.problems import GONE, MEDIA_TYPE, Problem, in_words
from self1e.serve.state import State, state_of

router = APIRouter(prefix="/api/v1", tags=["self1e"])
T = TypeVar("T")
# One error is told: of a list of a million there would be a million. As many tasks of Label Studio have 20 MB.
ListOf = Annotated[list[T], Field(fail_fast=True, max_length=20_000)]

PNG = "iVBORw0KGgo..."


class About(BaseModel):
    """A picture: its file, its id, or its address."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image: str | None = Field(None, description="The file's bytes in base64, also as a data URL", examples=[PNG])
    image_id: str | None = Field(None, description="Of a picture that was sent to /images")
    image_url: str | None = Field(None, description="https address, of a host that the server may fetch from")


class Asking(About):
    """A question about a picture, and how its masks are wanted."""

    masks: ListOf[Form] = Field(["rle"], description="Forms of each mask")
    threshold: Annotated[float, Field(gt=0, lt=1)] = Field(0.5, description="Probability of pixels in a mask")
    instances: bool = Field(False, description="Each connected part is a mask of its own")
    tolerance: float = Field(0.0, ge=0, le=100, description="Pixels that polygons may move to spare corners")
    timeout: float | None = Field(None, gt=0, description="Seconds after which the answer is of no use any more")

    @property
    def forms(self) -> Forms:
        """The same for the model."""
        return Forms(frozenset(self.masks), self.instances, self.threshold, self.tolerance)


class SegmentRequest(Asking):
    """Masks for prompts."""

    prompt: str | ListOf[str] = Field(description="A phrase or a sentence, or several", examples=["the cat"])
    template: Template = "auto"

    @property
    def prompts(self) -> tuple[str, ...]:
        """As many as there are."""
        return (self.prompt,) if isinstance(self.prompt, str) else tuple(self.prompt)


class ChatRequest(Asking):
    """A question, answered in words and with masks."""

    question: str = Field(examples=["What could I ride?"])
    history: ListOf[tuple[str, str]] = Field([], description="Questions and answers before")
    max_new_tokens: int = Field(128, ge=1)
    temperature: float = Field(0.0, ge=0, le=10)
    seed: int | None = Field(None, ge=0, lt=2**63, description="Makes a temperature above 0 repeatable")
    stream: bool = Field(True, description="Answer as it is written, as server-sent events; else all at once")

    @model_validator(mode="before")
    @classmethod
    def _read_history(cls, given: Any) -> Any:
        """In a form the history is JSON."""
        if isinstance(given, dict) and isinstance(given.get("history"), str):
            try:
                return given | {"history": json.loads(given["history"])}
            except json.JSONDecodeError as error:
                raise ValueError(f"history: no JSON ({error})") from None
        return given


class Mask(BaseModel):
    """One mask. `box` is (x0, y0, x1, y1) in pixels, x1 and y1 exclusive."""

    score: float
    area: int
    box: list[int] | None
    withheld: bool = Field(False, description="Empty because the model does not trust what it marked")
    rle: dict[str, Any] | None = Field(None, description="COCO run lengths")
    polygons: list[list[int]] | None = Field(None, description="[x0, y0, x1, y1, ...] along the edges of pixels")
    png: str | None = Field(None, description="base64 of a grey picture, 255 inside")


class Result(BaseModel):
    """The answer to one prompt, as `self1e segment --format json` prints it."""

    format: int
    prompt: str
    text: str
    model: str
    width: int
    height: int
    found: bool
    min_area: int
    score: float
    area: int
    box: list[int] | None
    masks: list[Mask]
    remark: str | None = Field(None, description="What a small model says of a prompt that it was not taught")
    logits: dict[str, Any] | None = Field(None, description="float16[K, H, W], little-endian, in base64")


class SegmentAnswer(BaseModel):
    """Results in the order of the prompts."""

    image_id: str
    results: list[Result]
    seconds: float


class ImageAnswer(BaseModel):
    """A picture that is kept, as long as there is room."""

    image_id: str
    width: int
    height: int


# ----------------------------------------------------------------------------------------------------------- addresses


def _body(model: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """What OpenAPI says of a body that may be JSON or a form."""
    schema = model.model_json_schema()
    properties = schema["properties"] | {"image": {"type": "string", "format": "binary", "description": "The file"}}
    form = schema | {"properties": {name: of for name, of in properties.items() if name not in ("image_url",)}}
    content = {
        "application/json": {"schema": schema, "example": {"image": PNG} | example},
        "multipart/form-data": {"schema": form},
    }
    return {"requestBody": {"required": True, "content": content}}


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"description": why, "content": {MEDIA_TYPE: {}}}
    for status, why in {
        401: "A key is needed",
        404: "The image is not kept (any more)",
        408: "The request came too slowly",
        413: "Too many bytes, pixels or prompts",
        414: "A text is too long",
        422: "The picture, a prompt or an option cannot be used",
        429: "Too many wait; try again after Retry-After seconds",
        503: "Not done in time, or no model (yet)",
    }.items()
}


@router.get("/models")
async def models(request: Request) -> dict[str, Any]:
    """The model that is served, and the limits of requests."""
    state = state_of(request)
    if not state.engine.facts:
        raise Problem(503, state.engine.failed or "the model is loading")
    return {"models": [state.engine.facts], "limits": vars(state.limits)}


@router.post(
    "/segment",
    response_model=SegmentAnswer,
    responses=PROBLEMS,
    openapi_extra=_body(SegmentRequest, {"prompt": ["the cat", "the sofa"], "masks": ["polygons"]}),
)
async def segment(request: Request) -> Any:
    """One mask for each prompt. One picture, any number of prompts: they cost little more than one."""
    start, state = perf_counter(), state_of(request)
    asked, content = await _read(request, SegmentRequest)
    check_prompts(state, asked.prompts)
    picture = await _picture(state, asked, content)
    job = SegmentJob(picture, asked.prompts, asked.template, asked.forms)
    results = await unless_gone(request, state.engine.answer(job, asked.timeout))
    whole = b'{"image_id": "%b", "results": %b, "seconds": %.4f}' % (
        picture.key.encode(),
        results,
        perf_counter() - start,
    )
    return Response(whole, media_type="application/json")


@router.post(
    "/chat",
    response_model=Result,
    responses=PROBLEMS | {200: {"content": {"text/event-stream": {}}}},
    openapi_extra=_body(ChatRequest, {"question": "What could I ride?"}),
)
async def chat(request: Request) -> Any:
    """An answer in words, with a mask for each [SEG] in it.

    As events: `text` with the next piece {"text"}, at last `result`, or `problem` if it breaks off.
    """
    state = state_of(request)
    asked, content = await _read(request, ChatRequest)
    check_prompts(state, [asked.question])
    _check_history(state, asked.history)
    if asked.max_new_tokens > state.limits.tokens:
        raise Problem(422, f"max_new_tokens: at most {state.limits.tokens}, not {asked.max_new_tokens}")
    picture = await _picture(state, asked, content)
    job = ChatJob(
        picture,
        asked.question,
        tuple(Turn(*turn) for turn in asked.history),
        asked.max_new_tokens,
        asked.temperature,
        asked.seed,
        asked.forms,
    )
    if not asked.stream:
        result = await unless_gone(request, state.engine.answer(job, asked.timeout))
        return Response(result, media_type="application/json")
    told = state.engine.answers(job, asked.timeout)
    first = await unless_gone(request, anext(told))  # what is wrong from the start has a status of its own
    return StreamingResponse(
        _events(first, told), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
    )


async def _events(first: Text | Answer, rest: AsyncGenerator[Text | Answer, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(rest):
        try:
            yield _event(first)
            async for told in rest:
                yield _event(told)
        except EngineError as error:
            yield b"event: problem\ndata: %b\n\n" % json.dumps(Problem.of(error).body).encode()


def _event(told: Text | Answer) -> bytes:
    if isinstance(told, Text):
        return b"event: text\ndata: %b\n\n" % json.dumps({"text": told.piece}).encode()
    return b"event: result\ndata: %b\n\n" % told.value


@router.post(
    "/images",
    response_model=ImageAnswer,
    responses=PROBLEMS,
    openapi_extra=_body(About, {}),
)
async def images(request: Request) -> Any:
    """Keeps a picture: questions by its `image_id` send no bytes, and cost only their words."""
    state = state_of(request)
    asked, content = await _read(request, About)
    picture = await _picture(state, asked, content)
    size = await unless_gone(request, state.engine.answer(ImageJob(picture)))
    state.kept.put(picture)
    return {"image_id": picture.key, **size}


# ------------------------------------------------------------------------------------------------------ what was asked

AboutT = TypeVar("AboutT", bound=About)


async def _read(request: Request, model: type[AboutT]) -> tuple[AboutT, bytes | None]:
    """The body, as JSON or as a form, and the picture's file of a form."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    content = None
    if kind == "application/json":
        try:
            given = json.loads(await request.body())
        except (ValueError, RecursionError) as error:
            raise Problem(422, f"the body is no JSON: {error}") from None
    elif kind in ("multipart/form-data", "application/x-www-form-urlencoded"):
        async with request.form(max_files=1, max_fields=200) as form:
            given = {}
            for name in form:
                values = form.getlist(name)
                if isinstance(values[0], UploadFile):
                    if name != "image":
                        raise Problem(422, f"{name}: the file belongs into the field 'image'")
                    content = await values[0].read()
                elif name == "masks":
                    given[name] = [part for value in values for part in str(value).split(",")]
                else:
                    given[name] = values if len(values) > 1 else values[0]
    else:
        raise Problem(415, f"the body is {kind or 'of no type'}: send application/json or multipart/form-data")
    if isinstance(given, dict) and len(given) > len(model.model_fields):  # pydantic would tell each that is too many
        raise Problem(422, f"the body has {len(given)} fields, and there are {', '.join(model.model_fields)} only")
    try:
        return model.model_validate(given), content
    except ValidationError as error:
        raise Problem(422, in_words(error.errors())) from None


async def _picture(state: State, asked: About, content: bytes | None) -> SentPicture:
    """The picture of a request."""
    ways = [asked.image, asked.image_id, asked.image_url, content]
    if sum(way is not None for way in ways) != 1:
        raise Problem(422, "give the picture in one way: image (its file), image_id, or image_url")
    if asked.image_id is not None:
        return state.kept.get(asked.image_id)
    if asked.image_url is not None:
        content = await state.fetcher.fetch(asked.image_url)
    file = content if asked.image is None else asked.image
    assert file is not None
    return await looked_at(file, state.limits)


def check_prompts(state: State, prompts: Sequence[str]) -> None:
    """Raises a Problem if there are too many prompts, too long ones, or such as are no text."""
    limits = state.limits
    if not prompts:
        raise Problem(422, "prompt: there is none")
    if len(prompts) > limits.prompts:
        raise Problem(413, f"prompt: {len(prompts)} are more than {limits.prompts}: ask in several requests")
    longest = max(map(len, prompts))
    if longest > limits.letters:
        raise Problem(414, f"a text of {longest:,} letters is too long: at most {limits.letters:,}")
    _check_letters("prompt", prompts)


def _check_history(state: State, history: Sequence[tuple[str, str]]) -> None:
    limits = state.limits
    if len(history) > limits.prompts:
        raise Problem(413, f"history: {len(history)} turns are more than {limits.prompts}: send the last ones")
    letters = sum(len(text) for turn in history for text in turn)
    if letters > 10 * limits.letters:
        raise Problem(414, f"history: {letters:,} letters are more than {10 * limits.letters:,}: send the last turns")
    _check_letters("history", [text for turn in history for text in turn])


def _check_letters(name: str, texts: Sequence[str]) -> None:
    try:
        "".join(texts).encode()
    except UnicodeEncodeError as error:
        half = error.object[error.start : error.end]
        raise Problem(422, f"{name}: {half!a} is half of a character: send texts in UTF-8") from None


async def unless_gone(request: Request, work: Awaitable[T]) -> T:
    """What some work gives. It is cancelled when the one who asked goes away."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise Problem(GONE, "the one who asked is gone")
    finally:
        for each in (task, gone):
            each.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
