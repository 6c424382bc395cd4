"""Where does the host wait for the device? Counted on a GPU that is simulated, on any machine.

    python -m benchmarks.simulated_gpu                 # a mask pass of nano: each place, and how often

Tensors on the device "simulated" keep their numbers on the CPU, and otherwise behave as those on a CUDA GPU: operators
refuse tensors of both devices, but for copies, scalars and indices; `.numpy()` fails; and whatever makes the host wait
for the device is counted in `waits`: copies that are not said to be `non_blocking`, single numbers that are read, and
shapes that depend on numbers (`nonzero`, boolean masks as indices). What takes how long, it does not say.

After `register` "simulated" is a device like others, in this process only.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.library import Library
from torch.utils import _pytree as pytree
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from benchmarks.inference import Ways
from benchmarks.subjects import build, picture, prompts

aten = torch.ops.aten
NAME = "simulated"
INDEXING = (aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_)
WAITING = (aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten.equal)

waits: Counter[tuple[str, str]] = Counter()
"""How often the host waited: (place, operator), the place being the nearest line of code outside of torch."""


class SimulatedTensor(Tensor):
    """A tensor on the device; `on_cpu` has its numbers."""

    on_cpu: Tensor

    @staticmethod
    def __new__(cls, on_cpu: Tensor) -> SimulatedTensor:
        with torch.inference_mode(False):  # an inference tensor could not be a view of a weight
            tensor = Tensor._make_wrapper_subclass(
                cls,
                on_cpu.size(),
                strides=on_cpu.stride(),
                storage_offset=on_cpu.storage_offset(),
                dtype=on_cpu.dtype,
                device=torch.device(NAME, 0),
            )
        tensor.on_cpu = on_cpu
        return tensor

    def tolist(self) -> Any:
        return self.cpu().tolist()  # torch refuses it to subclasses

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.on_cpu.untyped_storage()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        kwargs = dict(kwargs or {})
        parts = func.decompose(*args, **kwargs)  # under inference mode operators arrive here whole
        if parts is not NotImplemented:
            return parts
        operator = func.overloadpacket
        if operator is aten._fused_sdp_choice:
            return 0  # plain products: the fused kernels are different ones on each device
        arguments = (args[0], args[2:], kwargs) if operator in INDEXING else (args, kwargs)
        on_cpu = [each for each in pytree.tree_leaves(arguments) if type(each) is Tensor and each.dim()]
        if on_cpu and operator is not aten.copy_:
            raise RuntimeError(f"{func} is given a tensor on {NAME!r} and one on the CPU")
        leaves = "device" in kwargs and torch.device(kwargs["device"]).type != NAME
        at_leisure = kwargs.get("non_blocking", operator is aten.copy_ and args[2:] == (True,))
        copied = leaves or any(each.numel() for each in on_cpu)
        if (copied and not at_leisure) or operator in WAITING or (operator in INDEXING and _by_mask(args[1])):
            _note(operator)
        if "device" in kwargs:
            kwargs["device"] = "cpu"
        plain_args, plain_kwargs = pytree.tree_map_only(SimulatedTensor, lambda each: each.on_cpu, (args, kwargs))
        result = func(*plain_args, **plain_kwargs)
        if func._schema.is_mutable:
            return kwargs.get("out", args[0])
        return result if leaves else pytree.tree_map_only(Tensor, SimulatedTensor, result)


def _by_mask(indices: Sequence[Tensor | None]) -> bool:
    return any(each is not None and each.dtype == torch.bool for each in indices)


def _note(operator: Any) -> None:
    frame = sys._getframe()
    while frame.f_back and (frame.f_code.co_filename == __file__ or "torch" in Path(frame.f_code.co_filename).parts):
        frame = frame.f_back
    path = Path(frame.f_code.co_filename)
    waits[f"{path.parent.name}/{path.name}:{frame.f_lineno}", operator.__name__] += 1


def _factory(func: Any) -> Callable[..., Tensor]:
    """An operator that makes a tensor of nothing, for the device."""

    def make(*args: Any, **kwargs: Any) -> Tensor:
        return SimulatedTensor(func(*args, **kwargs | {"device": "cpu"}))

    return make


def _copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    """How torch brings a tensor from the CPU to the device."""
    if not non_blocking and source.numel():
        _note(aten.copy_)
    assert isinstance(target, SimulatedTensor)
    target.on_cpu.copy_(source)
    return target


_registered = Library("aten", "IMPL")  # what is registered lives as long as this


def register() -> None:
    """Makes the device known to this process, once and for all."""
    _setup_privateuseone_for_python_backend(NAME)
    _registered.impl("_copy_from", _copy_from, "PrivateUse1")
    for name in torch._C._dispatch_get_all_op_names():
        packet, _, overload = name.removeprefix("aten::").partition(".")
        func = getattr(getattr(aten, packet, None), overload or "default", None) if name.startswith("aten::") else None
        if func is None:
            continue
        takes = {each.name: str(each.type) for each in func._schema.arguments}
        gives = [str(each.type) for each in func._schema.returns]
        if "device" in takes and not any("Tensor" in kind for kind in takes.values()) and gives == ["Tensor"]:
            _registered.impl(name.removeprefix("aten::"), _factory(func), "PrivateUse1")


def waits_of(run: Callable[[], Any]) -> Counter[tuple[str, str]]:
    """What was added to `waits` by a run."""
    before = waits.copy()
    run()
    return waits - before


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--expressions", type=int, nargs="+", default=[1, 4])
    chosen = parser.parse_args(arguments)
    register()
    model, processor = build("nano", "float32")
    ways = Ways(model.to(NAME), processor)
    image = picture(processor, 1, 1)
    ways.exact(image, prompts(1))  # what is read once, in the first pass, is not counted
    runs = {
        f"{name}, {number}": waits_of(lambda name=name, number=number: getattr(ways, name)(image, prompts(number)))  # type: ignore[misc]
        for name in ("exact", "shared")
        for number in chosen.expressions
    }
    print(f"| place | operator | {' | '.join(runs)} |\n|---|---|{'---|' * len(runs)}")
    for place, operator in dict.fromkeys(key for found in runs.values() for key in found):
        counts = " | ".join(str(found[place, operator]) for found in runs.values())
        print(f"| `{place}` | `{operator}` | {counts} |")
    print(f"| all | | {' | '.join(str(found.total()) for found in runs.values())} |")


if __name__ == "__main__":
    main()
