"""A program of an exported model, loaded by an engine: arrays by name in, arrays by name out.

    onnxruntime    runs ONNX files                           pip install 'self1e[onnx]'
    openvino       runs OpenVINO's files, and ONNX ones      pip install 'self1e[openvino]'
    torch          runs what `torch.export` wrote            torch alone, without transformers

Engines are imported when they are asked for. Threads: as many as the environment variable OMP_NUM_THREADS says, which
torch goes by, too; without it, what the engine takes by itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from self1e.checkpoints.errors import ModelError

Arrays = Mapping[str, np.ndarray]
Program = Callable[[Arrays], dict[str, np.ndarray]]
"""Takes the arrays that it knows by name, and no notice of others. Threads may call it at the same time."""

ENGINES = {"onnxruntime": ("onnx",), "openvino": ("openvino", "onnx"), "torch": ("torch",)}
"""Names of engines, and the kinds of programs that they run; of the first, it is the usual one."""

COMPUTES_IN = {"onnxruntime": ("float32",), "openvino": ("float32", "bfloat16"), "torch": ("float32",)}
"""What engines can compute in, however weights are stored; the first is the usual one."""

EXTRAS = {"onnxruntime": "onnx", "openvino": "openvino"}


def choose_engine(engine: str | None, kind: str) -> str:
    """The engine that runs programs of a kind.

    Args:
        engine: As it was asked for; None: the usual one.
        kind: One of `self1e.engines.artefact.KINDS`.

    Raises:
        ValueError: When there is no such engine, or it does not run these.
    """
    usual = {kinds[0]: name for name, kinds in ENGINES.items()}
    if engine is None:
        return usual[kind]
    if engine not in ENGINES:
        raise ValueError(f"unknown engine {engine!r}: use {', '.join(map(repr, ENGINES))}")
    if kind not in ENGINES[engine]:
        able = " or ".join(repr(name) for name, kinds in ENGINES.items() if kind in kinds)
        raise ValueError(f"{engine} does not run what was exported to {kind}: use engine={able}, or export it anew")
    return engine


def choose_computing(engine: str, kind: str, dtype: str) -> str:
    """The type that an engine computes in.

    Args:
        engine: One of `ENGINES`.
        kind: Of the programs that it runs.
        dtype: As it was asked for; "auto": the usual one.

    Raises:
        ValueError: When it does not compute in this type, or the CPU has no instructions for it.
        ModelError: When the engine is not installed.
    """
    if dtype == "auto":
        return COMPUTES_IN[engine][0]
    if dtype not in COMPUTES_IN[engine]:
        able = [f"engine={name!r}" for name, kinds in ENGINES.items() if dtype in COMPUTES_IN[name] and kind in kinds]
        raise ValueError(
            f"{engine} computes in {' or '.join(COMPUTES_IN[engine])}, not in {dtype}: leave dtype out"
            + "".join(f", or use {each}" for each in able)
        )
    if dtype == "bfloat16" and not has_bfloat16():
        raise ValueError(f"this CPU has no instructions for {dtype}: leave dtype out")
    return dtype


def has_bfloat16() -> bool:
    """Whether OpenVINO computes in bfloat16 on this CPU.

    Raises:
        ModelError: When it is not installed.
    """
    return "BF16" in import_engine("openvino").Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def open_program(path: Path, engine: str, outputs: Sequence[str], dtype: str = "float32") -> Program:
    """Loads a program.

    Args:
        path: Its file.
        engine: One of `ENGINES`.
        outputs: Names of what it gives.
        dtype: What to compute in; see `choose_computing`. What it takes and gives is float32 all the same.

    Raises:
        ModelError: When the engine is not installed, or cannot load the file.
    """
    openers: dict[str, Callable[[Path, Sequence[str], int], Program]] = {
        "onnxruntime": _open_onnxruntime,
        "openvino": partial(_open_openvino, dtype=dtype),
        "torch": _open_torch,
    }
    try:
        return openers[engine](path, outputs, threads_of_environment())
    except ModelError:
        raise
    except Exception as error:  # each engine has errors of its own
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"{engine} cannot load {path} ({reason}): export the model again") from error


def threads_of_environment() -> int:
    """As many as OMP_NUM_THREADS says; 0 where nothing is said."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() else 0


def import_engine(engine: str) -> Any:
    """The package of an engine.

    Raises:
        ModelError: When it is not installed.
    """
    if engine == "openvino":
        # It would tell its makers that it is used. Without that package it does not, and lacks nothing else.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        return import_module(engine)
    except ModuleNotFoundError as error:
        if error.name != engine:
            raise
        extra = EXTRAS.get(engine)
        package = f"'self1e[{extra}]' (or {engine} by itself)" if extra else engine
        raise ModelError(f"{engine} is not installed: pip install {package}") from None


def _open_onnxruntime(path: Path, outputs: Sequence[str], threads: int) -> Program:
    onnxruntime = import_engine("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors only
    if os.environ.get("OMP_WAIT_POLICY", "").upper() == "PASSIVE":  # as servers ask for, which need the cores
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    wanted = [each.name for each in session.get_inputs()]

    def run(arrays: Arrays) -> dict[str, np.ndarray]:
        found = session.run(list(outputs), {name: arrays[name] for name in wanted})
        return dict(zip(outputs, found, strict=True))

    return run


def _open_openvino(path: Path, outputs: Sequence[str], threads: int, dtype: str) -> Program:
    openvino = import_engine("openvino")
    precision = {"float32": "f32", "bfloat16": "bf16"}[dtype]
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    compiled = openvino.Core().compile_model(str(path), "CPU", settings)
    wanted = [each.get_names() for each in compiled.inputs]  # each may have several

    def run(arrays: Arrays) -> dict[str, np.ndarray]:
        # A request for each call: one belongs to one thread at a time.
        given = {name: arrays[name] for names in wanted for name in names if name in arrays}
        found = compiled.create_infer_request().infer(given)
        return {name: np.array(found[name]) for name in outputs}

    return run


_torch_loads = Lock()
"""`torch.export.load` may run in one thread at a time."""


def _open_torch(path: Path, outputs: Sequence[str], threads: int) -> Program:
    torch = import_engine("torch")
    with _torch_loads, path.open("rb") as file:
        exported = torch.export.load(file)
    wanted = exported.graph_signature.user_inputs
    # Guards would refuse a single tile, as torch traces with several: it takes a size of 1 for fixed. That one tile
    # gives the right masks, too, is seen when a model is exported.
    program = exported.module(check_guards=False)
    if threads:
        torch.set_num_threads(threads)

    def run(arrays: Arrays) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            found = program(**{name: torch.from_numpy(np.ascontiguousarray(arrays[name])) for name in wanted})
        return {name: found[name].numpy() for name in outputs}

    return run
