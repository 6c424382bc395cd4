"""The bare matrix products of a computation, and nothing else: what it could not be faster than.

`MatrixProducts.of` watches one run and notes every product of two matrices: its shape, and the weights that it read,
which stay where and how they are. `run` then does only these, each with its own weights, as in the model they do not
fit into the caches either. Results go into memory that is there already.

Products with weights (linears, the patch embedding) are kept apart from those of activations (attention, the mask's
inner product): a fused kernel may well do the latter faster than bare products, which write all scores to memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
ATTENTION = (
    aten._scaled_dot_product_flash_attention_for_cpu,
    aten._scaled_dot_product_flash_attention,
    aten._scaled_dot_product_efficient_attention,
    aten._scaled_dot_product_cudnn_attention,
    aten._scaled_dot_product_attention_math_for_mps,
)


@dataclass(frozen=True)
class Product:
    """`count` products [m, k] @ [k, n].

    `right` is the second operand, [k, n], where it is a weight of the model, and None for activations. Nothing is
    derived for the first operand if it is `data`.
    """

    count: int
    m: int
    k: int
    n: int
    dtype: torch.dtype
    device: torch.device
    right: Tensor | None = None
    data: bool = False

    def flop(self, backward: bool) -> int:
        """Multiplications and additions."""
        times = (2 if self.data else 3) if backward else 1
        return 2 * self.count * self.m * self.k * self.n * times


class MatrixProducts:
    """A list of products, ready to run.

    Args:
        products: In their order.
        backward: Also the two products that the gradients of each take.
    """

    def __init__(self, products: Sequence[Product], backward: bool = False) -> None:
        self.products = list(products)
        self.backward = backward
        self._calls: list[tuple[Callable[..., Tensor], Tensor, Tensor, Tensor]] | None = None

    @classmethod
    def of(
        cls, modules: Sequence[nn.Module], run: Callable[[], Any], backward: bool = False
    ) -> tuple[MatrixProducts, Any]:
        """The products of `run()`, which uses the weights of these modules; and its result."""
        weights = [each for module in modules for each in (*module.parameters(), *module.buffers())]
        recorder = _Recorder({each.untyped_storage().data_ptr() for each in weights})
        with torch.compiler.set_stance("force_eager"), recorder:  # compiled code keeps its products to itself
            result = run()
        return cls(recorder.products, backward), result

    @property
    def tflop(self) -> float:
        """Of all of them, 10^12 operations."""
        return sum(product.flop(self.backward) for product in self.products) / 1e12

    def with_weights(self) -> MatrixProducts:
        """Only those of activations with weights."""
        return MatrixProducts([each for each in self.products if each.right is not None], self.backward)

    def of_activations(self) -> MatrixProducts:
        """Only those of activations with each other."""
        return MatrixProducts([each for each in self.products if each.right is None], self.backward)

    def rivals(self) -> dict[str, Callable[[], None]]:
        """What is timed beside the run itself: "products" with weights, and those of "activations"; warmed up."""
        parts = {"products": self.with_weights(), "activations": self.of_activations()}
        for part in parts.values():
            part.run()
        return {name: part.run for name, part in parts.items()}

    @torch.inference_mode()
    def run(self) -> None:
        """All of them, in order; backwards in the opposite order. The first time takes the memory for it."""
        if self._calls is None:
            self._calls = self._prepared()
        for multiply, left, right, out in self._calls:
            multiply(left, right, out=out)

    def _prepared(self) -> list[tuple[Callable[..., Tensor], Tensor, Tensor, Tensor]]:
        memory = _Memory()
        forward, backward = [], []
        for each in self.products:
            left = memory.numbers("left", each, each.m, each.k)
            right = memory.numbers("right", each, each.k, each.n) if each.right is None else each.right
            forward.append((left, right, (each.m, each.n), each))
            if self.backward:
                gradient = memory.numbers("gradient", each, each.m, each.n)
                backward.append((gradient.mT, left, (each.n, each.k), each))
                if not each.data:
                    backward.append((gradient, right.mT, (each.m, each.k), each))

        return [
            (torch.mm if left.dim() == 2 else torch.bmm, left, right, memory.numbers("out", each, *shape))
            for left, right, shape, each in forward + backward[::-1]
        ]


class _Memory:
    """One piece of memory for each purpose, as large as the largest matrix needs it."""

    def __init__(self) -> None:
        self.pieces: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}

    def numbers(self, purpose: str, product: Product, rows: int, columns: int) -> Tensor:
        """Random numbers [rows, columns], or [count, rows, columns] where it is more than one product."""
        shape = (rows, columns) if product.count == 1 else (product.count, rows, columns)
        key = (purpose, product.dtype, product.device)
        size = prod(shape)
        if key not in self.pieces or self.pieces[key].numel() < size:
            self.pieces[key] = torch.randn(size, dtype=product.dtype, device=product.device)
        return self.pieces[key][:size].view(shape)


class _Recorder(TorchDispatchMode):
    """Notes the matrix products among torch's operators. `own` are the addresses of the weights."""

    def __init__(self, own: set[int]) -> None:
        super().__init__()
        self.own = own
        self.products: list[Product] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        operator = func.overloadpacket
        if operator in (aten.mm, aten.bmm):
            self._note(args[0].shape, args[1])
        elif operator in (aten.addmm, aten.baddbmm):
            self._note(args[1].shape, args[2])
        elif operator in ATTENTION:
            query, key, value = args[:3]
            self._note(query.shape, key.mT)
            self._note(query.shape, value)
        elif operator is not torch.ops.prim.device:
            with self:  # under inference mode operators arrive here whole
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        if operator is aten.convolution:  # of patches that do not overlap
            self._note(result.movedim(1, -1).flatten(0, -2).shape, args[1].flatten(1).T, data=True)
        return result

    def _note(self, left: torch.Size, right: Tensor, data: bool = False) -> None:
        """A product of [..., m, *] with [..., k, n], as many as `left` has matrices."""
        *several, m, _ = left
        k, n = right.shape[-2:]
        weight = right.detach() if right.untyped_storage().data_ptr() in self.own else None
        self.products.append(Product(prod(several), m, k, n, right.dtype, right.device, weight, data))
