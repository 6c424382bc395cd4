"""What X-AnyLabeling asks of a remote server (CVHub520/X-AnyLabeling-Server): its window becomes one of ours."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from self1e.data.forms.shapes import shapes_of
from self1e.segment.results import Segmentation
from self1e.serve.messages import SegmentJob
from self1e.serve.native import PROBLEMS, check_prompts, unless_gone
from self1e.serve.pictures import looked_at
from self1e.serve.problems import Problem
from self1e.serve.state import State, state_of
from self1e.serve.typed import prompts_of

router = APIRouter(prefix="/v1", tags=["X-AnyLabeling"])

WIDGETS = [
    {"name": "edit_text", "value": None, "placeholder": "cat, dog    or    the dog on the left; the red car"},
    {"name": "button_send", "value": None},
    {"name": "input_conf", "value": None},
    {"name": "edit_conf", "value": 0.0},
    {"name": "mask_fineness_slider", "value": 10},  # 0.001
    {"name": "mask_fineness_value_label", "value": None},
    # What is there already is somebody's work: it goes only when that is asked for.
    {"name": "toggle_preserve_existing_annotations", "value": True},
]


class Params(BaseModel):
    """How it is asked. What else X-AnyLabeling sends does not concern text."""

    text_prompt: str = Field("", description="One prompt or several: 'cat, dog'")
    conf_threshold: float = Field(0.0, ge=0, le=1, description="Least score of a mask")
    epsilon_factor: float = Field(
        0.0, ge=0, le=1, description="How far outlines may move to spare points, as a share of their length"
    )


class PredictRequest(BaseModel):
    """A picture and what to find in it."""

    model: Annotated[str, Field(description="As /v1/models calls it")]
    image: Annotated[str, Field(description="The file's bytes in base64, also as a data URL")]
    params: Params = Params()


@router.get("/models")
async def models(request: Request) -> dict[str, Any]:
    """The model that is served, and what X-AnyLabeling shows for it."""
    name = _model(state_of(request))
    return {
        "data": {name: {"display_name": f"SELF1E {name}", "batch_processing_mode": "text_prompt", "widgets": WIDGETS}}
    }


@router.post("/predict", responses=PROBLEMS)
async def predict(asked: PredictRequest, request: Request) -> dict[str, Any]:
    """Masks as polygons: a shape for each part of a mask, of which those of one mask share a `group_id`."""
    state = state_of(request)
    name = _model(state)
    if asked.model != name:
        raise Problem(404, f"there is no model {asked.model[:80]!r} here: choose {name!r}")
    check_prompts(state, [asked.params.text_prompt])
    prompts = prompts_of(asked.params.text_prompt)
    check_prompts(state, prompts)
    picture = await looked_at(asked.image, state.limits)
    results = await unless_gone(request, state.engine.answer(SegmentJob(picture, tuple(prompts))))
    shapes = await asyncio.to_thread(_shapes, results, asked.params)
    return {"data": {"shapes": shapes, "description": ""}}


def _model(state: State) -> str:
    if not state.engine.facts:
        raise Problem(503, state.engine.failed or "the model is loading")
    return str(state.engine.facts["name"])


def _shapes(results: bytes, params: Params) -> list[dict[str, Any]]:
    """Of what was found, and is sure enough."""
    found = [Segmentation.from_dict(result) for result in json.loads(results)]
    masks = [
        (segmentation.prompt, mask)
        for segmentation in found
        if segmentation.found
        for mask in segmentation
        if mask.score >= params.conf_threshold
    ]
    return [
        shape
        for number, (prompt, mask) in enumerate(masks)
        for shape in shapes_of(
            mask.mask, prompt, mask.score, number=number, tolerance=params.epsilon_factor, relative=True
        )
    ]
