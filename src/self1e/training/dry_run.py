"""Two steps of a run before it is started: does everything fit together, and into memory, and how long will it take?

A base model that is named by its Hub id is not downloaded: its published shapes are filled with random numbers, as
speed and memory do not depend on what a model knows.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import nn
from transformers import TrainerCallback
from transformers.trainer_utils import SaveStrategy

from self1e.checkpoints.hub import BUNDLED
from self1e.checkpoints.presets import full_config, random_model
from self1e.conversation import IMG_CONTEXT, SEG, Conversation, Example, Turn
from self1e.data.settings import DataSettings
from self1e.model.network import SELF1EForSegmentation
from self1e.processing.processor import SELF1EProcessor
from self1e.processing.prompts import EVAL_ANSWER, phrase_question
from self1e.processing.tokens import special_ids
from self1e.segment.devices import choose_device
from self1e.training.checkpoints import local_folder
from self1e.training.config import TrainConfig
from self1e.training.run import build, denormals_flushed, make_trainer, training_arguments
from self1e.training.sources import datasets

KNOWN_BASE = re.compile(r"OpenGVLab/InternVL3-(1B|2B|8B)")
STEPS = 2
SIDE = 448
GIB = 2**30


@dataclass
class DryRun:
    """What two steps have shown.

    Attributes:
        notes: What was taken in place of what is not at hand.
        parameters: Of the model.
        trained: Of these, how many are trained; of adapters, the adapters.
        held: Bytes of weights, gradients, and the state of the optimiser.
        peak: Largest memory of the process, bytes; on a GPU, of the GPU.
        pictures: In each step here.
        tokens: Read in each step here, padding included.
        seconds: Of the second step.
        losses: Of each step.
        steps: Of the real run.
        pictures_of_run: Of the real run, with one process.
        checkpoint: Bytes of a checkpoint, weights and state of the optimiser.
        checkpoints: Most that are there at a time, the one being written among them.
    """

    notes: list[str]
    parameters: int
    trained: int
    held: int
    peak: int
    pictures: int
    tokens: int
    seconds: float
    losses: list[float]
    steps: int
    pictures_of_run: int
    checkpoint: int
    checkpoints: int

    def lines(self) -> list[str]:
        """For the terminal."""
        hours = self.seconds / self.pictures * self.pictures_of_run / 3600
        return [
            *self.notes,
            f"model: {self.parameters / 1e6:,.0f} M parameters, {self.trained / 1e6:,.0f} M of them trained",
            f"memory: weights, gradients, optimiser {self.held / GIB:.1f} GiB, at the peak {self.peak / GIB:.1f} GiB",
            f"steps: {STEPS}, each of {self.pictures} pictures ({self.tokens:,} tokens); the last took "
            f"{self.seconds:.1f} s; loss {', '.join(f'{loss:.3f}' for loss in self.losses)}",
            f"the run: {self.steps:,} steps, {self.pictures_of_run:,} pictures with one process, about {hours:,.1f} h "
            f"here; checkpoints of {self.checkpoint / GIB:.1f} GiB, at most {self.checkpoints}",
        ]


class GeneratedData(DataSettings):
    """Noise with rectangles to find, in place of data that are not at hand."""

    name: ClassVar[str] = "generated"

    def examples(self, length: int, *, training: bool) -> GeneratedExamples:
        """See `GeneratedExamples`."""
        return GeneratedExamples(length)

    def texts(self) -> Iterator[str]:
        """Those of one example, as all have the same."""
        for talk in GeneratedExamples(1)[0].conversations:
            yield from (text for turn in talk.turns for text in (turn.question, turn.answer))


@dataclass(frozen=True)
class GeneratedExamples:
    """Pictures of `SIDE` pixels, with as many questions as the recipe asks."""

    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        rng = np.random.default_rng(index)
        image = Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))
        talks = []
        for number in range(3):
            mask = np.zeros((SIDE, SIDE), np.uint8)
            mask[SIDE // 4 : SIDE // 2, number * SIDE // 4 : (number + 1) * SIDE // 4] = 1
            turn = Turn(phrase_question(f"rectangle {number + 1} from the left"), EVAL_ANSWER)
            talks.append(Conversation((turn,), (mask,)))
        return Example(image, tuple(talks), f"generated-{index}")


class _Clock(TrainerCallback):
    """When each step began and ended."""

    def __init__(self) -> None:
        self.starts: list[float] = []
        self.ends: list[float] = []

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.starts.append(time.perf_counter())

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.ends.append(time.perf_counter())


def dry_run(settings: TrainConfig, *, device: str = "auto", tokenizer: str | Path | None = None) -> DryRun:
    """Builds everything and takes two optimiser steps; nothing is kept.

    Args:
        settings: Of the run. On a CPU a step has one picture, elsewhere as many as the settings say.
        device: As for `train`.
        tokenizer: Folder with the tokenizer of the base model, when the base is not at hand. Default: nano's, which
            cuts text a little differently.

    Raises:
        ConfigError: When the settings do not suit each other.
        DataError: When a data set is missing below `data.root`.
    """
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        small = _shortened(settings, folder, device)
        root = getattr(settings.data, "root", None)
        if root is not None and not Path(root).is_dir():
            notes.append(f"generated pictures in place of the data: there is no folder {root} (data.root)")
            small = small.model_copy(update={"data": GeneratedData(), "losses": {}, "pictures_only": False})
            if settings.architecture is not None and settings.architecture.tokenizer is None:
                most = settings.architecture.vocabulary
                notes.append(f"a small vocabulary, learnt from these: the run's has up to {most:,} tokens")
        elif settings.validation is not None:
            settings.validation.data.tolerant(settings.validation.examples, training=False)[0]  # is it there?
        arguments = training_arguments(small, device)
        arguments.save_strategy, arguments.report_to = SaveStrategy.NO, []
        data = datasets(small, arguments.world_size)  # before gigabytes of weights are made
        trainer = make_trainer(small, device, arguments, _base(small, tokenizer, notes), data)
        clock = _Clock()
        trainer.add_callback(clock)
        with denormals_flushed():
            trainer.train()
        model = trainer.accelerator.unwrap_model(trainer.model)
        weights = _sizes(model)
        state = sum(
            value.numel() * value.element_size()
            for values in trainer.optimizer.state.values()
            for value in values.values()
            if isinstance(value, torch.Tensor)
        )
        losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
        chosen = settings.optimisation
        saved = weights["trained"] if settings.lora else weights["all"]
        return DryRun(
            notes,
            sum(weight.numel() for weight in model.parameters()),
            sum(weight.numel() for weight in model.parameters() if weight.requires_grad),
            weights["all"] + weights["trained"] + state,
            _peak(trainer.args.device),
            trainer.running.totals["pictures"],
            trainer.running.totals["padded"],
            clock.ends[-1] - clock.starts[-1],
            losses,
            chosen.steps,
            chosen.pictures(),
            saved * (2 if settings.optimisation.ema else 1) + state,
            max(settings.keep, 1 + (settings.validation is not None)) + 1,
        )


def _base(
    settings: TrainConfig, tokenizer: str | Path | None, notes: list[str]
) -> tuple[SELF1EForSegmentation, SELF1EProcessor]:
    """The model of the settings, or one of its shapes."""
    known = KNOWN_BASE.fullmatch(settings.init or "")
    if known is None or local_folder(settings.init) is not None:
        return build(settings)
    if tokenizer is None:
        notes.append("nano's tokenizer in place of the base model's, which --tokenizer FOLDER would give")
    notes.append(f"random weights in the shapes of {settings.init}")
    processor = SELF1EProcessor.from_pretrained(tokenizer or BUNDLED["nano"])
    processor.image_size, processor.tokens_per_tile = 448, 256
    processor.max_tiles = settings.max_tiles or 1
    ids = special_ids(processor.tokenizer)
    config = full_config(known[1], seg_token_id=ids[SEG], image_token_id=ids[IMG_CONTEXT])
    config.update(settings.of_model())
    frozen = torch.bfloat16 if settings.lora and settings.optimisation.precision == "bfloat16" else torch.float32
    return random_model(config, frozen), processor


def _shortened(settings: TrainConfig, folder: str, device: str) -> TrainConfig:
    """The settings of the two steps."""
    chosen: dict[str, Any] = {"steps": STEPS, "warmup_steps": 0}
    if choose_device(device).type == "cpu":
        chosen |= {"pictures_per_step": 1, "accumulate": 1}
    return settings.model_copy(
        update={
            "output": folder,
            "optimisation": settings.optimisation.model_copy(update=chosen),
            "validation": None,
            "workers": 0,
            "log_every": 1,
            "save_every": 10**9,
        }
    )


def _sizes(model: nn.Module) -> dict[str, int]:
    """Bytes of all weights and of those that are trained."""
    sizes = {"all": 0, "trained": 0}
    for weight in model.parameters():
        size = weight.numel() * weight.element_size()
        sizes["all"] += size
        sizes["trained"] += size * weight.requires_grad
    return sizes


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource  # not on Windows

    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024
