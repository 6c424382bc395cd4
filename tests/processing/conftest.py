"""The real tokenizer, a small trained one, and the reference conversations and pictures."""

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from self1e.processing.prompts import PHRASE_QUESTIONS, SEG_ANSWERS
from self1e.processing.tokens import add_seg_token, train_tokenizer


@pytest.fixture(scope="session")
def real_tokenizer(shared: Path) -> PreTrainedTokenizerFast:
    tokenizer = AutoTokenizer.from_pretrained(shared / "real-data/tokenizer/InternVL3-2B")
    add_seg_token(tokenizer)
    return tokenizer


@pytest.fixture(scope="session")
def small_tokenizer() -> PreTrainedTokenizerFast:
    texts = [question.format(phrase=f"{colour} ball") for question in PHRASE_QUESTIONS for colour in ("red", "blue")]
    return train_tokenizer([*texts, *SEG_ANSWERS], vocab_size=400)


@pytest.fixture(scope="session")
def reference(shared: Path) -> dict:
    return json.loads((shared / "golden/prompts_and_pictures.json").read_text())
