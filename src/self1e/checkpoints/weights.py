"""Weights on disk: safetensors folders, read tensor by tensor and written shard by shard. Nothing is ever unpickled.

A checkpoint is described by a list of `PlannedTensor`s, each of which knows how to make its tensor, so that a model of
any size is written with about one shard of it in memory.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
SHARD_NAME = re.compile(r".*-\d+-of-\d+\.safetensors")
FLOAT_TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


class CheckpointError(ValueError):
    """A checkpoint that cannot be used. The message says what is wrong with it and what to do."""


@dataclass(frozen=True)
class PlannedTensor:
    """A tensor of a checkpoint to be: its name, its shape, its type, and how to make it when its turn comes."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    load: Callable[[], Tensor]

    @property
    def nbytes(self) -> int:
        return torch.Size(self.shape).numel() * self.dtype.itemsize

    def make(self) -> Tensor:
        """The tensor itself."""
        tensor = self.load().to(self.dtype).contiguous()
        if tuple(tensor.shape) != self.shape:
            raise CheckpointError(f"{self.name} came out as {list(tensor.shape)} instead of {list(self.shape)}")
        return tensor


class WeightFiles:
    """The tensors of a folder with `model.safetensors`, or with shards and their index.

    Opening reads the headers of all files and finds those that are missing or cut short. Tensors are read one at a
    time; `release` lets go of everything that was mapped into memory to do so.

    Attributes:
        paths: The files, in order; other safetensors that lie in the folder do not count.
        shapes: Of every tensor, by name.

    Raises:
        CheckpointError: When the folder has no safetensors, a shard is missing, or a file is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.paths = _weight_paths(folder)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._dtypes: dict[str, str] = {}
        self._files: dict[str, Path] = {}
        self._open: dict[Path, Any] = {}
        for path in self.paths:
            handle = self._handle(path)
            for name in handle.keys():  # noqa: SIM118 - a safe_open handle is no dict
                entry = handle.get_slice(name)
                self._files[name] = path
                self.shapes[name] = tuple(entry.get_shape())
                self._dtypes[name] = entry.get_dtype()
        self.release()

    def dtype(self, name: str) -> torch.dtype:
        """The type of the tensor `name`.

        Raises:
            CheckpointError: When it is not a floating-point type.
        """
        code = self._dtypes[name]
        if code not in FLOAT_TYPES:
            raise CheckpointError(
                f"{name} is stored as {code}: quantised weights cannot be converted; "
                "use the checkpoint in bfloat16, float16 or float32"
            )
        return FLOAT_TYPES[code]

    def numbers(self) -> Counter[torch.dtype]:
        """How many numbers are stored in each type.

        Raises:
            CheckpointError: When one is not a floating-point type.
        """
        sizes: Counter[torch.dtype] = Counter()
        for name, shape in self.shapes.items():
            sizes[self.dtype(name)] += torch.Size(shape).numel()
        return sizes

    def load(self, name: str) -> Tensor:
        """The whole tensor `name`."""
        return self._handle(self._files[name]).get_tensor(name)

    def load_rows(self, name: str, start: int, stop: int) -> Tensor:
        """Rows `start` to `stop` of the tensor `name`; the others are not read."""
        return self._handle(self._files[name]).get_slice(name)[start:stop]

    def release(self) -> None:
        """Closes all files; they are opened again when needed."""
        self._open.clear()

    def _handle(self, path: Path) -> Any:
        if path not in self._open:
            try:
                self._open[path] = safe_open(path, framework="pt")
            except (SafetensorError, OSError) as error:
                raise CheckpointError(f"{path} is cut short or damaged ({error}); download or copy it again") from error
        return self._open[path]


def _weight_paths(folder: Path) -> list[Path]:
    """The safetensors files that make up the checkpoint in `folder`, in order."""
    if (folder / SINGLE_FILE).is_file():
        return [folder / SINGLE_FILE]
    if (folder / INDEX_FILE).is_file():
        weight_map = read_json(folder / INDEX_FILE).get("weight_map")
        if not isinstance(weight_map, dict):
            raise CheckpointError(f"{folder / INDEX_FILE} has no weight_map; download it again")
        names = sorted({Path(str(name)).name for name in weight_map.values()})  # never outside of the folder
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise CheckpointError(
                f"{folder} is incomplete: its index names {len(names)} weight files, but {', '.join(missing)} "
                f"{'is' if len(missing) == 1 else 'are'} missing; finish the download"
            )
        return [folder / name for name in names]
    if any(SHARD_NAME.fullmatch(path.name) for path in folder.glob("*.safetensors")):
        raise CheckpointError(f"{folder} has weight shards but no {INDEX_FILE}; finish the download")
    if pickled := sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in folder.glob(pattern)):
        raise CheckpointError(
            f"{folder} has its weights in {pickled[0]}, a pickle, which can run any code when it is opened; "
            "get the checkpoint as safetensors, or write it as such with the program that made it "
            "(transformers: save_pretrained)"
        )
    raise CheckpointError(f"{folder} has no weights: neither {SINGLE_FILE} nor {INDEX_FILE}")


def write_shards(
    folder: Path, tensors: Sequence[PlannedTensor], max_shard_bytes: int, release: Callable[[], None]
) -> list[str]:
    """Writes tensors as `model.safetensors`, or as shards with an index when they exceed `max_shard_bytes`.

    Args:
        folder: Where to.
        tensors: In the order in which they are to be made and written.
        max_shard_bytes: The most tensor bytes of a shard, and so the most that is held in memory. A single tensor
            larger than that gets a shard of its own.
        release: Called after each shard, to let go of what its tensors were made from.

    Returns:
        The names of the weight files.
    """
    shards = _divide(tensors, max_shard_bytes)
    if len(shards) == 1:
        names = [SINGLE_FILE]
    else:
        names = [f"model-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)]
    for name, shard in zip(names, shards, strict=True):
        save_file({tensor.name: tensor.make() for tensor in shard}, folder / name, metadata={"format": "pt"})
        release()
    if len(shards) > 1:
        weight_map = {tensor.name: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
        index = {"metadata": {"total_size": sum(tensor.nbytes for tensor in tensors)}, "weight_map": weight_map}
        (folder / INDEX_FILE).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return names


def _divide(tensors: Sequence[PlannedTensor], max_shard_bytes: int) -> list[list[PlannedTensor]]:
    shards: list[list[PlannedTensor]] = []
    size = 0
    for tensor in tensors:
        if not shards or size + tensor.nbytes > max_shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(tensor)
        size += tensor.nbytes
    return shards


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        CheckpointError: When there is no such file, or it does not hold a JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path.parent} is no model folder: it has no {path.name}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON ({error}); download or copy it again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds no JSON object; download or copy it again")
    return content
