"""From the name of a model to the model, on its device, with what belongs to it: `load_model`."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import torch

from self1e.checkpoints.errors import ModelError
from self1e.checkpoints.hub import Checkpoint, open_checkpoint
from self1e.checkpoints.load import load_network
from self1e.checkpoints.weights import read_json
from self1e.conversation import IMG_CONTEXT, SEG
from self1e.fast.prepare import check_compiler
from self1e.model.network import SELF1EForSegmentation
from self1e.processing.processor import CONFIG_NAME, SELF1EProcessor
from self1e.processing.tiles import check_max_tiles
from self1e.processing.tokens import special_ids
from self1e.segment.calibration import Calibration
from self1e.segment.devices import choose_device, choose_dtype
from self1e.segment.nouns import TaughtNouns
from self1e.segment.options import LoadOptions
from self1e.segment.quantise import Quantization, check_scheme, quantize_checked

CALIBRATION_NAME = "calibration.json"

_TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"))


@dataclass(frozen=True)
class LoadedModel:
    """A model on its device, in eval mode, with what belongs to it.

    `calibration` and `nouns` are None where there are none, `quantization` where the model is as it was stored.
    """

    model: SELF1EForSegmentation
    processor: SELF1EProcessor
    calibration: Calibration | None
    name: str
    nouns: TaughtNouns | None = None
    quantization: Quantization | None = None


def load_model(name: str | Path | Checkpoint, options: LoadOptions | None = None) -> LoadedModel:
    """Loads a model of this package, a release of SELF1E, or an InternVL base model (converted in memory).

    Args:
        name: See `open_checkpoint`; or what that gave, which then says itself what revision and subfolder it is.
        options: Default: `LoadOptions()`.

    Raises:
        ModelError: If there is no such model, or it is incomplete, damaged or not one that can segment.
        QuantizationError: If quantisation changes its masks.
        ValueError: If the device, the type, the quantisation or a compiler is unknown or not to be had here.
    """
    options = options or LoadOptions()
    device = choose_device(options.device)
    if options.quantize is not None:
        check_scheme(options.quantize, device)
    if options.compile:
        check_compiler(device)
    if isinstance(name, Checkpoint):
        checkpoint = name
    else:
        checkpoint = open_checkpoint(name, revision=options.revision, subfolder=options.subfolder)
    numbers = checkpoint.numbers()
    stored = numbers.most_common(1)[0][0] if numbers else torch.float32
    dtype = choose_dtype(options.dtype, device, stored, numbers.total())
    processor = _load_processor(checkpoint.folder)
    if options.max_tiles is not None:
        check_max_tiles(options.max_tiles)
        processor.max_tiles = options.max_tiles
    calibration = _load_calibration(checkpoint.folder)
    nouns = TaughtNouns.read(checkpoint.folder)
    model = load_network(checkpoint, dtype)
    _check_together(checkpoint, model, processor)
    if not checkpoint.can_segment:
        untrained = f"{checkpoint.name} was never trained to segment: its masks mean nothing; train it first"
        warnings.warn(untrained, stacklevel=3)
    model = model.to(device).eval()
    quantization = None
    if options.quantize is not None:
        quantization = quantize_checked(model, processor, options.quantize, options.quantize_check)
    return LoadedModel(model, processor, calibration, checkpoint.name, nouns, quantization)


def _load_processor(folder: Path) -> SELF1EProcessor:
    if not any(all((folder / part).is_file() for part in parts) for parts in _TOKENIZERS):
        raise ModelError(f"{folder} is incomplete: it has no tokenizer ({_TOKENIZERS[0][0]}); finish the download")
    try:
        return SELF1EProcessor.from_pretrained(folder)
    except Exception as error:  # tokenizers and transformers have no common error for damaged files
        reason = " ".join(str(error).split())[:300]
        damaged = f"the tokenizer or {CONFIG_NAME} in {folder} cannot be used"
        raise ModelError(f"{damaged} ({reason}): download or copy it again") from None


def _load_calibration(folder: Path) -> Calibration | None:
    path = folder / CALIBRATION_NAME
    if not path.is_file():
        return None
    try:
        return Calibration.from_dict(read_json(path))
    except (ValueError, TypeError) as error:
        raise ModelError(f"{path} cannot be used ({error}): delete it to go without") from None


def _check_together(checkpoint: Checkpoint, model: SELF1EForSegmentation, processor: SELF1EProcessor) -> None:
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
                f"weights and tokenizer in {checkpoint.folder} do not belong together: {what} is {ours} for the "
                f"tokenizer and {theirs} for the weights"
            )
