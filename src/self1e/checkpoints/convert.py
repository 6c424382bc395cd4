"""From InternVL checkpoints, with or without SELF1E's head, to this package's own: `convert_checkpoint`.

Planning reads the headers of the weight files only: every tensor that the model needs is matched with one that the
source has, and whatever does not fit is listed. Then tensors are read, renamed and written one after another; the model
itself is never built. A base model has no `[SEG]` and no head yet: the head starts from small random numbers, as any
new layer in transformers does, and the `[SEG]` row of embeddings and LM head from the mean of the other rows.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from self1e.checkpoints.check import (
    EMBEDDINGS,
    LM_HEAD,
    StoredTensor,
    check_weights,
    match_names,
    network_config,
)
from self1e.checkpoints.errors import ModelError
from self1e.checkpoints.hub import Checkpoint, open_checkpoint
from self1e.checkpoints.names import HEAD, KNOWN_IDS, KNOWN_VOCABULARIES, says_tied
from self1e.checkpoints.weights import PlannedTensor, read_json, write_weights
from self1e.conversation import IM_END, IMG_CONTEXT, SEG, add_seg_token
from self1e.files import expand_user, folder_when_complete
from self1e.model.config import SELF1EConfig

IMAGE_SETTINGS = "preprocessor_config.json"
GENERATION_SETTINGS = "generation_config.json"


@dataclass
class Conversion:
    """All that is needed to write or load a converted checkpoint, and what is to be said about it.

    Args:
        checkpoint: What is converted.
        config: Its settings as this package's.
        tensors: Its weights, in the order of the source files.
        tokenizer: Its tokenizer with `[SEG]`; None where it has none.
        rows: Of its embeddings, as they are stored.
        fresh: What it does not have and is newly initialised.
        notes: What else is worth knowing, a sentence each.
    """

    checkpoint: Checkpoint
    config: SELF1EConfig
    tensors: list[PlannedTensor]
    tokenizer: PreTrainedTokenizerFast | None
    rows: int
    fresh: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def parameters(self) -> int:
        """Numbers in all tensors."""
        return sum(torch.Size(tensor.shape).numel() for tensor in self.tensors)

    def __str__(self) -> str:
        config = self.config
        lines = [
            f"{self.checkpoint} in {self.checkpoint.folder}: {self.parameters / 1e6:,.1f} million parameters",
            f"{SEG} is token {config.seg_token_id}, {IMG_CONTEXT} {config.image_token_id}; "
            f"{config.text_config.vocab_size} rows of vocabulary ({self.rows} before)",
        ]
        return "\n".join([*lines, *(f"newly initialised: {name}" for name in self.fresh), *self.notes])


def convert_checkpoint(
    source: str | Path,
    destination: str | Path,
    *,
    dtype: torch.dtype | None = None,
    overwrite: bool = False,
    subfolder: str | None = None,
    revision: str | None = None,
    seg_token_id: int | None = None,
    image_token_id: int | None = None,
    refilling: str = "rfa",
    seed: int = 0,
    max_shard_bytes: int = 2 * 10**9,
) -> Conversion:
    """Writes an InternVL checkpoint or a release of SELF1E as a folder for `SELF1EForSegmentation.from_pretrained`.

    Takes about `max_shard_bytes` of memory, whatever the size of the model. The destination appears only when it is
    complete.

    Args:
        source: Folder or Hub id, of InternVL's own layout or of transformers' (`-hf`), with safetensors weights.
        destination: Folder to make.
        dtype: Type of the weights. Default: as in the source.
        overwrite: Replaces the destination if it is a converted model already.
        subfolder: Of the source.
        revision: Of the source on the Hub: a branch, tag, or commit.
        seg_token_id: Id of `[SEG]`, needed when the source has no tokenizer and no well-known vocabulary.
        image_token_id: Id of `<IMG_CONTEXT>`, in the same case.
        refilling: For base models: the rung of the paper's ladder, see `SELF1EConfig`.
        seed: For base models: of the new head.
        max_shard_bytes: Largest weight file.

    Returns:
        What was done.

    Raises:
        ModelError: When the source is incomplete, damaged, or anything in it does not fit, down to one tensor.
        FileExistsError: When the destination exists and may not be overwritten, or does so by the time all is written.
    """
    destination = expand_user(destination)
    _check_destination(destination, overwrite)
    plan = plan_conversion(
        open_checkpoint(source, subfolder=subfolder, revision=revision),
        dtype=dtype,
        seg_token_id=seg_token_id,
        image_token_id=image_token_id,
        refilling=refilling,
        seed=seed,
    )
    with folder_when_complete(destination, replace=overwrite) as staging:
        plan.config.save_pretrained(staging)
        write_weights(staging, plan.tensors, max_shard_bytes, plan.checkpoint.weights.release)
        if plan.tokenizer is not None:
            plan.tokenizer.save_pretrained(staging)
        _carry_over(plan.checkpoint.folder, staging)
        _check_destination(destination, overwrite)  # again: minutes have passed
    return plan


def _carry_over(folder: Path, staging: Path) -> None:
    """Copies settings that are the same in all layouts."""
    for name in (IMAGE_SETTINGS, GENERATION_SETTINGS):
        path = folder / name
        # InternVL's own generation settings often say nothing, and would hide from `generate` where answers end.
        if path.is_file() and (name == IMAGE_SETTINGS or "eos_token_id" in read_json(path)):
            shutil.copyfile(path, staging / name)


def plan_conversion(
    checkpoint: Checkpoint,
    *,
    dtype: torch.dtype | None = None,
    seg_token_id: int | None = None,
    image_token_id: int | None = None,
    refilling: str = "rfa",
    seed: int = 0,
) -> Conversion:
    """Looks at the settings, the tokenizer and the headers of the weights; see `convert_checkpoint`."""
    if checkpoint.layout == "self1e":
        raise ModelError(f"{checkpoint.name} is a self1e model already: it needs no conversion")
    if checkpoint.can_segment and refilling != "rfa":
        raise ModelError(f"{checkpoint.name} has a trained head of rung 'rfa'; it cannot be loaded as {refilling!r}")
    stored, unexpected = match_names(checkpoint)
    config = network_config(checkpoint, refilling=refilling, tie_word_embeddings=_is_tied(checkpoint, stored))
    if config.tie_word_embeddings:
        stored.pop(LM_HEAD, None)
    text, weights = config.text_config, checkpoint.weights
    rows = weights.shapes[stored[EMBEDDINGS].name][0] if EMBEDDINGS in stored else text.vocab_size
    plan = Conversion(checkpoint, config, [], _read_tokenizer(checkpoint.folder, config), rows)
    if rows > text.vocab_size:
        plan.notes.append(f"config.json says {text.vocab_size} rows of vocabulary, but the weights have {rows}")
        text.vocab_size = rows
    expected = check_weights(checkpoint, config, stored, unexpected)

    config.dtype = dtype or weights.dtype(stored[EMBEDDINGS].name)
    for name, tensor in stored.items():
        loader = partial(tensor.load, weights)
        plan.tensors.append(PlannedTensor(name, expected[name], dtype or weights.dtype(tensor.name), loader))
    _set_token_ids(plan, seg_token_id, image_token_id)
    if not checkpoint.can_segment:
        plan.fresh.insert(0, f"the refilling head (seed {seed})")
        plan.tensors += _fresh_head(expected, config.dtype, text.initializer_range, seed)
    return plan


def _is_tied(checkpoint: Checkpoint, stored: dict[str, StoredTensor]) -> bool:
    """Whether the LM head is the embeddings; the weights decide where config.json may be wrong."""
    if not says_tied(checkpoint.settings, checkpoint.layout):
        return False
    if LM_HEAD not in stored or EMBEDDINGS not in stored:
        return True
    tied = torch.equal(*(stored[name].load(checkpoint.weights) for name in (LM_HEAD, EMBEDDINGS)))
    checkpoint.weights.release()
    return tied


def _read_tokenizer(folder: Path, config: SELF1EConfig) -> PreTrainedTokenizerFast | None:
    if not (folder / "tokenizer_config.json").is_file():
        return None
    try:
        # With our settings for those of the source, which ask for code of their own to be run.
        return AutoTokenizer.from_pretrained(folder, config=config, trust_remote_code=False)
    except Exception as error:  # tokenizers raises that class itself for damaged files, and nothing of ours is called
        raise ModelError(f"the tokenizer in {folder} cannot be read ({error}); download it again") from error


def _set_token_ids(plan: Conversion, seg_token_id: int | None, image_token_id: int | None) -> None:
    """Finds the ids of `[SEG]` and `<IMG_CONTEXT>`, and grows tokenizer, embeddings and LM head where they need it."""
    config, rows, released = plan.config, plan.rows, plan.checkpoint.can_segment
    found = dict(KNOWN_IDS) if rows in KNOWN_VOCABULARIES else {}
    found |= {key: plan.checkpoint.settings[key] for key in ("image_token_id",) if key in plan.checkpoint.settings}
    untrained = False  # whether the row of [SEG] has yet to be learnt
    if plan.tokenizer is not None:
        untrained = not released and SEG not in plan.tokenizer.get_vocab()
        found["seg_token_id"] = add_seg_token(plan.tokenizer)
        vocabulary = plan.tokenizer.get_vocab()
        if IMG_CONTEXT in vocabulary:
            found["image_token_id"] = vocabulary[IMG_CONTEXT]
        if IM_END in vocabulary:  # where answers end; the base text model's setting is another token
            config.text_config.eos_token_id = vocabulary[IM_END]
    config.seg_token_id = _agree(SEG, "seg_token_id", seg_token_id, found)
    config.image_token_id = _agree(IMG_CONTEXT, "image_token_id", image_token_id, found)
    if config.image_token_id >= rows:
        raise ModelError(f"{IMG_CONTEXT} is token {config.image_token_id}, but the embeddings have {rows} rows")
    if not untrained and config.seg_token_id < rows:
        return
    if released:
        raise ModelError(f"the checkpoint has a trained head, but no trained {SEG} (token {config.seg_token_id})")
    config.text_config.vocab_size = max(rows, config.seg_token_id + 1)
    plan.fresh.append(f"the {SEG} row of embeddings and LM head (mean of the rows before it)")
    for index, tensor in enumerate(plan.tensors):
        if tensor.name in (EMBEDDINGS, LM_HEAD):
            plan.tensors[index] = _with_fresh_rows(tensor, config.seg_token_id)


def _agree(token: str, argument: str, given: int | None, known: dict[str, int]) -> int:
    found = known.get(argument, given)
    if given is not None and given != found:
        raise ModelError(f"{argument} = {given} was given, but {token} is token {found} of this checkpoint")
    if found is None:
        raise ModelError(
            f"the id of {token} is unknown: the checkpoint has no tokenizer, and its vocabulary is not InternVL3's; "
            f"give {argument} (on the command line --{argument.replace('_', '-')})"
        )
    return found


def _with_fresh_rows(tensor: PlannedTensor, seg_token_id: int) -> PlannedTensor:
    """The tensor with row `seg_token_id` and any new row before it set to the mean of the rows it knows."""
    rows, width = tensor.shape
    known = min(rows, seg_token_id)

    def load() -> Tensor:
        table = tensor.load()
        total = torch.zeros(width)
        for chunk in table[:known].split(8192):  # the whole table in single precision would be large
            total += chunk.float().sum(dim=0)
        mean = (total / known).to(table.dtype)
        grown = torch.empty(max(rows, seg_token_id + 1), width, dtype=table.dtype)
        grown[:rows] = table
        grown[known : seg_token_id + 1] = mean
        return grown

    return PlannedTensor(tensor.name, (max(rows, seg_token_id + 1), width), tensor.dtype, load)


def _fresh_head(
    expected: dict[str, tuple[int, ...]], dtype: torch.dtype, deviation: float, seed: int
) -> list[PlannedTensor]:
    """Weights from a normal distribution of standard deviation `deviation`, biases 0; the same for the same seed."""

    def draw(shape: tuple[int, ...], number: int) -> Tensor:
        generator = torch.Generator().manual_seed(1000 * seed + number)
        return torch.zeros(shape) if len(shape) == 1 else deviation * torch.randn(shape, generator=generator)

    shapes = {name: shape for name, shape in expected.items() if name.startswith(HEAD)}
    return [
        PlannedTensor(name, shape, dtype, partial(draw, shape, number))
        for number, (name, shape) in enumerate(shapes.items())
    ]


def _check_destination(destination: Path, overwrite: bool) -> None:
    if not destination.exists() or (destination.is_dir() and not any(destination.iterdir())):
        return
    if not overwrite:
        raise FileExistsError(f"{destination} exists; name another folder, or allow it to be overwritten")
    is_ours = destination.is_dir() and (destination / "config.json").is_file()
    if not is_ours or read_json(destination / "config.json").get("model_type") != SELF1EConfig.model_type:
        raise FileExistsError(f"{destination} is no converted model, and is not overwritten; remove it yourself")
