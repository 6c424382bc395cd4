"""Copies to a device; that they are pinned needs CUDA."""

import torch

from self1e.fast.transfers import pinned, to_device, to_device_together


def test_only_cuda_wants_pinned_memory():
    tensor = torch.arange(3)
    assert pinned(tensor, torch.device("cpu")) is tensor
    assert pinned(tensor, torch.device("mps")) is tensor
    on_device = tensor.to("meta")
    assert pinned(on_device, torch.device("cuda")) is on_device


def test_what_is_there_stays():
    tensor = torch.arange(3)
    assert to_device(tensor, torch.device("cpu")) is tensor
    assert to_device(tensor, torch.device("meta")).device.type == "meta"


def test_together_as_one_by_one():
    tensors = [torch.arange(6).view(2, 3), torch.tensor([], dtype=torch.long), torch.tensor(7)]
    for ours, given in zip(to_device_together(tensors, torch.device("cpu")), tensors, strict=True):
        assert ours.shape == given.shape and torch.equal(ours, given)
