"""What DeepSpeed's ZeRO-3 asks of this model.

It puts the weights of a module together each time the module runs, on all processes at once, which therefore have to
run the same modules in the same order. They do, but for the mask head, which runs once a picture, and gives two maps a
row. The weights of the head are few, and are put together for a whole batch instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def put_together(module: nn.Module) -> Iterator[None]:
    """Inside of this context a module has its whole weights, and may run as often as it likes.

    All processes have to enter it.

    Args:
        module: Of a model that DeepSpeed has cut up.
    """
    import deepspeed

    for part in module.modules():  # the hooks are DeepSpeed's, which puts weights together in them, and cuts them up
        part._forward_pre_hooks.clear()
        part._forward_hooks.clear()
    with deepspeed.zero.GatheredParameters(list(module.parameters())):
        yield
