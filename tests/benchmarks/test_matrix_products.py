"""What counts as a matrix product, whose weights it reads, and that nothing is left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.matrix_products import MatrixProducts, Product
from self1e.model.batch import build_batch
from self1e.model.network import SELF1EForSegmentation
from self1e.processing.tokens import EncodedConversation, single


def shapes(products: MatrixProducts) -> list[tuple[int, int, int, int]]:
    return [(each.count, each.m, each.k, each.n) for each in products.products]


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_products_of_layers(mode: Callable[[], Any]) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 2, stride=2), nn.Flatten(2), nn.Linear(6, 5), nn.GELU(), nn.Linear(5, 6))
    with mode():
        products, result = MatrixProducts.of([model], lambda: model(torch.zeros(7, 3, 4, 6)))
    assert result.shape == (7, 8, 6)
    assert shapes(products) == [(1, 42, 12, 8), (1, 56, 6, 5), (1, 56, 5, 6)]
    assert [each.data for each in products.products] == [True, False, False]
    weights = [each.right.data_ptr() for each in products.products if each.right is not None]
    assert weights == [layer.weight.data_ptr() for layer in model if hasattr(layer, "weight")]
    assert products.tflop == pytest.approx(2 * (42 * 12 * 8 + 2 * 56 * 30) / 1e12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_products_of_attention(dtype: torch.dtype) -> None:
    query, key = torch.zeros(2, 4, 10, 16, dtype=dtype), torch.zeros(2, 4, 12, 16, dtype=dtype)
    products, _ = MatrixProducts.of([], lambda: nn.functional.scaled_dot_product_attention(query, key, key))
    assert shapes(products) == [(8, 10, 16, 12), (8, 10, 12, 16)]
    assert shapes(products.of_activations()) == shapes(products) and not products.with_weights().products


def test_backward_takes_two_more_products_each() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 2, stride=2), nn.Flatten(2), nn.Linear(4, 5, bias=False))
    product, _ = MatrixProducts.of([model], lambda: model(torch.zeros(7, 3, 4, 4)), backward=True)
    patches, linear = 28 * 12 * 8, 56 * 4 * 5
    assert product.tflop == pytest.approx(2 * (2 * patches + 3 * linear) / 1e12)  # pictures need no gradient


@pytest.mark.parametrize("backward", [False, True])
def test_running_them_does_them(backward: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers of operations that torch itself counts, and no weight is written to."""
    model = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 6)).requires_grad_(backward)
    batched = Product(3, 4, 5, 6, torch.float32, torch.device("cpu"))
    products, _ = MatrixProducts.of([model], lambda: model(torch.zeros(7, 6)), backward)
    products = MatrixProducts([*products.products, batched], backward)
    before = [weight.clone() for weight in model.parameters()]
    products.run()
    with FlopCounterMode(display=False) as counter:
        products.run()
    assert counter.get_total_flops() == products.tflop * 1e12
    assert all(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))


def test_finds_all_that_torch_counts_in_our_model(tiny_model_folder: Path) -> None:
    """Eager attention, as torch's own counter does not know the fused kernel of the CPU."""
    model = SELF1EForSegmentation.from_pretrained(tiny_model_folder, attn_implementation="eager").eval()
    config = model.config
    ids = [1, 2, *[config.image_token_id] * 16, 3, config.seg_token_id, 4]
    row = single(EncodedConversation(ids, ids))
    special = {"image_token_id": config.image_token_id, "seg_token_id": config.seg_token_id}
    batch = build_batch([row], [(1, 1)], pixel_values=torch.zeros(1, 3, 64, 64), **special)

    def run() -> Any:
        return model(batch, logits_at=torch.arange(len(ids)))

    products, output = MatrixProducts.of([model], run)
    with FlopCounterMode(display=False) as counter:
        run()
    assert products.tflop * 1e12 == pytest.approx(counter.get_total_flops())
    assert output.mask_logits[0].shape == (1, 16, 16)
    read = {each.right.data_ptr() for each in products.products if each.right is not None}
    linears = [module.weight for module in model.modules() if isinstance(module, nn.Linear)]
    assert {weight.data_ptr() for weight in linears} <= read
