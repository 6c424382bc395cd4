"""Holds a converted model against what the released code computed: `verify`.

A reference folder has `reference.safetensors` (inputs, and outputs in single precision) and `reference.json` (token
ids, tile grids, losses, and the norm of every gradient by its official name).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from rich.table import Column, Table
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from self1e.checkpoints.errors import ModelError
from self1e.checkpoints.load import SELF1EForSegmentation
from self1e.checkpoints.names import our_names
from self1e.checkpoints.weights import read_json
from self1e.model.attention_mask import DualPerception
from self1e.model.batch import Batch, build_batch
from self1e.model.network import LOSS_FIELDS, SELF1EOutput
from self1e.model.rows import Row


@dataclass(frozen=True)
class Comparison:
    """One recorded quantity: the largest absolute difference, or the relative one (losses and gradient norms)."""

    quantity: str
    difference: float
    relative: bool = False


@dataclass(frozen=True)
class VerificationReport:
    """All comparisons, and the tolerance which each of them has to keep. Prints as a table with rich."""

    comparisons: tuple[Comparison, ...]
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether everything agrees; NaN does not."""
        return all(comparison.difference <= self.tolerance for comparison in self.comparisons)

    @property
    def failures(self) -> tuple[Comparison, ...]:
        """What does not agree."""
        return tuple(each for each in self.comparisons if not each.difference <= self.tolerance)

    def __str__(self) -> str:
        worst = max(self.comparisons, key=lambda each: each.difference)
        if self.passed:
            return (
                f"all {len(self.comparisons)} quantities agree to {self.tolerance:g}; "
                f"the largest difference is {worst.difference:.1e} ({worst.quantity})"
            )
        names = ", ".join(f"{each.quantity} ({each.difference:.1e})" for each in self.failures)
        return f"{len(self.failures)} of {len(self.comparisons)} differ by more than {self.tolerance:g}: {names}"

    def __rich__(self) -> Table:
        table = Table(Column("quantity", overflow="fold"), "largest difference", "", caption=str(self))
        for each in self.comparisons:
            kind = "relative" if each.relative else "absolute"
            mark = "[green]ok[/]" if each.difference <= self.tolerance else "[red]differs[/]"
            table.add_row(each.quantity, f"{each.difference:.1e} {kind}", mark)
        return table


def reference_token_ids(reference_folder: str | Path) -> dict[str, int]:
    """`image_token_id` and `seg_token_id` of a reference, as `convert_checkpoint` takes them."""
    ids = _read_reference(Path(reference_folder))["special_ids"]
    return {"image_token_id": ids["img_context"], "seg_token_id": ids["seg"]}


def verify(model_folder: str | Path, reference_folder: str | Path, tolerance: float = 1e-4) -> VerificationReport:
    """Runs the inputs of a reference through a model, forward and backward, and compares all that was recorded.

    Args:
        model_folder: What `SELF1EForSegmentation.from_pretrained` takes; run in single precision on the CPU.
        reference_folder: See the module docstring.
        tolerance: Largest difference that passes; relative for losses and gradient norms.

    Raises:
        ModelError: When the reference is incomplete or was made with other token ids than the model's.
    """
    reference_folder = Path(reference_folder)
    reference = _read_reference(reference_folder)
    tensors = _read_tensors(reference_folder)
    model = SELF1EForSegmentation.from_pretrained(str(model_folder), dtype=torch.float32).eval()
    for key, value in reference_token_ids(reference_folder).items():
        if getattr(model.config, key) != value:
            raise ModelError(
                f"the model has {key} {getattr(model.config, key)}, the reference {value}; "
                "convert the model with the ids of the reference"
            )
    weights = reference.get("loss_weights", {})
    for name, weight in weights.items():
        setattr(model.config, f"{name}_weight", weight)
    real = _real_tokens(tensors["input_ids"], reference["special_ids"].get("pad"))
    batch = _batch(model, tensors, reference, real)
    output = model(batch, logits_at=batch.attention_mask.flatten().nonzero().flatten())
    comparisons = [*_compare_tensors(batch, output, tensors, real), *_compare_losses(model, output, reference)]
    if reference.get("grad_norms"):
        assert output.loss is not None
        output.loss.backward()
        comparisons += _compare_gradients(model, reference["grad_norms"])
    if not comparisons:
        raise ModelError(f"{reference_folder} holds no outputs to compare with; record them again")
    return VerificationReport(tuple(comparisons), tolerance)


def _read_reference(folder: Path) -> dict[str, Any]:
    if not (folder / "reference.json").is_file() or not (folder / "reference.safetensors").is_file():
        raise ModelError(f"{folder} is no reference: it needs reference.json and reference.safetensors")
    reference = read_json(folder / "reference.json")
    if not {"img_context", "seg"} <= set(reference.get("special_ids", ())) or "grid_cols_rows" not in reference:
        raise ModelError(
            f"{folder / 'reference.json'} lacks special_ids (img_context, seg) or grid_cols_rows; copy it again"
        )
    return reference


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    try:
        tensors = load_file(folder / "reference.safetensors")
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{folder / 'reference.safetensors'} is damaged ({error}); copy it again") from error
    missing = {"input_ids", "pixel_values"} - set(tensors)
    if missing:
        raise ModelError(f"{folder / 'reference.safetensors'} lacks {', '.join(sorted(missing))}; copy it again")
    return tensors


def _real_tokens(input_ids: Tensor, pad: int | None) -> Tensor:
    """bool[B, N], False at the run of padding that ends a row; the same id inside a conversation is a token."""
    if pad is None:
        return torch.ones_like(input_ids, dtype=torch.bool)
    tokens_from_here = (input_ids != pad).flip(1).cumsum(dim=1).flip(1)
    return tokens_from_here > 0


def _batch(model: SELF1EForSegmentation, tensors: dict[str, Tensor], reference: dict[str, Any], real: Tensor) -> Batch:
    """The recorded rows as the model takes them. Pixels are those of all rows that have a picture."""
    grids = [(columns, rows) for columns, rows in reference["grid_cols_rows"]]
    pictures = list(accumulate((columns * rows > 0 for columns, rows in grids), initial=0))
    positions = tensors.get("position_ids", real.cumsum(dim=1) - 1)
    rows = []
    for row, kept in enumerate(real):
        length = int(kept.sum())
        rows.append(
            Row(
                input_ids=tensors["input_ids"][row, kept].tolist(),
                labels=tensors["labels"][row, kept].tolist() if "labels" in tensors else [],
                conversation_ids=[0] * length,
                position_ids=positions[row, kept].tolist(),
                picture=pictures[row] if pictures[row + 1] > pictures[row] else -1,
            )
        )
    return build_batch(
        rows,
        [grid for grid in grids if grid[0] * grid[1] > 0],
        image_token_id=model.config.image_token_id,
        seg_token_id=model.config.seg_token_id,
        pixel_values=tensors["pixel_values"],
        masks=[tensors[f"gt_masks.{row}"] for row in range(len(rows))] if "gt_masks.0" in tensors else None,
        labels="labels" in tensors,
    )


def _compare_tensors(
    batch: Batch, output: SELF1EOutput, tensors: dict[str, Tensor], real: Tensor
) -> Iterator[Comparison]:
    features = output.image_features
    assert features is not None and output.mask_logits is not None and output.last_hidden_state is not None
    ours, theirs = batch.attention_mask, real  # the same tokens, whatever padding is behind them
    if "additive_attention_mask" in tensors:
        visible = DualPerception(ours, batch.image_tokens, batch.seg_tokens).mask()[:, 0]
        length = visible.shape[-1]
        recorded = tensors["additive_attention_mask"][:, 0] == 0
        yield _compare("attention_mask", visible[ours].float(), recorded[theirs][:, :length].float())
    for name, found in (("compressed_features", features.compressed), ("uncompressed_features", features.uncompressed)):
        if name in tensors and found is not None:
            yield _compare(name, found, tensors[name])
    for name, states in (("last_hidden_state", output.last_hidden_state[ours]), ("logits", output.logits)):
        if name in tensors and states is not None:
            yield _compare(name, states, tensors[name][theirs])
    for row, maps in enumerate(output.mask_logits):
        name = f"mask_logits.{row}"
        if name in tensors:
            yield _compare(name, maps, tensors[name])


def _compare(name: str, ours: Tensor, theirs: Tensor) -> Comparison:
    """Largest absolute difference; nothing agrees with nothing, and nothing with another shape."""
    if ours.numel() == 0 and theirs.numel() == 0:
        return Comparison(name, 0.0)
    if ours.shape != theirs.shape:
        return Comparison(f"{name} {list(ours.shape)} instead of {list(theirs.shape)}", float("inf"))
    return Comparison(name, (ours.detach() - theirs).abs().max().item())


def _compare_losses(
    model: SELF1EForSegmentation, output: SELF1EOutput, reference: dict[str, Any]
) -> Iterator[Comparison]:
    losses = {name: getattr(output, name) for name in ("loss", *LOSS_FIELDS.values())}
    if of_masks := {name: loss for name, loss in output.losses.items() if name != "ce"}:
        losses["mask_loss"] = model.config.weighted(of_masks)
    for name, loss in losses.items():
        if name in reference.get("losses", {}) and loss is not None:
            yield Comparison(name, _relative(loss.item(), reference["losses"][name]), relative=True)


def _compare_gradients(model: SELF1EForSegmentation, norms: dict[str, float]) -> Iterator[Comparison]:
    """The norm of each gradient under its official name; that of a fused qkv is the root of three summed squares."""
    parameters = dict(model.named_parameters())
    for official_name, norm in norms.items():
        squares = 0.0
        for name in our_names(official_name, "official") or []:
            gradient = parameters[name].grad if name in parameters else None
            squares += float("nan") if gradient is None else gradient.double().square().sum().item()
        yield Comparison(f"grad {official_name}", _relative(squares**0.5, norm), relative=True)


def _relative(ours: float, theirs: float) -> float:
    return abs(ours - theirs) / max(abs(theirs), 1e-6)  # so that a norm of nothing agrees with one of next to nothing
