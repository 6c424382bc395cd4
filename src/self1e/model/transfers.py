"""Copies to the device that the host does not wait for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def pinned(tensor: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor in memory that a CUDA device can read while the host goes on; for other devices the tensor itself.

    Takes a copy in memory: best done once, in a thread that has time for it.
    """
    if device.type != "cuda" or tensor.device.type != "cpu" or tensor.is_pinned():
        return tensor
    return tensor.pin_memory()


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on a device; the host goes on while it is copied there. One that is there already stays itself.

    A copy from the device back to the host is waited for.
    """
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
