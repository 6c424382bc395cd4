"""What is left out is left out, and everything is as before afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from self1e.modeling.cpu_linear import can_prepack

from benchmarks import savings
from benchmarks.inference import Ways
from benchmarks.matrix_products import MatrixProducts
from benchmarks.performance import savings_table
from benchmarks.records import read
from benchmarks.subjects import build, picture, prepack_now, prompts


@pytest.mark.parametrize("saving", savings.WITHOUT)
def test_one_is_left_out(saving: str) -> None:
    ways = Ways(*build("nano", "bfloat16"))
    image, asked = picture(ways.processor, 1, 1), prompts(2)
    prepack_now(ways.model)
    ways.exact(image, asked[:1])  # what is read once is not to be counted
    products, tokens, _ = ways.watched(lambda: ways.exact(image, asked))
    with savings.WITHOUT[saving](ways):
        without, more, _ = ways.watched(lambda: ways.exact(image, asked))
    again, same, _ = ways.watched(lambda: ways.exact(image, asked))
    assert (again.tflop, same) == (products.tflop, tokens)
    if saving == "attention by head":
        assert len(without.products) < len(products.products)  # one for all heads
    elif saving == "prepacked weights":
        assert without.tflop == products.tflop and prepacked(without) == 0
        assert prepacked(products) > 50 or not can_prepack(torch.zeros(1, dtype=torch.bfloat16))
    else:
        assert without.tflop > products.tflop
        assert (more > tokens) == (saving != "LM head left out")


def prepacked(products: MatrixProducts) -> int:
    return sum(each.right is not None and each.right.is_mkldnn for each in products.products)


def test_a_row_for_each_number_of_expressions(tmp_path: Path) -> None:
    results = tmp_path / "savings.json"
    settings = ["--size", "nano", "--dtype", "bfloat16", "--expressions", "1", "2", "--passes", "1"]
    savings.main([*settings, "--results", str(results)])
    one, two = (row["timing"]["ratios"] for row in read(results))
    assert two.keys() - one.keys() == {"picture encoded once"}
    expected = {"folded weights", *savings.WITHOUT}
    if not can_prepack(torch.zeros(1, dtype=torch.bfloat16)):
        expected.remove("prepacked weights")
    assert one.keys() == expected
    table = savings_table(tmp_path)
    assert f"| cpu | nano, bfloat16 | 2 | picture encoded once | {two['picture encoded once']:.2f} |" in table
    operations = read(results)[1]["timing"]["products"]
    assert operations.pop("attention by head") == operations.pop("prepacked weights", 1) == 1
    assert min(operations.values()) > 1
