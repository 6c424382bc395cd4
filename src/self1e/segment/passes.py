"""The two ways in which the segmenter uses the model: the mask pass, and answers followed by a mask pass.

Both take pictures that were encoded before, so that the vision tower sees each of them once. All functions expect to be
called under `torch.inference_mode`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.generation.streamers import BaseStreamer

from self1e.checkpoints.weights import not_finite, refuse_not_finite
from self1e.conversation import END_OF_TEXT, IM_END, SEG, Turn
from self1e.fast import FastModel
from self1e.fast.transfers import moved, to_device
from self1e.model.batch import Grid, Row
from self1e.model.network import ImageFeatures, SELF1EForSegmentation
from self1e.model.refilling import VisionSide
from self1e.processing.images import ImageError
from self1e.processing.processor import SELF1EProcessor
from self1e.processing.prompts import EVAL_ANSWER, PromptError
from self1e.processing.tokens import (
    EncodedConversation,
    decode_answer,
    encode_continuation,
    encode_text,
    single,
    special_ids,
)

OnText = Callable[[str], object]


@dataclass(frozen=True, eq=False, repr=False)
class TiledPicture:
    """A picture that is ready for the model; `Segmenter.read` makes it.

    Attributes:
        image: RGB, at its own size.
        tiles: float32[columns * rows, 3, S, S], on the CPU; in pinned memory where the model is on CUDA.
        grid: (columns, rows) of its tiles.
    """

    image: Image.Image
    tiles: Tensor
    grid: Grid


@dataclass(frozen=True, eq=False, repr=False)
class EncodedPicture:
    """A picture with everything that depends on it alone; `Segmenter.encode` makes it.

    Attributes:
        image: RGB, at its own size.
        grid: (columns, rows) of its tiles.
        features: What the vision side made of its columns * rows tiles, on the model's device.
        model: The model that did. No other can use it.
        version: Of its weights when it did, see `FastModel.vision_version`.
    """

    image: Image.Image
    grid: Grid
    features: ImageFeatures
    model: SELF1EForSegmentation
    version: int

    @property
    def nbytes(self) -> int:
        """Of its pixels and features."""
        side = self.features.vision
        tensors = (self.features.compressed, self.features.uncompressed, side.compressed, side.uncompressed)
        width, height = self.image.size
        return 3 * width * height + sum(each.nbytes for each in tensors if each is not None)

    def __repr__(self) -> str:
        return "EncodedPicture({}x{} pixels, {}x{} tiles)".format(*self.image.size, *self.grid)


class NumbersError(ValueError):
    """Numbers overflowed on the way to a result. The message says what to do."""


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


def encode_picture(fast: FastModel, processor: SELF1EProcessor, picture: Image.Image | TiledPicture) -> EncodedPicture:
    """Runs the vision side over the tiles of a picture (RGB, as `load_image` returns it)."""
    if not isinstance(picture, TiledPicture):
        picture = TiledPicture(picture, *processor.tiles(picture))
    network = fast.network
    features = fast.encode_images(to_device(picture.tiles, network.device).to(network.dtype))
    return EncodedPicture(picture.image, picture.grid, features, network, fast.vision_version())


def mask_pass(
    fast: FastModel, processor: SELF1EProcessor, pictures: Sequence[EncodedPicture], rows: Sequence[Row]
) -> list[Tensor]:
    """One forward pass over finished conversations, without the LM head.

    Args:
        fast: Of the model that encoded the pictures.
        processor: Its.
        pictures: What the rows are about.
        rows: Each names its picture by its place in `pictures`.

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
    batch = moved(processor.batch(rows, [one.grid for one in pictures]), network.device)
    logits = fast.mask_logits(batch, _joined([one.features for one in pictures]), prefix)
    fetched = torch.cat([of_row.flatten() for of_row in logits]).cpu().float()
    if not bool(fetched.isfinite().all()):
        raise _not_finite(network)
    parts = fetched.split([of_row.numel() for of_row in logits])
    return [part.view(of_row.shape) for part, of_row in zip(parts, logits, strict=True)]


def write_answer(
    fast: FastModel,
    processor: SELF1EProcessor,
    picture: EncodedPicture,
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
        picture: What is asked about.
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
    prefix = processor.prefix(picture.grid)
    asked = encode_continuation(tokenizer, turns, question)
    ending = [special[IM_END], *encode_text(tokenizer, "\n")]
    room = check_length(model, len(prefix), len(asked) + len(ending) + 1) + 1
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
    batch = moved(processor.batch([question_row], [picture.grid], left_padded=True), model.device)
    watch = _NumbersOnly()
    watching = LogitsProcessorList([watch])
    streamer = None if on_text is None else _Pieces(tokenizer, ends, on_text)
    answer = fast.generate(
        batch, picture.features, generation_config=settings, logits_processor=watching, streamer=streamer
    )[0]
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


def up_to_last_seg(conversation: EncodedConversation, seg_token_id: int) -> EncodedConversation:
    """A conversation without what follows its last `[SEG]`, which no mask depends on.

    Words see only what stands before them, and the picture, beyond itself, only `[SEG]`.
    """
    after = conversation.input_ids[::-1].index(seg_token_id)
    return conversation[: len(conversation) - after]


def given_answer(
    model: SELF1EForSegmentation, processor: SELF1EProcessor, prefix: EncodedConversation, question: str
) -> EncodedConversation:
    """What follows the picture where the answer is given (method, section 5): the question, and "[SEG].".

    Raises:
        PromptError: If it is longer than the model can read.
    """
    words = encode_continuation(processor.tokenizer, [Turn(question, EVAL_ANSWER)])
    check_length(model, len(prefix), len(words))
    return up_to_last_seg(words, model.config.seg_token_id)


def answer_masks(fast: FastModel, processor: SELF1EProcessor, picture: EncodedPicture, reply: Reply) -> Tensor:
    """Mask logits of the `[SEG]` of an answer, float32[marks, h, w]: one mask pass over the finished conversation.

    Marks of earlier answers are read along, as the picture looks at them, too; their masks are left out.
    """
    finished = EncodedConversation(reply.input_ids, reply.input_ids)
    conversation = up_to_last_seg(finished, fast.network.config.seg_token_id)
    logits = mask_pass(fast, processor, [picture], [single(conversation)])[0]
    return logits[logits.shape[0] - reply.marks :]


def check_tiles(model: SELF1EForSegmentation, processor: SELF1EProcessor, grid: Grid, source: object) -> None:
    """Looks whether a picture leaves room for words, before any work is done.

    Raises:
        ImageError: If it has more tiles than the model can read. The message names its source, if that is a file.
    """
    tokens, context = len(processor.prefix(grid)), model.config.text_config.max_position_embeddings
    if tokens > context:
        name = source if isinstance(source, str | os.PathLike) else "the picture"
        raise ImageError(f"{name} takes {tokens} tokens, but the model reads no more than {context}: use fewer tiles")


def check_length(model: SELF1EForSegmentation, picture: int, words: int) -> int:
    """How many tokens a conversation can still grow by, when the picture takes `picture` and the rest `words`.

    Raises:
        PromptError: If it is longer than the model's context.
    """
    context = model.config.text_config.max_position_embeddings
    if picture + words > context:
        raise PromptError(
            f"too long: the text takes {words} tokens and the picture {picture}, but the model reads no more than "
            f"{context} in all; shorten the text by {picture + words - context} tokens"
            + (", or use fewer tiles" if picture > context // 2 else "")
        )
    return context - picture - words


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
