"""From the name of a model to the model: bundled, in a folder, or on the Hugging Face Hub.

Whatever is wrong with the name, the files or the connection ends in a `ModelError` of one sentence.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import torch

from self1e.checkpoints.hub import HUB_ID, read_config, resolve_folder
from self1e.checkpoints.load import SELF1EForSegmentation
from self1e.checkpoints.names import has_head
from self1e.checkpoints.weights import CheckpointError, WeightFiles, read_json
from self1e.conversation import IMG_CONTEXT, SEG
from self1e.fast.prepare import check_compiler
from self1e.files import expand_user
from self1e.processing.processor import SELF1EProcessor
from self1e.processing.tokens import special_ids
from self1e.segment.calibration import Calibration
from self1e.segment.devices import choose_device, choose_dtype
from self1e.segment.quantise import Quantization, Samples, check_scheme, quantize_checked

BUNDLED = {"nano": Path(__file__).parents[1] / "assets" / "nano"}
"""Models that come with the package. A folder of the same name is given as "./nano"."""

CALIBRATION_NAME = "calibration.json"

_TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"))


class ModelError(ValueError):
    """A model that cannot be loaded. The message says in one sentence what is wrong and what to do."""


@dataclass(frozen=True)
class LoadedModel:
    """A model on its device, in eval mode, with what belongs to it.

    `calibration` is None where there is none, `quantization` where the model is as it was stored.
    """

    model: SELF1EForSegmentation
    processor: SELF1EProcessor
    calibration: Calibration | None
    name: str
    quantization: Quantization | None = None


def load_model(
    name: str | Path,
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    revision: str | None = None,
    subfolder: str | None = None,
    quantize: str | None = None,
    quantize_check: Samples | None = None,
    compile: bool = False,
) -> LoadedModel:
    """Loads a model of this package, or a release of SELF1E in its original layout (converted in memory).

    Args:
        name: One of `BUNDLED`, a folder, or a Hub id ("owner/name").
        device: See `choose_device`.
        dtype: See `choose_dtype`.
        revision: Branch, tag or commit on the Hub.
        subfolder: Folder of the model inside of `name`.
        quantize: See `self1e.segment.quantise`.
        quantize_check: Pictures to compare masks on; see `quantize_checked`.
        compile: Whether it is going to be compiled, for which something has to be there.

    Raises:
        ModelError: If there is no such model, or it is incomplete, damaged or not one that can segment.
        QuantizationError: If quantisation changes its masks.
        ValueError: If the device, the type, the quantisation or a compiler is unknown or not to be had here.
    """
    chosen_device = choose_device(device)
    if quantize is not None:
        check_scheme(quantize, chosen_device)
    elif quantize_check is not None:
        raise ValueError("quantize_check is for quantised models only: say quantize='int8', or leave it out")
    if compile:
        check_compiler(chosen_device)
    folder = find_model(name, revision, subfolder)
    try:
        files = WeightFiles(folder)
        numbers = files.numbers()
        stored = numbers.most_common(1)[0][0] if numbers else torch.float32
        chosen_dtype = choose_dtype(dtype, chosen_device, stored, numbers.total())
        processor = _load_processor(folder)
        calibration = _load_calibration(folder)
        model = _load_weights(folder, chosen_dtype)
    except CheckpointError as error:
        raise ModelError(str(error)) from None
    _check_together(folder, model, processor)
    if not has_head(files.shapes):
        warnings.warn(f"{name} was never trained to segment: its masks mean nothing; train it first", stacklevel=3)
    full_name = "/".join(filter(None, [str(name), subfolder])) + (f"@{revision}" if revision else "")
    model = model.to(chosen_device).eval()
    quantization = quantize_checked(model, processor, quantize, quantize_check) if quantize is not None else None
    return LoadedModel(model, processor, calibration, full_name, quantization)


def find_model(name: str | Path, revision: str | None = None, subfolder: str | None = None) -> Path:
    """The local folder of a model, downloaded first if need be; for the arguments see `load_model`.

    Raises:
        ModelError: If there is no such model, or it cannot be downloaded.
    """
    name = str(name)
    if name in BUNDLED:
        folder = BUNDLED[name]
        if not (folder / "config.json").is_file():
            raise ModelError(
                f"the bundled model {name!r} is missing from this installation (no {folder}): install self1e again, "
                "or name a model folder or a Hub id"
            )
    else:
        folder = expand_user(name)
    if revision and folder.is_dir():
        raise ModelError(f"revision {revision!r} was given, but {name} is no model on the Hub: leave it out")
    if folder.is_file():
        raise ModelError(f"{name} is a file: give the folder that it is in")
    if not name or not (folder.is_dir() or HUB_ID.fullmatch(name)):
        bundled = " or ".join(map(repr, BUNDLED))
        raise ModelError(f"there is no model {name!r}: give {bundled}, an existing folder, or a Hub id like owner/name")
    location = {key: value for key, value in (("revision", revision), ("subfolder", subfolder)) if value}
    try:
        place = str(folder) if folder.is_dir() else name
        read_config(place, **location)  # before gigabytes are downloaded
        return resolve_folder(place, **location)
    except CheckpointError as error:
        raise ModelError(str(error)) from None


def _load_processor(folder: Path) -> SELF1EProcessor:
    if not any(all((folder / part).is_file() for part in parts) for parts in _TOKENIZERS):
        raise CheckpointError(f"{folder} is incomplete: it has no tokenizer ({_TOKENIZERS[0][0]}); finish the download")
    try:
        return SELF1EProcessor.from_pretrained(folder)
    except Exception as error:  # tokenizers and transformers have no common error for damaged files
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"the tokenizer in {folder} cannot be used ({reason}): download or copy it again") from None


def _load_weights(folder: Path, dtype: torch.dtype) -> SELF1EForSegmentation:
    try:
        return SELF1EForSegmentation.from_pretrained(str(folder), dtype=dtype)
    except CheckpointError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, ImportError) as error:  # what no check of ours foresees
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"{folder / 'config.json'} does not describe a model ({reason})") from error


def _load_calibration(folder: Path) -> Calibration | None:
    path = folder / CALIBRATION_NAME
    if not path.is_file():
        return None
    try:
        return Calibration.from_dict(read_json(path))
    except (ValueError, TypeError) as error:
        raise ModelError(f"{path} cannot be used ({error}): delete it to go without") from None


def _check_together(folder: Path, model: SELF1EForSegmentation, processor: SELF1EProcessor) -> None:
    """Weights and tokenizer of two different models would load, and answer nonsense."""
    special = special_ids(processor.tokenizer)
    patches = processor.image_size // model.config.vision_config.patch_size[0]
    pairs = {
        SEG: (special[SEG], model.config.seg_token_id),
        IMG_CONTEXT: (special[IMG_CONTEXT], model.config.image_token_id),
        "tokens per tile": (processor.tokens_per_tile, (patches // 2) ** 2),
    }
    for what, (ours, theirs) in pairs.items():
        if ours != theirs:
            raise ModelError(
                f"weights and tokenizer in {folder} do not belong together: {what} is {ours} for the tokenizer and "
                f"{theirs} for the weights"
            )
