"""Toyland among the settings of a training run: `data: {toyland: {...}}`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field, model_validator

from self1e.data.settings import DataSettings
from self1e.toyland.dataset import ToylandDataset, toyland_corpus
from self1e.toyland.language import SEGMENTING, TEXTUAL

QUESTIONS = (*SEGMENTING, *TEXTUAL)


class ToylandData(DataSettings):
    """Scenes of the generated world."""

    name: ClassVar[str] = "toyland"

    seed: int = Field(1, description="two runs with the same seed see the same scenes in the same order")
    size: int = Field(448, gt=0, description="side of a picture, pixels")
    scenes: int | None = Field(
        None, gt=0, description="how many different scenes; asked anew when they come round again. Default: no end"
    )
    segmenting: int = Field(12, ge=0, description="questions a picture that are answered by a mask")
    textual: int = Field(4, ge=0, description="questions a picture that are answered in words")
    rehearsed: int = Field(4, ge=0, description="segmenting answers a picture that are learnt as text, causally")
    textual_share: float = Field(1.0, ge=0, le=1, description="share of pictures that have textual and rehearsed ones")
    terse: float = Field(0.0, ge=0, le=1, description="share of segmenting questions that are the bare prompt")
    capitals: float = Field(0.0, ge=0, le=1, description="share of segmenting questions that name things in capitals")
    history: float = Field(0.0, ge=0, le=1, description="share of conversations that go on from another, as in a chat")
    first_weights: dict[str, float] | None = Field(None, description="weights of kinds of question at the start")
    last_weights: dict[str, float] | None = Field(None, description="weights after `curriculum` of the run")
    curriculum: float = Field(
        0.0, ge=0, description="share of the run over which the weights change; above 1 it ends on the way"
    )

    @property
    def always_asks(self) -> bool:
        return bool(self.segmenting or (self.textual_share == 1 and self.textual + self.rehearsed))

    @model_validator(mode="after")
    def _known_kinds(self) -> ToylandData:
        for weights in (self.first_weights, self.last_weights):
            unknown = sorted(set(weights or ()) - set(QUESTIONS))
            if unknown:
                raise ValueError(f"there is no kind of question {', '.join(unknown)}: known are {', '.join(QUESTIONS)}")
        return self

    def examples(self, length: int, *, training: bool) -> ToylandDataset:
        """See `ToylandDataset`."""
        return ToylandDataset(self, length, training=training)

    def texts(self) -> Iterator[str]:
        """See `toyland_corpus`."""
        return toyland_corpus()
