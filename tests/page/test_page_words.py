"""The words of the page `docs/try` are those of the package, token by token."""

from __future__ import annotations

import json
import random
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from page_in_node import in_node
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import self1e
from self1e.conversation import SEG, Turn
from self1e.processing.processor import SELF1EProcessor
from self1e.processing.prompts import (
    EVAL_ANSWER,
    PHRASE_QUESTIONS,
    SENTENCE_QUESTIONS,
    question_for,
    reads_as_sentence,
)
from self1e.processing.tokens import EncodedConversation, encode_continuation, encode_text, pack_tightly, single
from self1e.segment.nouns import TaughtNouns

ASSETS = Path(self1e.__file__).parent / "assets"
QUESTIONS = {"phrase": PHRASE_QUESTIONS[-1], "sentence": SENTENCE_QUESTIONS[-1]}
WORDS = 'import { pack, questionFor, readsAsSentence, tokensOf } from "./words.js";'
TOKENIZER = 'import { readTokenizer } from "./tokenizer.js";'

STRANGE = [
    "left guy",
    "the dog (brown)",
    "3rd zebra, 2nd from the left; 1999",
    "图中左边的人",
    "图中左边的人是谁？",
    "Café ÀÉÎÕÜ naïve façade ŁÓDŹ",
    "Ça, c'est l'été; I'll, WE'RE, it'S, he’d",
    "[SEG] <|im_end|> <img></img> <IMG_CONTEXT> [UNK] ##ing",
    "{phrase} {sentence} {0} $& $1 \\d",
    "Σίσυφος ΟΔΟΣ İstanbul ıı ß ﬁ",
    "a\u0301 e\u0301cole vs é",
    "tab\tline\nend\r\n  two  spaces\u3000wide\u00a0hard",
    "zero\u200bwidth\u00adsoft\ufeffmark \x00null \x07bell",
    "emoji 🦊 👩‍👩‍👧 ❤️ ✈ €5 £3 ½ m² ©",
    "हिन्दी ไทย عربي עברית 한국어 にほんご",
    "Donaudampfschifffahrtsgesellschaftskapitän" * 4,
    "x" * 101,
    "...!!??",
    "what\u00e9ver",
    "whatever is red",
    "What? is",
    "Is there a dog",
    "is dog",
    "find the cat",
    "find cat",
    "point guard",
    "point  at the sky",
    'He said "look!"',
    "the thing that barks.”)",
    "tell me",
    "tellme",
    "\x1c\x1f the cat \x85\u2003",
    "please",
    "pleased man",
    "who_is",
]


def prompts() -> list[str]:
    """A hundred and more: those above, and others drawn of nouns and of parts of them."""
    draw = random.Random(0)
    nouns = list(TaughtNouns.read(ASSETS / "mini") or ())
    openings = ["the", "a", "Find the", "what is the", "show me all", "which", "THE", "two", "every", "is that a"]
    endings = ["", "", "?", ".", " on the left", ", please", "!", "'s tail", " (small)"]
    drawn = [f"{draw.choice(openings)} {draw.choice(nouns)}{draw.choice(endings)}" for _ in range(60)]
    mixed = ["".join(draw.sample("".join(STRANGE), 12)) for _ in range(30)]
    return [prompt for prompt in [*STRANGE, *drawn, *mixed] if prompt.strip()]


@pytest.fixture(scope="module", params=["mini", "nano"])
def processor(request: pytest.FixtureRequest) -> SELF1EProcessor:
    return SELF1EProcessor.from_pretrained(ASSETS / request.param)


def tokenizer_json(processor: SELF1EProcessor) -> Any:
    return json.loads(processor.tokenizer.backend_tokenizer.to_str())


def words_behind_the_picture(processor: SELF1EProcessor, asked: list[str]) -> dict[str, list[int]]:
    """What the second program of an exported model takes, made by the package."""
    prefix = processor.prefix((1, 1))
    conversations = [_up_to_seg(processor, question_for(prompt)) for prompt in asked]
    row = single(prefix + conversations[0]) if len(asked) == 1 else pack_tightly(prefix, conversations)
    row = row.after(len(prefix) - 1)  # the end of the picture is read with the words
    seg = processor.tokenizer.convert_tokens_to_ids(SEG)
    return {
        "words": row.input_ids,
        "positions": row.position_ids,
        "conversations": row.conversation_ids,
        "marks": [place - 1 for place, token in enumerate(row.input_ids) if token == seg],
    }


def _up_to_seg(processor: SELF1EProcessor, question: str) -> EncodedConversation:
    encoded = encode_continuation(processor.tokenizer, [Turn(question, EVAL_ANSWER)])
    seg = processor.tokenizer.convert_tokens_to_ids(SEG)
    return encoded[: encoded.input_ids.index(seg) + 1]


def test_words_of_prompts(processor: SELF1EProcessor) -> None:
    asked = prompts()
    assert len(asked) >= 100
    groups = [[prompt] for prompt in asked] + [asked[:2], asked[5:12], ["the cat", "the cat"], asked]
    found = in_node(
        TOKENIZER + WORDS,
        """
        const tokenizer = readTokenizer(given.tokenizer);
        return given.groups.map((prompts) => pack(
          prompts.map((prompt) => tokensOf(tokenizer, questionFor(prompt, given.questions))), given.before));
        """,
        {
            "tokenizer": tokenizer_json(processor),
            "groups": groups,
            "questions": QUESTIONS,
            "before": len(processor.prefix((1, 1))) - 1,
        },
    )
    for group, words in zip(groups, found, strict=True):
        assert words == words_behind_the_picture(processor, group), group


def test_which_prompts_are_sentences() -> None:
    asked = prompts()
    found = in_node(WORDS, "return given.map(readsAsSentence);", asked)
    assert dict(zip(asked, found, strict=True)) == {prompt: reads_as_sentence(prompt) for prompt in asked}
    assert 20 < sum(found) < len(asked) - 20


def test_empty_prompt_is_refused() -> None:
    found = in_node(
        WORDS, "try { return questionFor(given, {}); } catch (error) { return error.message; }", " \n\x1c\u2003"
    )
    assert found.startswith("The prompt is empty")


def test_texts_of_any_letter(processor: SELF1EProcessor) -> None:
    """But for what is younger than the tables of the library `tokenizers`, or has another category since."""
    old = unicodedata.ucd_3_2_0
    letters = [
        letter for letter in map(chr, range(0x3000)) if old.category(letter) == unicodedata.category(letter) != "Cn"
    ]
    texts = [f"a{letter}b {letter}" for letter in letters]
    found = in_node(
        TOKENIZER,
        "const { encode } = readTokenizer(given.tokenizer); return given.texts.map((text) => encode(text));",
        {"tokenizer": tokenizer_json(processor), "texts": texts},
    )
    differing = [text for text, ids in zip(texts, found, strict=True) if ids != encode_text(processor.tokenizer, text)]
    assert not differing


def test_half_a_letter_is_no_letter() -> None:
    processor = SELF1EProcessor.from_pretrained(ASSETS / "nano")
    found = in_node(
        TOKENIZER,
        r'return readTokenizer(given).encode("a\ud83eb");',
        tokenizer_json(processor),
    )
    assert found == encode_text(processor.tokenizer, "a\ud83eb")


@pytest.mark.parametrize(
    ("part", "strange"),
    [
        ("normalizer", normalizers.Lowercase()),
        ("pre_tokenizer", pre_tokenizers.Whitespace()),
        (
            "pre_tokenizer",
            pre_tokenizers.Sequence(
                [pre_tokenizers.Split(Regex(r"\s+"), "isolated"), pre_tokenizers.ByteLevel(use_regex=False)]
            ),
        ),
        ("model", models.Unigram([("a", 0.0)])),
    ],
)
def test_other_tokenizers_are_refused(part: str, strange: Any) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    setattr(tokenizer, part, strange)
    json_of_it = json.loads(PreTrainedTokenizerFast(tokenizer_object=tokenizer).backend_tokenizer.to_str())
    says = in_node(
        TOKENIZER, "try { readTokenizer(given); return null; } catch (error) { return error.message; }", json_of_it
    )
    assert says and says.startswith("This page cannot read words for this model")


def test_nouns_that_were_taught() -> None:
    nouns = TaughtNouns.read(ASSETS / "mini")
    assert nouns is not None
    nouns = replace(nouns, iou={**nouns.iou, "pole": 0.01})  # what it hardly finds changes with its training
    texts = [
        *prompts(),
        *("the T-Shirt", "t shirt", "TV  screens", "a potted\nplant", "catalogue", "übercat", "cat_", "cats!"),
        *("the boot", "hot-dog stand", "the stop signs", "traffic light", "tennis ball on the table", "the glass"),
        *("the kittens", "the woman’s dress", "the pole", "a pair of wine glasses", "the cat, the dog and the ewe"),
        *("the tall building on the left", "the cat lying there", "the puppies left of the bus", "the ponies"),
    ]
    found = in_node(
        'import { doubter } from "./nouns.js";',
        "return given.texts.map(doubter(given.nouns));",
        {"texts": texts, "nouns": nouns.to_dict()},
    )
    expected = [nouns.doubt(text) for text in texts]
    assert dict(zip(texts, found, strict=True)) == {
        text: doubt and doubt._asdict() for text, doubt in zip(texts, expected, strict=True)
    }
    assert {doubt and doubt.kind for doubt in expected} == {None, "unknown", "near", "hardly"}
