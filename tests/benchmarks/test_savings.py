"""What is left out is left out, and everything is as before afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import savings
from benchmarks.inference import Ways
from benchmarks.performance import savings_table
from benchmarks.records import read
from benchmarks.subjects import build, picture, prompts


@pytest.mark.parametrize("saving", savings.WITHOUT)
def test_one_is_left_out(saving: str) -> None:
    ways = Ways(*build("nano", "bfloat16"))
    image, asked = picture(ways.processor, 1, 1), prompts(2)
    ways.exact(image, asked[:1])  # what is read once is not to be counted
    products, tokens, _ = ways.watched(lambda: ways.exact(image, asked))
    with savings.WITHOUT[saving](ways):
        without, more, _ = ways.watched(lambda: ways.exact(image, asked))
    again, same, _ = ways.watched(lambda: ways.exact(image, asked))
    assert (again.tflop, same) == (products.tflop, tokens)
    if saving == "attention by head":
        assert len(without.products) < len(products.products)  # one for all heads
    else:
        assert without.tflop > products.tflop
        assert (more > tokens) == (saving not in ("LM head left out", "folded weights"))


@pytest.mark.slow
def test_a_row_for_each_number_of_expressions(tmp_path: Path) -> None:
    results = tmp_path / "savings.json"
    settings = ["--size", "nano", "--dtype", "bfloat16", "--expressions", "1", "2", "--passes", "1"]
    savings.main([*settings, "--results", str(results)])
    one, two = (row["timing"]["ratios"] for row in read(results))
    assert two.keys() - one.keys() == {"picture encoded once"}
    assert one.keys() == set(savings.WITHOUT)
    table = savings_table(tmp_path)
    assert f"| cpu | nano, bfloat16 | 2 | picture encoded once | {two['picture encoded once']:.2f} |" in table
    operations = read(results)[1]["timing"]["products"]
    assert operations.pop("attention by head") == 1
    assert min(operations.values()) > 1
