"""A model as inference runs it: the one seam between the paper's network and what makes it fast.

`FastModel` runs the steps of `SELF1EForSegmentation` one by one, three of them by other means: folded weights in place
of the projector on self-replicated features and of the refilling head (`folding`), keys and values of the tokens before
the picture from a cache (`prefix_cache`), and the attention that suits device and type (`attention`). The weights stay
as they were, and can still be trained and saved; eval mode, the attention implementation and the type of rotary
embeddings do not. Whatever was made of weights is made again once these weights change.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Hashable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import chain, takewhile
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from transformers.utils import output_capturing

from self1e.fast.attention import choose_attention
from self1e.fast.folding import FoldedHead, FoldedProjector
from self1e.fast.prefix_cache import PrefixCache
from self1e.fast.transfers import to_device
from self1e.model.batch import Batch
from self1e.model.network import ImageFeatures, SELF1EForSegmentation
from self1e.model.refilling import MaskHead
from self1e.model.rows import Row


def prepare(model: SELF1EForSegmentation, *, compile: bool = False) -> FastModel:
    """Makes a model ready for inference, where it is and in the type that it has.

    Args:
        model: Is put into eval mode, and gets another attention where that is faster.
        compile: Also have torch compile the layers of the text model, see `compile_layers`.

    Raises:
        ValueError: If there is nothing to compile with.
    """
    return FastModel(model, compile=compile)


class FastModel:
    """Masks and answers of a network, as fast as they get. See `prepare`.

    It sees that weights change by loading, moving, training, `copy_` and all else that torch counts, and adapters that
    are switched. Torch counts no writes through `weight.data`: call `forget` after them.

    Attributes:
        network: The model itself.
        compiled: Whether torch compiles its text model.
    """

    def __init__(self, network: SELF1EForSegmentation, *, compile: bool = False) -> None:
        self.network = network.eval()
        self.compiled = compile
        choose_attention(network)
        _stay_within_context(network)
        if compile:
            compile_layers(network)
        self._projector = _Derived(self._make_projector)
        self._head = _Derived(self._make_head)
        self._prefixes = _Derived(self._no_prefixes)
        self._weights = _Version()
        self.vision_version()  # before threads could ask for it at the same time

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        if self.compiled:
            compile_layers(self.network)  # copies of layers come without what torch has made of them

    def encode_images(self, pixel_values: Tensor) -> ImageFeatures:
        """As `SELF1EForSegmentation.encode_images`; without the uncompressed features, of which the head has its part.

        Args:
            pixel_values: float[T, 3, S, S], on the model's device.
        """
        features = self.network.encode_images(pixel_values, self.head, self.projector)
        return replace(features, uncompressed=None)

    @property
    def projector(self) -> FoldedProjector:
        """The projector of self-replicated features, folded."""
        return self._projector.of(self.network.model.multi_modal_projector)

    @property
    def head(self) -> MaskHead:
        """The refilling head, folded where there is something to fold."""
        return self._head.of(self.network.refilling_head)

    def prefix(self, rows: Sequence[Row]) -> PrefixCache | None:
        """What stands before the pictures of all rows, if it is the same in each; is read once and kept.

        None for a compiled model: layers would have another program for rows behind a prefix, and torch makes no more
        than eight.
        """
        if self.compiled:
            return None
        network = self.network
        image = network.config.image_token_id
        beginnings = {tuple(takewhile(lambda token: token != image, row.input_ids)) for row in rows}
        tokens = beginnings.pop()
        if beginnings or not 0 < len(tokens) < len(rows[0].input_ids):
            return None
        kept = self._prefixes.of(network.model.language_model)
        if tokens not in kept:
            ids = to_device(torch.tensor(tokens), network.device)
            kept[tokens] = PrefixCache.read(network.model.language_model, network.get_input_embeddings()(ids))
        return kept[tokens]

    def mask_logits(
        self, batch: Batch, image_features: ImageFeatures, prefix: PrefixCache | None = None
    ) -> tuple[Tensor, ...]:
        """The mask pass: one float[K, H, W] for each row of a batch.

        Args:
            batch: On the model's device, its rows without the tokens of `prefix`.
            image_features: From `encode_images`.
            prefix: From `prefix`.
        """
        network = self.network
        states = network.read(batch, network.embed(batch, image_features), prefix)
        return tuple(final for final, *_ in network.mask_maps(batch, states, image_features, self.head))

    def generate(self, batch: Batch, image_features: ImageFeatures, **kwargs: Any) -> Tensor:
        """As `SELF1EForSegmentation.generate`. Layers run as they were written: to compile them would not pay here."""
        with torch.compiler.set_stance("force_eager") if self.compiled else nullcontext():
            return self.network.generate(batch, image_features=image_features, **kwargs)

    def vision_version(self) -> int:
        """A number that is another one when `encode_images` would give something else than before."""
        network = self.network
        return self._weights.of(network.model.vision_tower, network.model.multi_modal_projector, network.refilling_head)

    def forget(self) -> None:
        """Makes everything anew that was made of weights. For writes that torch does not count; see above."""
        for derived in (self._projector, self._head, self._prefixes, self._weights):
            derived.forget()

    def _make_projector(self) -> FoldedProjector:
        return FoldedProjector(self.network.model.multi_modal_projector)

    def _make_head(self) -> MaskHead:
        head = self.network.refilling_head
        return FoldedHead(head) if head.rung.amplified and head.rung.residual else head

    def _no_prefixes(self) -> dict[tuple[int, ...], PrefixCache]:
        return {}


T = TypeVar("T")


class _Derived(Generic[T]):
    """Something that was made of weights, and is made again when it is asked for after they have changed.

    Args:
        make: Makes it of the weights as they are.
    """

    _made_of: Hashable = None
    _value: T

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make

    def __getstate__(self) -> dict[str, object]:
        """A copy makes its own, of its own weights; and a reference to storage, once copied, would be freed twice."""
        return {"_make": self._make}

    def of(self, *parts: nn.Module) -> T:
        """The value for the weights of these parts as they are now."""
        seen = tuple(map(state_of, parts))
        if seen != self._made_of:
            self._value, self._made_of = self._make(), seen
        return self._value

    def forget(self) -> None:
        """Makes it again when it is next asked for."""
        self._made_of = None


class _Version(_Derived[int]):
    """Counts how often weights have changed. A copy goes on from the same number, as its weights are the same."""

    _copied = False
    _value = -1

    def __init__(self) -> None:
        super().__init__(self._next)

    def _next(self) -> int:
        return self._value + 1

    def __getstate__(self) -> dict[str, object]:
        return super().__getstate__() | {"_value": self._value, "_copied": True}

    def of(self, *parts: nn.Module) -> int:
        """The number for the weights of these parts as they are now."""
        if self._copied:
            self._made_of, self._copied = tuple(map(state_of, parts)), False
        return super().of(*parts)


def state_of(part: nn.Module) -> Hashable:
    """Differs when a part of a model computes something else than before, as far as torch and peft let it be seen."""
    layers: list[Any] = [layer for layer in part.modules() if hasattr(layer, "disable_adapters")]
    adapters = [
        (layer.disable_adapters, tuple(layer.active_adapters), tuple(getattr(layer, "scaling", {}).items()))
        for layer in layers
        if not callable(layer.disable_adapters)  # a layer of peft's; transformers' models have a method of this name
    ]
    weights = [_state(weight) for weight in chain(part.parameters(), part.buffers())]
    return tuple(weights), tuple(adapters)


def _state(weight: Tensor) -> Hashable:
    """Differs when other numbers are in a weight: loading counts its version up, moving replaces its storage.

    The reference to the storage is weak: it keeps no numbers, but its address from being used again.
    """
    version = None if weight.is_inference() else weight._version
    return StorageWeakRef(weight.untyped_storage()), weight.dtype, weight.device, version


def check_compiler(device: torch.device) -> None:
    """Looks for what torch compiles with on a CPU.

    Raises:
        ValueError: When it is not there.
    """
    compiler = os.environ.get("CXX") or {"win32": "cl", "darwin": "clang++"}.get(sys.platform, "g++")
    if device.type == "cpu" and shutil.which(compiler) is None:
        raise ValueError(f"to compile for a CPU torch needs {compiler}: install it, or leave compile out")


def compile_layers(model: SELF1EForSegmentation) -> None:
    """Has torch compile the layers of the text model, each when it first runs; they are alike, and share what is made.

    Numbers of tokens may differ from pass to pass. On a CPU in half precision what is made is for one number of rows,
    and torch makes no more than eight.

    Raises:
        ValueError: As `check_compiler`.
    """
    check_compiler(model.device)
    for layer in model.model.language_model.layers:
        layer.compile(dynamic=True)  # rows and tokens differ from pass to pass


def drop_hooks(model: nn.Module) -> None:
    """Takes out what transformers has hooked in to record hidden states: local functions, which cannot be pickled.

    It hooks them in again in the next forward.
    """
    for part in model.modules():
        if hasattr(part, "_output_capturing_hooks_installed"):
            del part._output_capturing_hooks_installed
        hooks: dict[int, Callable[..., Any]] = getattr(part, "_forward_hooks", {})
        for number in [number for number, hook in hooks.items() if hook.__module__ == output_capturing.__name__]:
            del hooks[number]


def _stay_within_context(model: SELF1EForSegmentation) -> None:
    """Has "dynamic" rotary embeddings, which InternVL3's are, take no notice of how long the input is.

    They scale with inputs longer than the model's context, which are refused before they get here, and ask the device
    in every pass whether they have to. Shorter ones are read as before.
    """
    rotary = model.model.language_model.rotary_emb
    if rotary.rope_type == "dynamic":
        rotary.rope_type = "default"
        rotary.inv_freq = rotary.original_inv_freq  # as they are before the first input that is too long
