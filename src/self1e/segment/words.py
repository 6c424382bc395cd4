"""What a conversation takes of the model's context, and where its last mask is asked for. Needs no torch."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from self1e.conversation import Turn
from self1e.model.rows import Grid
from self1e.processing.images import ImageError
from self1e.processing.prompts import EVAL_ANSWER, PromptError
from self1e.processing.tokens import EncodedConversation, encode_continuation

if TYPE_CHECKING:
    from self1e.segment.runner import Runner


def given_answer(runner: Runner, prefix: EncodedConversation, question: str) -> EncodedConversation:
    """What follows the picture where the answer is given (method, section 5): the question, and "[SEG].".

    Raises:
        PromptError: If it is longer than the model can read.
    """
    words = encode_continuation(runner.processor.tokenizer, [Turn(question, EVAL_ANSWER)])
    check_length(runner.context, len(prefix), len(words))
    return up_to_last_seg(words, runner.seg_token_id)


def up_to_last_seg(conversation: EncodedConversation, seg_token_id: int) -> EncodedConversation:
    """A conversation without what follows its last `[SEG]`, which no mask depends on.

    Words see only what stands before them, and the picture, beyond itself, only `[SEG]`.
    """
    after = conversation.input_ids[::-1].index(seg_token_id)
    return conversation[: len(conversation) - after]


def check_tiles(runner: Runner, grid: Grid, source: object) -> None:
    """Looks whether a picture leaves room for words, before any work is done.

    Raises:
        ImageError: If it has more tiles than the model can read. The message names its source, if that is a file.
    """
    tokens, context = len(runner.processor.prefix(grid)), runner.context
    if tokens > context:
        name = source if isinstance(source, str | os.PathLike) else "the picture"
        raise ImageError(f"{name} takes {tokens} tokens, but the model reads no more than {context}: use fewer tiles")


def check_length(context: int, picture: int, words: int) -> int:
    """How many tokens a conversation can still grow by, when the picture takes `picture` and the rest `words`.

    Raises:
        PromptError: If it is longer than the model's context.
    """
    if picture + words > context:
        raise PromptError(
            f"too long: the text takes {words} tokens and the picture {picture}, but the model reads no more than "
            f"{context} in all; shorten the text by {picture + words - context} tokens"
            + (", or use fewer tiles" if picture > context // 2 else "")
        )
    return context - picture - words
