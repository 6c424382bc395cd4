"""Weights on disk: safetensors folders, read tensor by tensor and written shard by shard. Nothing is ever unpickled.

A checkpoint is described by a list of `PlannedTensor`s, each of which knows how to make its tensor, so that a model of
any size is written with about one shard of it in memory.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import split_state_dict_into_shards_factory
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from self1e.checkpoints.errors import ModelError
from self1e.files import write_json

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
ADAPTERS, TRAINED = "adapter_model.safetensors", "trained.safetensors"
"""Of low-rank adapters, see `self1e.training.adapters`: what they learnt, and the weights that were trained in full."""
SHARD_NAME = re.compile(r".*-\d+-of-\d+\.safetensors")
LOOKED_AT = 4096
"""Numbers of a tensor that are looked at when it is loaded: training that diverges leaves whole tensors of NaN."""
FLOAT_TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


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
            raise ModelError(f"{self.name} came out as {list(tensor.shape)} instead of {list(self.shape)}")
        if not_finite([(self.name, tensor)]):
            dtype = str(self.dtype).removeprefix("torch.")
            raise ModelError(f"{self.name} holds NaN or infinity, as it is stored or in {dtype}: take another --dtype")
        return tensor


class WeightFiles:
    """The tensors of a folder with `model.safetensors`, with shards and their index, or of low-rank adapters.

    Opening reads the headers of all files and finds those that are missing or cut short. Tensors are read one at a
    time; `release` lets go of everything that was mapped into memory to do so.

    Attributes:
        paths: The files, in order; other safetensors that lie in the folder do not count.
        shapes: Of every tensor, by name.

    Raises:
        ModelError: When the folder has no safetensors, a shard is missing, or a file is damaged.
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
            ModelError: When it is not a floating-point type.
        """
        code = self._dtypes[name]
        if code not in FLOAT_TYPES:
            raise ModelError(
                f"{name} is stored as {code}: quantised weights cannot be converted; "
                "use the checkpoint in bfloat16, float16 or float32"
            )
        return FLOAT_TYPES[code]

    def numbers(self) -> Counter[torch.dtype]:
        """How many numbers are stored in each type.

        Raises:
            ModelError: When one is not a floating-point type.
        """
        sizes: Counter[torch.dtype] = Counter()
        for name, shape in self.shapes.items():
            sizes[self.dtype(name)] += torch.Size(shape).numel()
        return sizes

    def sha256(self) -> str:
        """The SHA-256 of the contents of all files, in order; of a single one, what `sha256sum` says."""
        digest = hashlib.sha256()
        for path in self.paths:
            with path.open("rb") as file:
                hashlib.file_digest(file, lambda: digest)  # goes on with the same
        return digest.hexdigest()

    def load(self, name: str) -> Tensor:
        """The whole tensor `name`."""
        return self._handle(self._files[name]).get_tensor(name)

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """Rows `start` to `stop` of the tensor `name`; the others are not read."""
        return self._handle(self._files[name]).get_slice(name)[start:stop]

    def not_finite(self, most: int | None = None) -> list[str]:
        """Names of the tensors that hold NaN or infinity.

        Args:
            most: Numbers of a tensor to look at, as that takes no time. None: all of them.
        """
        floating = (name for name, code in self._dtypes.items() if code in FLOAT_TYPES)
        found = not_finite((name, self.load(name).flatten()[:most]) for name in floating)
        self.release()
        return found

    def release(self) -> None:
        """Closes all files; they are opened again when needed."""
        self._open.clear()

    def _handle(self, path: Path) -> Any:
        if path not in self._open:
            try:
                self._open[path] = safe_open(path, framework="pt")
            except (SafetensorError, OSError) as error:
                raise ModelError(f"{path} is cut short or damaged ({error}); download or copy it again") from error
        return self._open[path]


def _weight_paths(folder: Path) -> list[Path]:
    """The safetensors files that make up the checkpoint in `folder`, in order."""
    if (folder / SINGLE_FILE).is_file():
        return [folder / SINGLE_FILE]
    if (folder / ADAPTERS).is_file():
        if not (folder / TRAINED).is_file():
            raise ModelError(f"the adapters in {folder} are not of this package: there is no {TRAINED} beside them")
        return [folder / ADAPTERS, folder / TRAINED]
    if (folder / INDEX_FILE).is_file():
        weight_map = read_json(folder / INDEX_FILE).get("weight_map")
        if not isinstance(weight_map, dict):
            raise ModelError(f"{folder / INDEX_FILE} has no weight_map; download it again")
        names = sorted({Path(str(name)).name for name in weight_map.values()})  # never outside of the folder
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise ModelError(
                f"{folder} is incomplete: its index names {len(names)} weight files, but {', '.join(missing)} "
                f"{'is' if len(missing) == 1 else 'are'} missing; finish the download"
            )
        return [folder / name for name in names]
    if any(SHARD_NAME.fullmatch(path.name) for path in folder.glob("*.safetensors")):
        raise ModelError(f"{folder} has weight shards but no {INDEX_FILE}; finish the download")
    if pickled := sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in folder.glob(pattern)):
        raise ModelError(
            f"{folder} has its weights in {pickled[0]}, a pickle, which can run any code when it is opened; "
            "get the checkpoint as safetensors, or write it as such with the program that made it "
            "(transformers: save_pretrained)"
        )
    raise ModelError(f"{folder} has no weights: neither {SINGLE_FILE} nor {INDEX_FILE}")


def not_finite(tensors: Iterable[tuple[str, Tensor]]) -> list[str]:
    """Names of the tensors that hold NaN or infinity. Takes as long as it takes to read the numbers."""
    return [
        name for name, tensor in tensors if tensor.numel() and not bool(torch.stack(tensor.aminmax()).isfinite().all())
    ]


def refuse_not_finite(names: Sequence[str], whose: str | Path) -> None:
    """Raises ModelError if there are names of tensors that are not finite."""
    if names:
        raise ModelError(
            f"the weights of {whose} are not finite: {len(names)} tensors hold NaN or infinity, {names[0]} the first. "
            "Training may have left them so: take an earlier checkpoint; to go on with that run, delete this one first"
        )


def load_finite(path: Path) -> dict[str, Tensor]:
    """All tensors of a file. Raises ModelError if one holds NaN or infinity."""
    weights: dict[str, Tensor] = load_file(path)
    refuse_not_finite(not_finite(weights.items()), path)
    return weights


def write_weights(
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
    by_name = {tensor.name: tensor for tensor in tensors}
    split = split_state_dict_into_shards_factory(
        by_name,
        get_storage_size=lambda tensor: tensor.nbytes,
        filename_pattern="model{suffix}.safetensors",
        max_shard_size=max_shard_bytes,
    )
    for file, names in split.filename_to_tensors.items():
        save_file({name: by_name[name].make() for name in names}, folder / file, metadata={"format": "pt"})
        release()
    if split.is_sharded:
        write_json(folder / INDEX_FILE, {"metadata": split.metadata, "weight_map": split.tensor_to_filename}, indent=2)
    return list(split.filename_to_tensors)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        ModelError: When there is no such file, or it does not hold a JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path.parent} is no model folder: it has no {path.name}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read as JSON ({error}); download or copy it again") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds no JSON object; download or copy it again")
    return content
