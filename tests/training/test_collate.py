"""How examples are dealt out to the batches of a step."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from self1e.conversation import Turn
from self1e.data.records import Query, chosen, training_turn
from self1e.data.registry import open_set
from self1e.model.batch import Row
from self1e.processing.processor import SELF1EProcessor
from self1e.processing.prompts import SHORT_ANSWER_PROMPT
from self1e.processing.tokens import encode_continuation
from self1e.training.collate import Encoded, dealt

Draw = Callable[[], list[int]]
"""Lengths of the rows of one more picture of a part."""

IMAGE_TOKENS = 256


def encoded(*lengths: int) -> Encoded:
    rows = tuple(Row([0] * length, [-100] * length, [0] * length, list(range(length))) for length in lengths)
    return Encoded(torch.zeros(1), (1, 1), IMAGE_TOKENS, rows, ())


def read_and_padded(group: list[Encoded]) -> tuple[int, int]:
    """Tokens of all rows of a batch, without and with padding."""
    lengths = [len(row.input_ids) for example in group for row in example.rows]
    return sum(lengths), len(lengths) * max(lengths)


def cost(group: list[Encoded]) -> int:
    _, padded = read_and_padded(group)
    return (padded + len(group) * IMAGE_TOKENS) ** 2


@given(st.lists(st.lists(st.integers(1, 50), min_size=1, max_size=3), min_size=1, max_size=7), st.integers(1, 4))
def test_dealt_is_the_best_way_to_cut(lengths: list[list[int]], batches: int) -> None:
    examples = [encoded(*each) for each in lengths]
    groups = dealt(examples, batches)
    assert sorted(map(id, (example for group in groups for example in group))) == sorted(map(id, examples))
    assert len(groups) == min(batches, len(examples)) and all(groups)
    order = sorted(examples, key=lambda example: example.longest)
    best = min(
        sum(cost(order[start:end]) for start, end in zip((0, *cuts), (*cuts, len(order)), strict=True))
        for cuts in combinations(range(1, len(order)), len(groups) - 1)
    )
    assert sum(map(cost, groups)) == best


def test_order_is_kept_among_equals_and_in_one_batch_by_length() -> None:
    examples = [encoded(5), encoded(3), encoded(5), encoded(3)]
    assert dealt(examples, 1) == [[examples[1], examples[3], examples[0], examples[2]]]


RATES = [(1, 1, 1, 1), (6, 20, 6, 1)]
"""Of the published recipes: semantic, referring, reasoning, words. The second has hardly any long answers."""


def waste(steps: list[list[list[Encoded]]]) -> float:
    """Share of padding in all tokens of some steps."""
    read, padded = zip(*(read_and_padded(batch) for batches in steps for batch in batches), strict=True)
    return 1 - sum(read) / sum(padded)


def assert_little_is_wasted(parts: tuple[Draw, ...], rates: tuple[int, ...], rng: np.random.Generator) -> None:
    """In steps of the recipe, 5 pictures x 8 batches (method, section 4), beside the same pictures as they come."""
    chances = np.array(rates) / sum(rates)
    steps = [[encoded(*parts[part]()) for part in rng.choice(len(parts), 40, p=chances)] for _ in range(50)]
    wasted = waste([dealt(examples, 8) for examples in steps])
    as_they_come = waste([[examples[start : start + 5] for start in range(0, 40, 5)] for examples in steps])
    assert wasted < 0.15 and wasted < 0.6 * as_they_come


@pytest.mark.parametrize("rates", RATES)
def test_texts_of_the_published_mixtures_waste_little(real_data: Path, rates: tuple[int, ...]) -> None:
    """Texts of the kinds that the mixtures hold, in the templates of training, cut by InternVL3's tokenizer.

    Class names of COCO-Stuff and ADE20K pictures, expressions for COCO pictures, explained answers of ReasonSeg,
    questions of GQA, TextVQA and VizWiz with short answers, and GPT-4's answers of LLaVA's making: one of 30
    descriptions or 30 arguments, or three exchanges in a row, as often as LLaVA-Instruct-150k has them.
    """
    root, rng = real_data, np.random.default_rng(1)
    processor = SELF1EProcessor.from_pretrained(root / "tokenizer" / "InternVL3-2B")
    prefix = len(processor.prefix((1, 1)))

    def row(*turns: Turn) -> int:
        return prefix + len(encode_continuation(processor.tokenizer, turns))

    def asked(pictures: list[list[Query]]) -> Draw:
        return lambda: [row(training_turn(each, rng)) for each in chosen(pictures[rng.integers(len(pictures))], 3, rng)]

    sources = [open_set(name, root / "dataset") for name in ("cocostuff", "ade20k")]
    semantic = [asked([list(source[place].queries) for place in range(len(source))]) for source in sources]
    explained = json.loads((root / "dataset/reason_seg/ReasonSeg/explanatory/train.json").read_text())
    reasoning = [[Query(each["query"], "sentence", lambda: NOTHING, answer=each["outputs"])] for each in explained]
    expressions: dict[str, list[Query]] = defaultdict(list)
    for each in json.loads((root / "format_samples/refcocos/refcocos_test_506.json").read_text()):
        expressions[each["image"]].append(Query(each["normal_caption"], "phrase", lambda: NOTHING))
    short = list(short_exchanges(root / "format_samples" / "vqa_llava_eval"))
    long: dict[str, list[Turn]] = defaultdict(list)
    for line in (root / "format_samples/llava_qa/coco2014_val_gpt4_qa_30x3.jsonl").read_text().splitlines():
        each = json.loads(line)
        long[each["type"]].append(Turn(each["instruction"], each["output"]))

    def words() -> list[int]:
        if rng.integers(6):  # of six sets in words, five have short answers
            return [row(short[rng.integers(len(short))])]
        kind = rng.choice(["conv", "detail", "complex"], p=np.array([58, 23, 77]) / 158)  # thousands
        return [row(*chosen(long[kind], 3 if kind == "conv" else 1, rng))]

    parts = (lambda: semantic[rng.integers(2)](), asked(list(expressions.values())), asked(reasoning), words)
    assert_little_is_wasted(parts, rates, rng)


NOTHING = np.zeros((1, 1), np.uint8)


def short_exchanges(folder: Path) -> Iterator[Turn]:
    """Questions of VQA benchmarks, without the hints that some are given with, and answers of a model."""
    for file in sorted(folder.glob("*_answers_llava13b_500.jsonl")):
        for line in file.read_text().splitlines():
            each = json.loads(line)
            yield Turn(f"{each['prompt'].splitlines()[0]}\n{SHORT_ANSWER_PROMPT}", each["text"])


@pytest.mark.parametrize("rates", RATES)
def test_assumed_lengths_waste_little(rates: tuple[int, ...]) -> None:
    """As above where there are no texts: evenly distributed lengths, assumed for phrases, sentences, VQA and talks."""
    rng = np.random.default_rng(1)

    def phrases() -> list[int]:
        return rng.integers(305, 325, rng.integers(1, 4)).tolist()

    def sentences() -> list[int]:
        return rng.integers(310, 400, rng.integers(1, 4)).tolist()

    def words() -> list[int]:
        if rng.integers(6):
            return [int(rng.integers(290, 330))]
        return [270 + int(rng.integers(60, 250, rng.integers(1, 6)).sum())]

    assert_little_is_wasted((phrases, phrases, sentences, words), rates, rng)
