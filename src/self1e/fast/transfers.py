"""Copies to a device that the host does not wait for, few and large ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import torch
from torch import Tensor

from self1e.model.batch import Batch


def moved(batch: Batch, device: torch.device) -> Batch:
    """As `Batch.to`, with one copy for each type of number."""
    if batch.input_ids.device == device:
        return batch
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    for dtype in {value.dtype for value in tensors.values()}:
        names = [name for name, value in tensors.items() if value.dtype == dtype]
        together = to_device_together([tensors[name] for name in names], device)
        values |= dict(zip(names, together, strict=True))
    if batch.masks:
        values["masks"] = to_device_together(batch.masks, device)
    return replace(batch, **values)


def pinned(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy of a CPU tensor in memory that a CUDA device reads while the host goes on; else the tensor itself."""
    if device.type != "cuda" or tensor.device.type != "cpu" or tensor.is_pinned():
        return tensor
    return tensor.pin_memory()


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on a device. The host goes on while it is copied there, and waits for a copy back to the host."""
    # MPS reads the host's memory later without keeping hold of it.
    onward = tensor.device.type == "cpu" and device.type != "mps"
    return pinned(tensor, device).to(device, non_blocking=onward)


def to_device_together(tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Tensors of one type, each of any shape, on a device: in one copy, as `to_device`."""
    if len(tensors) == 1:
        return [to_device(tensors[0], device)]
    moved = to_device(torch.cat([each.flatten() for each in tensors]), device)
    parts = moved.split([each.numel() for each in tensors])
    return [part.view(each.shape) for part, each in zip(parts, tensors, strict=True)]
