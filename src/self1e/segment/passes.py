"""The two ways in which `on_torch` uses the model: the mask pass, and answers followed by a mask pass.

Both take pictures that were encoded before, so that the vision tower sees each of them once. All functions expect to be
called under `torch.inference_mode`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.generation.streamers import BaseStreamer

from self1e.checkpoints.weights import not_finite, refuse_not_finite
from self1e.conversation import END_OF_TEXT, IM_END, SEG, Turn
from self1e.fast import FastModel
from self1e.fast.transfers import moved, to_device
from self1e.model.network import ImageFeatures, SELF1EForSegmentation
from self1e.model.refilling import VisionSide
from self1e.model.rows import Grid, Row
from self1e.processing.processor import SELF1EProcessor
from self1e.processing.tokens import (
    EncodedConversation,
    decode_answer,
    encode_continuation,
    encode_text,
    single,
    special_ids,
)
from self1e.segment.runner import NumbersError, OnText
from self1e.segment.words import check_length, up_to_last_seg


@dataclass(frozen=True)
class Reply:
    """What the model wrote.

    Attributes:
        text: The answer, with its `[SEG]` marks.
        input_ids: int[N], the finished conversation up to and with this answer, laid out as in training.
        marks: How many `[SEG]` this answer holds; they are the last ones of `input_ids`.
    """

    text: str
    input_ids: list[int]
    marks: int


def features_of(fast: FastModel, tiles: Tensor) -> ImageFeatures:
    """Runs the vision side over the tiles of a picture, float32[T, 3, S, S] on any device."""
    network = fast.network
    return fast.encode_images(to_device(tiles, network.device).to(network.dtype))


def feature_bytes(features: ImageFeatures) -> int:
    """That the features of a picture take."""
    side = features.vision
    tensors = (features.compressed, features.uncompressed, side.compressed, side.uncompressed)
    return sum(each.nbytes for each in tensors if each is not None)


def mask_pass(
    fast: FastModel,
    processor: SELF1EProcessor,
    features: Sequence[ImageFeatures],
    grids: Sequence[Grid],
    rows: Sequence[Row],
) -> list[Tensor]:
    """One forward pass over finished conversations, without the LM head.

    Args:
        fast: Of the model that encoded the pictures.
        processor: Its.
        features: Of each picture.
        grids: (columns, rows) of its tiles.
        rows: Each names its picture by its place among these.

    Returns:
        For each row float32[K, h, w], mask logits of the K `[SEG]` in it, on the CPU. They are small before they are
        brought to the picture's size, and are fetched in one copy.

    Raises:
        ModelError: If the weights are not finite.
        NumbersError: If numbers overflowed on the way.
    """
    network = fast.network
    prefix = fast.prefix(rows)
    if prefix is not None:
        rows = [row.after(len(prefix)) for row in rows]
    batch = moved(processor.batch(rows, grids), network.device)
    logits = fast.mask_logits(batch, _joined(features), prefix)
    fetched = torch.cat([of_row.flatten() for of_row in logits]).cpu().float()
    if not bool(fetched.isfinite().all()):
        raise _not_finite(network)
    parts = fetched.split([of_row.numel() for of_row in logits])
    return [part.view(of_row.shape) for part, of_row in zip(parts, logits, strict=True)]


def write_answer(
    fast: FastModel,
    processor: SELF1EProcessor,
    features: ImageFeatures,
    grid: Grid,
    turns: Sequence[Turn],
    question: str,
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    on_text: OnText | None = None,
) -> Reply:
    """Generates the answer to a question: causally and with a KV cache, so that `[SEG]` is a word and nothing more.

    Args:
        fast: Of the model that encoded the picture.
        processor: Its.
        features: Of the picture that is asked about.
        grid: (columns, rows) of its tiles.
        turns: What was said before.
        question: As it stands, without a template.
        max_new_tokens: The answer is cut off there, or where the model's context ends.
        temperature: 0 takes the likeliest token every time. Above, tokens are drawn by torch's own generator.
        on_text: Is given the answer piece by piece, as it is written. What it raises ends the answer.

    Raises:
        ModelError: If the weights are not finite.
        PromptError: If the conversation is longer than the model can read.
        NumbersError: If numbers overflowed on the way.
    """
    model, tokenizer = fast.network, processor.tokenizer
    special = special_ids(tokenizer)
    prefix = processor.prefix(grid)
    asked = encode_continuation(tokenizer, turns, question)
    ending = [special[IM_END], *encode_text(tokenizer, "\n")]
    room = check_length(context_of(model), len(prefix), len(asked) + len(ending) + 1) + 1
    ends = {special[IM_END], tokenizer.convert_tokens_to_ids(END_OF_TEXT), tokenizer.eos_token_id} - {None}
    drawing = {"do_sample": True, "temperature": temperature} if temperature > 0 else {"do_sample": False}
    settings = GenerationConfig(
        max_new_tokens=min(max_new_tokens, room),
        eos_token_id=sorted(ends),
        pad_token_id=tokenizer.pad_token_id or 0,
        # A picture or a turn that the model made up itself would not be one.
        suppress_tokens=sorted(set(special.values()) - {special[IM_END], special[SEG]}),
        **drawing,
    )
    question_row = single(prefix + asked)
    batch = moved(processor.batch([question_row], [grid], left_padded=True), model.device)
    watch = _NumbersOnly()
    watching = LogitsProcessorList([watch])
    streamer = None if on_text is None else _Pieces(tokenizer, ends, on_text)
    answer = fast.generate(batch, features, generation_config=settings, logits_processor=watching, streamer=streamer)[0]
    *written, lost = torch.cat([answer, torch.stack(watch.lost).any()[None].to(answer)]).tolist()  # in one copy
    if lost:
        raise _not_finite(model)
    if written and written[-1] in ends:
        written.pop()
    return Reply(
        decode_answer(tokenizer, written), question_row.input_ids + written + ending, written.count(special[SEG])
    )


class _Pieces(BaseStreamer):
    """Hands on an answer as far as it is written, letter by whole letter: pieces joined are `decode_answer` of all."""

    def __init__(self, tokenizer: Any, ends: set[int], on_text: OnText) -> None:
        self.tokenizer, self.ends, self.on_text = tokenizer, ends, on_text
        self.written: list[int] = []
        self.given = 0
        self.asked = False

    def put(self, value: Tensor) -> None:
        """The question comes first, then a token a call."""
        if not self.asked:
            self.asked = True
            return
        self.written += [token for token in value.flatten().tolist() if token not in self.ends]
        text = decode_answer(self.tokenizer, self.written)
        if not text.endswith("\N{REPLACEMENT CHARACTER}"):  # half of a letter
            self._give(text)

    def end(self) -> None:
        """The last word on it."""
        self._give(decode_answer(self.tokenizer, self.written))

    def _give(self, text: str) -> None:
        if len(text) > self.given:
            self.on_text(text[self.given :])
            self.given = len(text)


class _NumbersOnly(LogitsProcessor):
    """Sees whether logits are no numbers, of which generation would make a word like any, or fail to draw one.

    The host does not wait for that.
    """

    def __init__(self) -> None:
        self.lost: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self.lost.append((scores.isnan() | scores.isposinf()).any())
        return scores.nan_to_num(0.0, 0.0, -math.inf)


def _not_finite(network: SELF1EForSegmentation) -> NumbersError:
    """Why results are not finite. Raises ModelError if that is by the weights."""
    plain = ((name, weight.data) for name, weight in network.named_parameters() if weight.is_floating_point())
    refuse_not_finite(not_finite((name, weight) for name, weight in plain if type(weight) is Tensor), "the model")
    instead = "" if network.dtype == torch.float32 else ": load it with dtype='float32'"
    return NumbersError(f"the model's numbers overflow in {network.dtype}{instead}")


def answer_masks(
    fast: FastModel, processor: SELF1EProcessor, features: ImageFeatures, grid: Grid, reply: Reply
) -> Tensor:
    """Mask logits of the `[SEG]` of an answer, float32[marks, h, w]: one mask pass over the finished conversation.

    Marks of earlier answers are read along, as the picture looks at them, too; their masks are left out.
    """
    finished = EncodedConversation(reply.input_ids, reply.input_ids)
    conversation = up_to_last_seg(finished, fast.network.config.seg_token_id)
    logits = mask_pass(fast, processor, [features], [grid], [single(conversation)])[0]
    return logits[logits.shape[0] - reply.marks :]


def context_of(model: SELF1EForSegmentation) -> int:
    """Most tokens that a model reads."""
    return model.config.text_config.max_position_embeddings


def _joined(features: Sequence[ImageFeatures]) -> ImageFeatures:
    """The features of several pictures in one, tile after tile."""
    if len(features) == 1:
        return features[0]
    sides = [one.vision for one in features]
    return ImageFeatures(
        torch.cat([one.compressed for one in features]),
        None,
        VisionSide(_cat([side.compressed for side in sides]), _cat([side.uncompressed for side in sides])),
    )


def _cat(parts: Sequence[Tensor | None]) -> Tensor | None:
    given = [part for part in parts if part is not None]
    return torch.cat(given) if given else None
