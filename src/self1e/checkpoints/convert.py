"""From InternVL checkpoints, with or without SELF1E's head, to this package's own: `convert_checkpoint`.

Planning reads the headers of the weight files only: every tensor that the model needs is matched with one that the
source has, and whatever does not fit is listed. Then tensors are read, renamed and written one after another; the model
itself is never built. A base model has no `[SEG]` and no head yet: the head starts from small random numbers, as any
new layer in transformers does, and the `[SEG]` row of embeddings and LM head from the mean of the other rows.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from self1e.checkpoints.check import (
    EMBEDDINGS,
    LM_HEAD,
    Source,
    blame_config,
    expected_shapes,
    match_names,
    raise_unless_fitting,
)
from self1e.checkpoints.hub import read_config, resolve_folder
from self1e.checkpoints.names import HEAD, KNOWN_VOCABULARIES, layout_of, our_settings, says_tied
from self1e.checkpoints.weights import CheckpointError, PlannedTensor, WeightFiles, read_json, write_shards
from self1e.conversation import IM_END, IMG_CONTEXT, SEG
from self1e.files import folder_when_complete
from self1e.model.config import SELF1EConfig
from self1e.processing.tokens import add_seg_token

IMAGE_SETTINGS = "preprocessor_config.json"
GENERATION_SETTINGS = "generation_config.json"


@dataclass(frozen=True)
class ConversionReport:
    """What a conversion did.

    Args:
        source: Folder that was read.
        destination: Folder that was written.
        layout: `official` (InternVL's own) or `hf` (transformers').
        released: Whether the source has the trained head and `[SEG]`; False for a base model.
        fresh: What the source does not have and was newly initialised.
        notes: What else is worth knowing, a sentence each.
        seg_token_id: Id of `[SEG]`.
        image_token_id: Id of `<IMG_CONTEXT>`.
        vocabulary: Rows of the embeddings, in the source and now.
        parameters: Numbers in all tensors.
        weight_files: Names of the files with the weights.
    """

    source: Path
    destination: Path
    layout: str
    released: bool
    fresh: tuple[str, ...]
    notes: tuple[str, ...]
    seg_token_id: int
    image_token_id: int
    vocabulary: tuple[int, int]
    parameters: int
    weight_files: tuple[str, ...]

    def __str__(self) -> str:
        kind = "SELF1E release" if self.released else "InternVL base model"
        lines = [
            f"{kind} ({self.layout} layout) {self.source} -> {self.destination}",
            f"{self.parameters / 1e6:,.1f} million parameters in {len(self.weight_files)} file(s)",
            f"[SEG] is token {self.seg_token_id}, <IMG_CONTEXT> {self.image_token_id}; "
            f"{self.vocabulary[1]} rows of vocabulary ({self.vocabulary[0]} before)",
        ]
        lines += [f"newly initialised: {name}" for name in self.fresh]
        return "\n".join([*lines, *self.notes])


@dataclass
class ConversionPlan:
    """All that is needed to write or load the converted checkpoint. `tensors` are in the order of the source files."""

    folder: Path
    layout: str
    released: bool
    config: SELF1EConfig
    files: WeightFiles
    tensors: list[PlannedTensor]
    tokenizer: PreTrainedTokenizerFast | None
    source_vocabulary: int
    fresh: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def convert_checkpoint(
    source: str | Path,
    destination: str | Path,
    *,
    dtype: torch.dtype | None = None,
    overwrite: bool = False,
    subfolder: str = "",
    revision: str | None = None,
    seg_token_id: int | None = None,
    image_token_id: int | None = None,
    refilling: str = "rfa",
    seed: int = 0,
    max_shard_bytes: int = 2 * 10**9,
) -> ConversionReport:
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

    Raises:
        CheckpointError: When the source is incomplete, damaged, or anything in it does not fit, down to one tensor.
        FileExistsError: When the destination exists and may not be overwritten.
    """
    destination = Path(destination)
    _check_destination(destination, overwrite)
    layout_of(read_config(str(source), subfolder=subfolder, revision=revision))  # before gigabytes are downloaded
    folder = resolve_folder(str(source), subfolder=subfolder, revision=revision)
    plan = plan_conversion(
        folder,
        dtype=dtype,
        seg_token_id=seg_token_id,
        image_token_id=image_token_id,
        refilling=refilling,
        seed=seed,
    )
    with folder_when_complete(destination) as staging:
        plan.config.save_pretrained(staging)
        weight_files = write_shards(staging, plan.tensors, max_shard_bytes, plan.files.release)
        if plan.tokenizer is not None:
            plan.tokenizer.save_pretrained(staging)
        _carry_over(folder, staging)
    return ConversionReport(
        source=folder,
        destination=destination,
        layout=plan.layout,
        released=plan.released,
        fresh=tuple(plan.fresh),
        notes=tuple(plan.notes),
        seg_token_id=plan.config.seg_token_id,
        image_token_id=plan.config.image_token_id,
        vocabulary=(plan.source_vocabulary, plan.config.text_config.vocab_size),
        parameters=sum(torch.Size(tensor.shape).numel() for tensor in plan.tensors),
        weight_files=tuple(weight_files),
    )


def _carry_over(folder: Path, staging: Path) -> None:
    """Copies settings that are the same in all layouts."""
    carried = [IMAGE_SETTINGS] if (folder / IMAGE_SETTINGS).is_file() else []
    # InternVL's own often says nothing, and would hide from `generate` where answers end.
    if (folder / GENERATION_SETTINGS).is_file() and "eos_token_id" in read_json(folder / GENERATION_SETTINGS):
        carried.append(GENERATION_SETTINGS)
    for name in carried:
        shutil.copyfile(folder / name, staging / name)


def plan_conversion(
    folder: Path,
    *,
    dtype: torch.dtype | None = None,
    seg_token_id: int | None = None,
    image_token_id: int | None = None,
    refilling: str = "rfa",
    seed: int = 0,
) -> ConversionPlan:
    """Reads the settings, the tokenizer and the headers of the weights in `folder`; see `convert_checkpoint`."""
    raw_config = read_json(folder / "config.json")
    layout = layout_of(raw_config)
    files = WeightFiles(folder)
    sources, unexpected = match_names(files, layout)
    released = any(name.startswith(HEAD) for name in sources)
    if released and refilling != "rfa":
        raise CheckpointError(f"{folder} has a trained head of rung 'rfa'; it cannot be loaded as {refilling!r}")
    settings = our_settings(raw_config, layout)
    with blame_config(folder):
        config = SELF1EConfig(**settings, refilling=refilling, architectures=["SELF1EForSegmentation"])
    text = config.text_config
    rows = files.shapes[sources[EMBEDDINGS].name][0] if EMBEDDINGS in sources else text.vocab_size
    config.tie_word_embeddings = _is_tied(raw_config, layout, sources, files)
    if config.tie_word_embeddings:
        sources.pop(LM_HEAD, None)
    plan = ConversionPlan(folder, layout, released, config, files, [], _load_tokenizer(folder, config), rows)
    if rows > text.vocab_size:
        plan.notes.append(f"config.json says {text.vocab_size} rows of vocabulary, but the weights have {rows}")
        text.vocab_size = rows
    with blame_config(folder):
        expected = expected_shapes(config)
    raise_unless_fitting(folder, files, sources, unexpected, expected, fresh_head=not released)

    stored = files.dtype(sources[EMBEDDINGS].name)
    config.dtype = dtype or stored
    for name, source in sources.items():
        plan.tensors.append(
            PlannedTensor(name, expected[name], dtype or files.dtype(source.name), _loader(source, files))
        )
    _set_token_ids(plan, raw_config, seg_token_id, image_token_id)
    if not released:
        plan.fresh.insert(0, f"the refilling head (seed {seed})")
        plan.tensors += _fresh_head(expected, config.dtype, text.initializer_range, seed)
    return plan


def _is_tied(raw_config: dict[str, Any], layout: str, sources: dict[str, Source], files: WeightFiles) -> bool:
    """Whether the LM head is the embeddings; the weights decide where config.json may be wrong."""
    if not says_tied(raw_config, layout):
        return False
    if LM_HEAD not in sources or EMBEDDINGS not in sources:
        return True
    tied = torch.equal(sources[LM_HEAD].load(files), sources[EMBEDDINGS].load(files))
    files.release()
    return tied


def _loader(source: Source, files: WeightFiles) -> Callable[[], Tensor]:
    return lambda: source.load(files)


def _load_tokenizer(folder: Path, config: SELF1EConfig) -> PreTrainedTokenizerFast | None:
    if not (folder / "tokenizer_config.json").is_file():
        return None
    try:
        # With our settings for those of the source, which ask for code of their own to be run.
        return AutoTokenizer.from_pretrained(folder, config=config, trust_remote_code=False)
    except Exception as error:  # whatever is wrong with the files, the sentence is the same
        raise CheckpointError(f"the tokenizer in {folder} cannot be read ({error}); download it again") from error


def _set_token_ids(
    plan: ConversionPlan, raw_config: dict[str, Any], seg_token_id: int | None, image_token_id: int | None
) -> None:
    """Finds the ids of `[SEG]` and `<IMG_CONTEXT>`, and grows tokenizer, embeddings and LM head where they need it."""
    config, tokenizer, rows = plan.config, plan.tokenizer, plan.source_vocabulary
    known = KNOWN_VOCABULARIES.get(rows)
    found_seg = known.seg_token_id if known else None
    found_image = known.image_token_id if known else None
    found_image = raw_config.get("image_token_id", found_image)
    untrained = False  # whether the row of [SEG] has yet to be learnt
    if tokenizer is not None:
        untrained = not plan.released and SEG not in tokenizer.get_vocab()
        found_seg = add_seg_token(tokenizer)
        found_image = tokenizer.get_vocab().get(IMG_CONTEXT, found_image)
        end = tokenizer.get_vocab().get(IM_END)
        if end is not None:  # where answers end; the base text model's setting is another token
            config.text_config.eos_token_id = end
    config.seg_token_id = _agree(SEG, "seg_token_id", seg_token_id, found_seg)
    config.image_token_id = _agree(IMG_CONTEXT, "image_token_id", image_token_id, found_image)
    if config.image_token_id >= rows:
        raise CheckpointError(f"{IMG_CONTEXT} is token {config.image_token_id}, but the embeddings have {rows} rows")
    if config.seg_token_id >= rows:
        untrained = True
    if not untrained:
        return
    if plan.released:
        raise CheckpointError(f"the checkpoint has a trained head, but no trained {SEG} (token {config.seg_token_id})")
    config.text_config.vocab_size = max(rows, config.seg_token_id + 1)
    plan.fresh.append(f"the {SEG} row of embeddings and LM head (mean of the rows before it)")
    for index, tensor in enumerate(plan.tensors):
        if tensor.name in (EMBEDDINGS, LM_HEAD):
            plan.tensors[index] = _with_fresh_rows(tensor, config.seg_token_id)


def _agree(token: str, argument: str, given: int | None, found: int | None) -> int:
    if given is not None and found is not None and given != found:
        raise CheckpointError(f"{argument} = {given} was given, but {token} is token {found} of this checkpoint")
    value = given if given is not None else found
    if value is None:
        raise CheckpointError(
            f"the id of {token} is unknown: the checkpoint has no tokenizer, and its vocabulary is not InternVL3's; "
            f"give {argument} (on the command line --{argument.replace('_', '-')})"
        )
    return value


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
    expected: dict[str, tuple[int, ...]], dtype: torch.dtype, spread: float, seed: int
) -> list[PlannedTensor]:
    """Weights from a normal distribution of standard deviation `spread`, biases 0; the same for the same seed."""

    def loader(shape: tuple[int, ...], number: int) -> Callable[[], Tensor]:
        if len(shape) == 1:
            return lambda: torch.zeros(shape)
        return lambda: torch.randn(shape, generator=torch.Generator().manual_seed(1000 * seed + number)) * spread

    names = [name for name in expected if name.startswith(HEAD)]
    return [
        PlannedTensor(name, expected[name], dtype, loader(expected[name], number)) for number, name in enumerate(names)
    ]


def _check_destination(destination: Path, overwrite: bool) -> None:
    if not destination.exists() or (destination.is_dir() and not any(destination.iterdir())):
        return
    if not overwrite:
        raise FileExistsError(f"{destination} exists; name another folder, or allow it to be overwritten")
    is_ours = destination.is_dir() and (destination / "config.json").is_file()
    if not is_ours or read_json(destination / "config.json").get("model_type") != SELF1EConfig.model_type:
        raise FileExistsError(f"{destination} is no converted model, and is not overwritten; remove it yourself")
