"""How examples are dealt out to the batches of a step."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from self1e.processing.batch import Row
from self1e.training.collate import Encoded, counts_of, dealt

IMAGE_TOKENS = 256


def encoded(*lengths: int) -> Encoded:
    rows = tuple(Row([0] * length, [-100] * length, [0] * length, list(range(length))) for length in lengths)
    return Encoded(torch.zeros(1), (1, 1), IMAGE_TOKENS, rows, (), ())


def cost(group: list[Encoded]) -> int:
    padded = counts_of([row for example in group for row in example.rows])["padded"]
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


@pytest.mark.parametrize("rates", [(1, 1, 1, 1), (6, 20, 6, 1)])
def test_published_mixtures_waste_little(rates: tuple[int, ...]) -> None:
    """Lengths as in the field's sets: 256 image tokens, phrases of a few words, sentences, VQA, long conversations.

    A step of the recipe holds 5 pictures x 8 batches (method, section 4). Texts of LLaVA-Instruct have some 60 to 250
    tokens a turn; a sixth of the words part is it. Beside it the same pictures in batches as they come.
    """
    generator = torch.Generator().manual_seed(1)

    def number(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=generator))

    def waste(steps: list[list[list[Encoded]]]) -> float:
        counts = [
            counts_of([row for example in batch for row in example.rows]) for batches in steps for batch in batches
        ]
        return 1 - sum(each["read"] for each in counts) / sum(each["padded"] for each in counts)

    steps = []
    for _ in range(50):
        examples = []
        for part in torch.multinomial(torch.tensor(rates).float(), 40, replacement=True, generator=generator).tolist():
            queries = number(1, 4)
            if part < 2:
                examples.append(encoded(*(number(305, 325) for _ in range(queries))))
            elif part == 2:
                examples.append(encoded(*(number(310, 400) for _ in range(queries))))
            elif number(0, 6):
                examples.append(encoded(number(290, 330)))
            else:
                examples.append(encoded(270 + sum(number(60, 250) for _ in range(number(1, 6)))))
        steps.append(examples)
    wasted = waste([dealt(examples, 8) for examples in steps])
    as_they_come = waste([[examples[start : start + 5] for start in range(0, 40, 5)] for examples in steps])
    assert wasted < 0.15 and wasted < 0.6 * as_they_come
