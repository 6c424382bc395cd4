"""Where a model runs and in which floating-point type, when nobody says: `device="auto"`, `dtype="auto"`.

    device    CUDA (ROCm counts), else Apple's MPS, else the CPU; of several processes each has a GPU (`share`)

    dtype     small model                     large model (from 500 million parameters)
    CUDA      as stored                       float16 if stored so, else bfloat16
    MPS       float32                         float16
    CPU       float32                         bfloat16 with instructions for it (AMX, AVX512-BF16), else float32

A GPU without bfloat16 gets float32 for a small model and float16 for a large one instead.
A small model costs little in float32; a large one has to fit. Where a CPU only emulates bfloat16, it is slower than
float32.
"""

from __future__ import annotations

import torch

from self1e.segment.share import own_gpu

LARGE = 500_000_000
"""Parameters from which a model counts as large."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(device: str | torch.device = "auto") -> torch.device:
    """The device to run on.

    Args:
        device: "auto", or a device as torch names it: "cuda", "cuda:1", "mps", "cpu", ...

    Raises:
        ValueError: If there is no such device here.
    """
    if device == "auto":
        return automatic_device()[0]
    try:
        chosen = _own(torch.device(device))
    except RuntimeError:
        raise ValueError(f"unknown device {device!r}: use 'auto', 'cuda', 'cuda:1', 'mps' or 'cpu'") from None
    try:
        torch.empty(1, device=chosen).tolist()  # "meta" has no numbers
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # each backend has its own way to say no
        reason = str(error).split("\n")[0].rstrip(".")
        raise ValueError(f"device {str(chosen)!r} cannot be used here ({reason}): use 'auto' or 'cpu'") from None
    return chosen


def automatic_device() -> tuple[torch.device, str]:
    """What "auto" stands for, and why."""
    if torch.cuda.is_available():
        return _own(torch.device("cuda")), "torch finds a GPU"
    if torch.backends.mps.is_available():
        return torch.device("mps"), "torch finds Apple's GPU"
    for_gpus = torch.version.cuda or torch.version.hip or torch.backends.mps.is_built()
    return torch.device("cpu"), "torch finds no GPU" if for_gpus else "this torch is built for CPUs only"


def _own(device: torch.device) -> torch.device:
    """The GPU that this process has taken, if any may be meant."""
    number, gpus = own_gpu(), torch.cuda.device_count()
    if device != torch.device("cuda") or number is None or not gpus:
        return device
    return torch.device("cuda", number % gpus)


def choose_dtype(dtype: str | torch.dtype, device: torch.device, stored: torch.dtype, parameters: int) -> torch.dtype:
    """The floating-point type of weights and activations.

    Args:
        dtype: "auto" (see the table above), "float32", "bfloat16", "float16", or one of torch's.
        device: Where the model is to run.
        stored: Type of the checkpoint's weights.
        parameters: How many there are.

    Raises:
        ValueError: If `dtype` is none of these.
    """
    if dtype != "auto":
        chosen = DTYPES.get(dtype) if isinstance(dtype, str) else dtype
        if chosen is None or chosen not in DTYPES.values():
            raise ValueError(f"unknown dtype {str(dtype)!r}: use 'auto', {', '.join(map(repr, DTYPES))}")
        return chosen
    return automatic_dtype(device, stored, parameters)[0]


def automatic_dtype(device: torch.device, stored: torch.dtype, parameters: int) -> tuple[torch.dtype, str]:
    """What "auto" stands for, and why; see `choose_dtype`."""
    large = parameters >= LARGE
    if device.type == "cpu":
        if not large:
            return torch.float32, "it is small"
        if cpu_has_bfloat16():
            return torch.bfloat16, "it is large, and this CPU has instructions for bfloat16"
        return torch.float32, "this CPU would only emulate bfloat16"
    if device.type == "mps":
        return (torch.float16, "it is large") if large else (torch.float32, "it is small")
    if stored == torch.float16:
        return stored, "it is stored so"
    if stored != torch.bfloat16 and not large:
        return torch.float32, "it is small, and stored so"
    if device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16, "it is stored so" if stored == torch.bfloat16 else "it is large"
    return (torch.float16 if large else torch.float32), "this GPU has no bfloat16"


def cpu_has_bfloat16() -> bool:
    """Whether the CPU has instructions for bfloat16, without which it is slower than float32."""
    return cpu_has("amx_tile") or cpu_has("avx512_bf16")


def cpu_has(instructions: str) -> bool:
    """Whether the CPU has "amx_tile" or "avx512_bf16", both for bfloat16.

    torch's checks are private to it, and may go without notice: then it has not.
    """
    return bool(getattr(torch.cpu, f"_is_{instructions}_supported", lambda: False)())
