"""The two ways in which the segmenter uses the model: the mask pass, and answers followed by a mask pass.

Both take pictures that were encoded before, so that the vision tower sees each of them once. All functions expect to be
called under `torch.inference_mode`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import takewhile

import torch
from PIL import Image
from torch import Tensor
from transformers import GenerationConfig

from self1e.conversation import END_OF_TEXT, IM_END, SEG, Turn
from self1e.fast.prefix_cache import Opening
from self1e.model.batch import TokenLayout
from self1e.model.network import ImageFeatures, SELF1EForSegmentation
from self1e.model.refilling import VisionSide
from self1e.model.transfers import to_device
from self1e.processing.processor import SELF1EProcessor
from self1e.processing.prompts import PromptError
from self1e.processing.rows import Grid, Row, collate, single
from self1e.processing.tokens import EncodedConversation, decode_answer, encode_continuation, encode_text, special_ids


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
    """

    image: Image.Image
    grid: Grid
    features: ImageFeatures
    model: SELF1EForSegmentation

    def __repr__(self) -> str:
        return "EncodedPicture({}x{} pixels, {}x{} tiles)".format(*self.image.size, *self.grid)


@dataclass(frozen=True)
class Answer:
    """What the model wrote.

    Attributes:
        text: The answer, with its `[SEG]` marks.
        input_ids: int[N], the finished conversation up to and with this answer, laid out as in training.
        marks: How many `[SEG]` this answer holds; they are the last ones of `input_ids`.
    """

    text: str
    input_ids: list[int]
    marks: int


def stay_within_context(model: SELF1EForSegmentation) -> None:
    """Has "dynamic" rotary embeddings, which InternVL3's are, take no notice of how long the input is.

    They scale with inputs longer than the model's context, which `check_length` refuses, and ask the device in every
    pass whether they have to. Shorter ones are read as before.
    """
    rotary = model.model.language_model.rotary_emb
    if rotary.rope_type == "dynamic":
        rotary.rope_type = "default"
        rotary.inv_freq = rotary.original_inv_freq  # as they are before the first input that is too long


def encode_picture(
    model: SELF1EForSegmentation, processor: SELF1EProcessor, picture: Image.Image | TiledPicture
) -> EncodedPicture:
    """Runs the vision side over the tiles of a picture (RGB, as `load_image` returns it).

    Raises:
        ValueError: If it has more tiles than the model can read.
    """
    if not isinstance(picture, TiledPicture):
        picture = TiledPicture(picture, *processor.tiles(picture))
    check_length(model, len(processor.prefix(picture.grid)), 0)  # before the work is done, not after
    features = model.encode_images(to_device(picture.tiles, model.device).to(model.dtype))
    # The mask pass reads `vision`, not the uncompressed features that it was made of.
    return EncodedPicture(picture.image, picture.grid, replace(features, uncompressed=None), model)


def mask_pass(
    model: SELF1EForSegmentation, processor: SELF1EProcessor, pictures: Sequence[EncodedPicture], rows: Sequence[Row]
) -> list[Tensor]:
    """One forward pass over finished conversations, without the LM head.

    Args:
        model: The one that encoded the pictures.
        processor: Its.
        pictures: What the rows are about.
        rows: Each names its picture by its place in `pictures`.

    Returns:
        For each row float32[K, h, w], mask logits of the K `[SEG]` in it, on the CPU. They are small before they are
        brought to the picture's size, and are fetched in one copy.

    Raises:
        ValueError: If numbers overflowed on the way.
    """
    no_tiles = [torch.empty(0)] * len(pictures)  # their features are there already
    grids = [one.grid for one in pictures]
    opening = opening_of(model, rows)
    if opening is not None:
        rows = [row.behind(len(opening)) for row in rows]
    inputs = collate(no_tiles, grids, rows, pad_id=processor.pad_id, purpose="masks")
    layout = TokenLayout.of(
        model.config,
        inputs.input_ids,
        tiles=sum(columns * rows_ for columns, rows_ in grids),
        attention_mask=inputs.attention_mask,
        tile_grids=grids,
        picture_index=inputs.picture_index,
        conversation_ids=inputs.conversation_ids,
    )
    arguments = inputs.to(model.device).as_kwargs() | {"image_features": _joined([one.features for one in pictures])}
    del arguments["pixel_values"]
    logits = model(**arguments, layout=layout, opening=opening).mask_logits
    fetched = torch.cat([of_row.flatten() for of_row in logits]).cpu().float()
    if not bool(fetched.isfinite().all()):
        raise ValueError(f"the model's numbers overflow in {model.dtype}: load it with dtype='float32'")
    parts = fetched.split([of_row.numel() for of_row in logits])
    return [part.view(of_row.shape) for part, of_row in zip(parts, logits, strict=True)]


def opening_of(model: SELF1EForSegmentation, rows: Sequence[Row]) -> Opening | None:
    """What stands before the pictures of all rows, the same in each: read with the first of them, and kept.

    None where it is not the same, or the weights may change: once a model is folded they do only where what was read is
    forgotten.
    """
    if model.openings is None:
        return None
    image = model.config.image_token_id
    beginnings = {tuple(takewhile(lambda token: token != image, row.input_ids)) for row in rows}
    tokens = beginnings.pop()
    if beginnings or not 0 < len(tokens) < len(rows[0].input_ids):
        return None
    opening = model.openings.get(tokens)
    if opening is None:
        ids = to_device(torch.tensor(tokens), model.device)
        opening = Opening.read(model.model.language_model, model.get_input_embeddings()(ids))
        model.openings[tokens] = opening
    return opening


def write_answer(
    model: SELF1EForSegmentation,
    processor: SELF1EProcessor,
    picture: EncodedPicture,
    turns: Sequence[Turn],
    question: str,
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
) -> Answer:
    """Generates the answer to a question: causally and with a KV cache, so that `[SEG]` is a word and nothing more.

    Args:
        model: The one that encoded the picture.
        processor: Its.
        picture: What is asked about.
        turns: What was said before.
        question: As it stands, without a template.
        max_new_tokens: The answer is cut off there, or where the model's context ends.
        temperature: 0 takes the likeliest token every time. Above, tokens are drawn by torch's own generator.

    Raises:
        ValueError: If the conversation is longer than the model can read.
    """
    tokenizer = processor.tokenizer
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
        pad_token_id=processor.pad_id,
        # A picture or a turn that the model made up itself would not be one.
        suppress_tokens=sorted(set(special.values()) - {special[IM_END], special[SEG]}),
        **drawing,
    )
    ids = (prefix + asked).input_ids
    with torch.compiler.set_stance("force_eager") if model.compiled else nullcontext():  # see `compile_layers`
        written = model.generate(
            input_ids=to_device(torch.tensor([ids]), model.device),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long, device=model.device),
            image_features=picture.features,
            tile_grids=[picture.grid],
            generation_config=settings,
        )[0, len(ids) :].tolist()
    if written and written[-1] in ends:
        written.pop()
    return Answer(decode_answer(tokenizer, written), ids + written + ending, written.count(special[SEG]))


def up_to_last_seg(conversation: EncodedConversation, seg_token_id: int) -> EncodedConversation:
    """A conversation without what follows its last `[SEG]`, which no mask depends on.

    Words see only what stands before them, and the picture, beyond itself, only `[SEG]`.
    """
    after = conversation.input_ids[::-1].index(seg_token_id)
    return conversation[: len(conversation) - after]


def answer_masks(
    model: SELF1EForSegmentation, processor: SELF1EProcessor, picture: EncodedPicture, answer: Answer
) -> Tensor:
    """Mask logits of the `[SEG]` of an answer, float32[marks, h, w]: one mask pass over the finished conversation.

    Marks of earlier answers are read along, as the picture looks at them, too; their masks are left out.
    """
    finished = EncodedConversation(answer.input_ids, answer.input_ids)
    conversation = up_to_last_seg(finished, model.config.seg_token_id)
    logits = mask_pass(model, processor, [picture], [single(conversation)])[0]
    return logits[logits.shape[0] - answer.marks :]


def check_length(model: SELF1EForSegmentation, picture: int, words: int) -> int:
    """How many tokens a conversation can still grow by, when the picture takes `picture` and the rest `words`.

    Raises:
        PromptError: If it is longer than the model's context.
    """
    context = model.config.text_config.max_position_embeddings
    if picture > context:
        raise PromptError(
            f"the picture takes {picture} tokens, but the model reads no more than {context}: use fewer tiles"
        )
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
