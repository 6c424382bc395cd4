"""InternVL3's tokenizer as far as conversations need it, a small trained one, and what the released code made."""

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from self1e.conversation import add_seg_token
from self1e.processing.prompts import PHRASE_QUESTIONS, SEG_ANSWERS
from self1e.processing.tokenizers import train_tokenizer


@pytest.fixture(scope="session")
def internvl_tokenizer(internvl_folder: Path) -> PreTrainedTokenizerFast:
    tokenizer = AutoTokenizer.from_pretrained(internvl_folder)
    add_seg_token(tokenizer)
    return tokenizer


@pytest.fixture(scope="session")
def small_tokenizer() -> PreTrainedTokenizerFast:
    texts = [question.format(phrase=f"{colour} ball") for question in PHRASE_QUESTIONS for colour in ("red", "blue")]
    return train_tokenizer([*texts, *SEG_ANSWERS], vocab_size=400)


@pytest.fixture(scope="session")
def reference(golden: Path) -> dict:
    return json.loads((golden / "prompts_and_pictures.json").read_text())
