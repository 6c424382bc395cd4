"""The part of a machine that is for one of several processes with a model each: threads, and a GPU if there are some.

A process takes its share before it loads its model, and asks for the device that its user asked for: only who loads a
model knows whether it runs on a GPU, as exported ones do not. Importing this needs no torch.
"""

from __future__ import annotations

import os

from self1e.segment.opened import has_torch

_own_gpu: int | None = None


def take_share(number: int, processes: int) -> None:
    """Divides torch's threads, and those of engines, by the number of processes, and takes a GPU; see `take_gpu`.

    Args:
        number: Of this process among them, from 0.
        processes: How many there are on this machine.
    """
    take_gpu(number)
    if has_torch():
        import torch

        threads = max(1, torch.get_num_threads() // processes)
        torch.set_num_threads(threads)
    else:
        from self1e.engines.programs import threads_of_environment  # brings numpy, which `--help` does without

        threads = max(1, (threads_of_environment() or os.cpu_count() or 1) // processes)
    os.environ["OMP_NUM_THREADS"] = str(threads)  # for the engine of an exported model


def take_gpu(number: int) -> None:
    """From now on "auto" and "cuda" are a GPU of this process's own, where there are some; see `choose_device`.

    Args:
        number: Of the GPU. If there are fewer, processes share them.
    """
    global _own_gpu
    _own_gpu = number


def own_gpu() -> int | None:
    """What was taken last; None if nothing was."""
    return _own_gpu
