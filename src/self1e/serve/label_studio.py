"""Label Studio's contract for its "ML backends": it sends tasks, and gets masks as regions of its brush or polygons.

It keeps what an answer has for a task, and asks again only for tasks without. So a task that fails has an `error` in
place of a `result`, which Label Studio writes into its log and leaves out; the others are kept.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any
from urllib.parse import urljoin

import httpx2
import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from self1e.segment.contours import mask_to_polygons
from self1e.segment.results import Segmentation
from self1e.serve.brush import brush_rle
from self1e.serve.engine import EngineError
from self1e.serve.fetch import PATIENCE, origin
from self1e.serve.label_config import Ask, Box, ConfigError, Control, asks_of, read_config
from self1e.serve.messages import SegmentJob, SentPicture
from self1e.serve.native import ListOf, check_prompts, unless_gone
from self1e.serve.pictures import looked_at
from self1e.serve.problems import Problem
from self1e.serve.state import State, state_of
from self1e.version import __version__

router = APIRouter(tags=["Label Studio"])
log = logging.getLogger(__name__)

ANSWER_WITHIN = 90.0
"""Seconds for all tasks of a request: Label Studio waits for 100, and then keeps none."""

AT_ONCE = 16
"""Tasks of a request that are fetched and asked about at the same time: the others' pictures are not in memory."""

TOLERANCE = 0.001
"""Share of its length by which an outline may move to spare points, which a person is to drag."""


class Task(BaseModel):
    """A task, with a picture, or several, in its data."""

    id: int | None = None
    data: dict[str, Any]


class Context(BaseModel):
    """What somebody has drawn just now."""

    result: list[Any] = []


class Params(BaseModel):
    """Of a request."""

    context: Context | None = None


class SetupRequest(BaseModel):
    """A project that wants predictions."""

    project: str | int = ""
    schema_: str = Field("", alias="schema", description="Its labelling configuration")


class PredictRequest(BaseModel):
    """Tasks that want predictions."""

    tasks: ListOf[Task]
    label_config: str
    project: str | int = ""
    params: Params | None = None


@router.get("/health")
async def health() -> dict[str, str]:
    """Whether the server runs. Where there are keys it needs one, unlike /healthz: Label Studio tries its own here."""
    return {"status": "UP"}


@router.post("/setup")
async def setup(asked: SetupRequest, request: Request) -> dict[str, str]:
    """Whether a labelling configuration can be served. Does not wait for the model."""
    if asked.schema_:
        _read(asked.schema_, asked.project)
    return {"model_version": _model_version(state_of(request))}


@router.get("/versions")
async def versions(request: Request) -> dict[str, list[str]]:
    """The one that there is."""
    return {"versions": [_model_version(state_of(request))]}


@router.post("/webhook")
async def webhook() -> dict[str, str]:
    """Is told what happens in a project. This model does not learn from it."""
    return {"status": "ignored"}


@router.post("/predict")
async def predict(asked: PredictRequest, request: Request) -> dict[str, Any]:
    """Regions for each task; see `label_config` for what is found."""
    state = state_of(request)
    controls = _read(asked.label_config, asked.project)
    drawn = asked.params.context.result if asked.params and asked.params.context else []
    results = await unless_gone(request, _predictions(state, controls, asked.tasks, drawn))
    if drawn and (why := next((result["error"] for result in results if "error" in result), None)):
        raise Problem(422, why)  # somebody waits for it, and is shown that it failed
    return {"results": results, "model_version": _model_version(state)}


def _model_version(state: State) -> str:
    """Under which Label Studio keeps predictions: with others it asks again."""
    return f"{state.model or 'self1e'} (self1e {__version__})"


def _read(label_config: str, project: str | int) -> list[Control]:
    try:
        return read_config(label_config)
    except ConfigError as error:
        log.warning("project %r: %s", project, _on_one_line(error))
        raise Problem(422, str(error)) from None


def _on_one_line(error: Exception) -> str:
    """For a log: what others wrote must not steer a terminal."""
    return str(error).encode("unicode_escape").decode("ascii")


# --------------------------------------------------------------------------------------------------------- predictions


async def _predictions(
    state: State, controls: Sequence[Control], tasks: Sequence[Task], drawn: Sequence[Any]
) -> list[dict[str, Any]]:
    """A prediction, or an error, for each task."""
    turn, ends = asyncio.Semaphore(AT_ONCE), asyncio.get_running_loop().time() + ANSWER_WITHIN

    async def of_task(task: Task) -> dict[str, Any]:
        try:
            async with asyncio.timeout_at(ends), turn:
                return await _prediction(state, controls, task, drawn)
        except TimeoutError:
            error: Exception = TimeoutError(f"there was no time left for it after {ANSWER_WITHIN:g} s: ask again")
        except (ConfigError, EngineError, Problem) as told:
            error = told
        except Exception as fault:  # whatever it is, the other tasks are done
            log.exception("task %s", task.id)
            error = RuntimeError(f"unexpected {type(fault).__name__}: the server's log has more")
        log.warning("task %s has no prediction: %s", task.id, _on_one_line(error))
        return {"error": str(error)}

    return await asyncio.gather(*map(of_task, tasks))


async def _prediction(state: State, controls: Sequence[Control], task: Task, drawn: Sequence[Any]) -> dict[str, Any]:
    of_picture: defaultdict[str, list[Ask]] = defaultdict(list)
    for ask in await asyncio.to_thread(asks_of, controls, task.data, drawn):
        of_picture[ask.control.key].append(ask)
    found = await asyncio.gather(*(_found(state, task.data, key, asks) for key, asks in of_picture.items()))
    regions = [region for regions in found for region in regions]
    return {
        "result": regions,
        "score": fmean(region["score"] for region in regions) if regions else 0.0,
        "model_version": _model_version(state),
    }


async def _found(state: State, data: Mapping[str, Any], key: str, asks: Sequence[Ask]) -> list[dict[str, Any]]:
    """The regions for prompts about one picture."""
    picture = await _picture(state, data.get(key), key)
    prompts, limits = tuple(dict.fromkeys(ask.prompt for ask in asks)), state.limits
    most = max(1, min(limits.prompts, limits.job_bytes // SegmentJob(picture, prompts[:1]).memory))
    parts = [prompts[start : start + most] for start in range(0, len(prompts), most)]
    for part in parts:
        check_prompts(state, part)
    answers = [await state.engine.answer(SegmentJob(picture, part)) for part in parts]
    return await asyncio.to_thread(_regions, asks, prompts, answers)


def _regions(asks: Sequence[Ask], prompts: Sequence[str], answers: Sequence[bytes]) -> list[dict[str, Any]]:
    results = dict(zip(prompts, (result for answer in answers for result in json.loads(answer)), strict=True))
    return [region for ask in asks for region in regions_of(ask, Segmentation.from_dict(results[ask.prompt]))]


async def _picture(state: State, value: Any, key: str) -> SentPicture:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"the task's data have no picture in {key!r}")
    if value.startswith("data:"):
        return await looked_at(value, state.limits)
    if value.startswith("/"):
        if state.fetcher.trusted is None:
            raise Problem(403, "its picture is in Label Studio: start the server with --label-studio URL")
        value = urljoin(state.fetcher.trusted, value)
    return await looked_at(await state.fetcher.fetch(value), state.limits)


def regions_of(ask: Ask, found: Segmentation) -> list[dict[str, Any]]:
    """What was found for a prompt, as regions: one of the brush, or a polygon for each part."""
    if ask.place is not None:
        found = there(found.instances(), ask.place)
    if not found.found or found.score < ask.control.threshold:
        return []
    width, height = found.size
    kind = ask.control.type
    values: list[dict[str, Any]]
    if kind == "brushlabels":
        values = [{"format": "rle", "rle": brush_rle(found.mask)}]
    else:
        outlines = mask_to_polygons(found.mask, TOLERANCE, relative=True)
        hundredths = [np.reshape(outline, (-1, 2)) / (width, height) * 100 for outline in outlines]
        values = [{"points": points.tolist(), "closed": True} for points in hundredths]
    region = {
        "from_name": ask.control.name,
        "to_name": ask.control.to_name,
        "type": kind,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "score": found.score,
    }
    return [region | {"id": secrets.token_hex(5), "value": value | {kind: [ask.label]}} for value in values]


def there(found: Segmentation, place: Box) -> Segmentation:
    """Of several masks those with a point in them, or with most of their pixels in a rectangle; see `Ask.place`."""
    width, height = found.size
    left, top, right, bottom = (np.array(place) / 100 * (width, height, width, height)).clip(0)
    x, y = min(int(left), width - 1), min(int(top), height - 1)
    rows, columns = slice(y, max(y + 1, round(bottom))), slice(x, max(x + 1, round(right)))
    inside = found.masks[:, rows, columns].sum(axis=(1, 2))
    is_point = (left, top) == (right, bottom)
    return found[inside > 0 if is_point else 2 * inside > found.masks.sum(axis=(1, 2))]


# -------------------------------------------------------------------------------------------------------------- access


class Access:
    """What opens a Label Studio's pictures.

    Args:
        url: Of the Label Studio.
        token: A legacy token, or a personal access token, which opens nothing itself but gives one for five minutes.
    """

    KEPT = 240.0

    def __init__(self, url: str, token: str) -> None:
        self.url, self.token = f"{origin(url)}/api/token/refresh", token
        self.header, self.ends = ("", 0.0) if token.count(".") == 2 else (f"Token {token}", float("inf"))
        self._one_asks = asyncio.Lock()

    async def __call__(self) -> str:
        """The header `Authorization`.

        Raises:
            ValueError: If Label Studio does not know the token.
        """
        async with self._one_asks:
            if time.monotonic() >= self.ends:
                async with httpx2.AsyncClient(trust_env=False, timeout=PATIENCE) as client:
                    answer = await client.post(self.url, json={"refresh": self.token})
                if answer.status_code != 200:
                    raise ValueError(f"Label Studio answers {answer.status_code} to the token in LABEL_STUDIO_API_KEY")
                self.header, self.ends = f"Bearer {answer.json()['access']}", time.monotonic() + self.KEPT
            return self.header
