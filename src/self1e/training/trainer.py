"""transformers' Trainer for this model: loss parts logged apart, per-pixel teaching, examples in their given order."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import SequentialSampler
from transformers import Trainer

from self1e.data.records import DataError
from self1e.modeling.model import SELF1EForSegmentation
from self1e.training.config import MixtureData, TrainConfig
from self1e.training.dense import DenseProbe, label_accuracy
from self1e.training.optimisers import make_optimiser

logger = logging.getLogger(__name__)

BROKEN_COUNTED_FROM = 100
"""Records seen before a share of broken ones means anything."""

PROBE_WEIGHTS = "dense_probe.safetensors"
PROBE_PREFIX = "dense_probe."


class SELF1ETrainer(Trainer):
    """Adds to `Trainer`: `settings` (what to optimise) and a probe of per-pixel labels that lives in checkpoints only.

    Examples come in the order of the dataset, whose item `i` is a function of (seed, i): a resumed run goes on with
    exactly the examples that an uninterrupted one would see.
    """

    def __init__(self, *args: Any, settings: TrainConfig, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.settings = settings
        self.parts: dict[str, list[float]] = {}
        self.seen = 0
        self.broken: list[tuple[str, str]] = []

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(train_dataset or self.train_dataset)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """See `make_optimiser`."""
        self.optimizer = make_optimiser(model or self.model, self.settings.optimisation)
        return self.optimizer

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, **kwargs: Any
    ) -> Tensor | tuple[Tensor, Any]:
        """The method's loss, plus that of the per-pixel labels where there are any."""
        with self.accelerator.autocast():  # `model.forward` does so by itself, `encode_images` and the probe do not
            return self._compute_loss(model, inputs, return_outputs)

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Tensor | tuple[Tensor, Any]:
        self._count(inputs.pop("skipped", []))
        dense = inputs.pop("dense", None)
        outputs = None
        if self.settings.objective == "dense":
            features = model.encode_images(inputs["pixel_values"])
            loss = features.compressed.new_zeros(())
        else:
            outputs = model(**inputs)
            features, loss = outputs.image_features, outputs.loss
            self._note(ce=outputs.ce_loss, bce=outputs.mask_bce_loss, dice=outputs.mask_dice_loss)
        if dense is not None:
            losses = model.dense_probe(features.compressed, features.uncompressed, dense)
            loss = loss + self.settings.dense_weight * torch.stack(list(losses.values())).sum()
            self._note(**{f"dense_{name}": value for name, value in losses.items()})
            if outputs is not None and self.settings.pointed_weight:
                pointed = self._pointed_loss(model, inputs, outputs.last_hidden_state, dense)
                loss = loss + self.settings.pointed_weight * pointed
                self._note(pointed=pointed)
            if self.state.global_step % self.settings.log_every == 0:
                accuracy = label_accuracy(model.dense_probe, features.compressed, dense)
                self._note(**{f"accuracy_{name}": value for name, value in accuracy.items()})
        return (loss, outputs) if return_outputs else loss

    def _count(self, skipped: list[tuple[str, str]]) -> None:
        """Tells of broken records that were skipped, and stops when they are too many."""
        self.seen += self.settings.optimisation.pictures_per_step + len(skipped)
        for name, reason in skipped:
            logger.warning("skipped %s: %s", name, reason)
        self.broken += skipped
        if isinstance(self.settings.data, MixtureData) and self.seen >= BROKEN_COUNTED_FROM:
            most = self.settings.data.broken_share
            if len(self.broken) > most * self.seen:
                report = "\n".join(f"  {name}: {reason}" for name, reason in self.broken[:20])
                raise DataError(
                    f"{len(self.broken)} of {self.seen} records are broken, more than data.broken_share, {most:.2%}; "
                    f"the first of them:\n{report}"
                )

    def _pointed_loss(self, model: Any, inputs: dict[str, Any], states: Tensor, dense: dict[str, Tensor]) -> Tensor:
        """Mean over the masks of the batch, see `DenseProbe.pointed_loss`."""
        before_seg = F.pad(inputs["input_ids"][:, 1:] == model.config.seg_token_id, (0, 1))
        losses = [
            model.dense_probe.pointed_loss(
                states[row][before_seg[row]],
                masks.to(states.device),
                {name: labels[inputs["picture_index"][row]] for name, labels in dense.items()},
            )
            for row, masks in enumerate(inputs["masks"])
            if len(masks)
        ]
        masks = sum(map(len, inputs["masks"]))
        return torch.stack(losses).sum() / masks if losses else states.new_zeros(())

    def _note(self, **parts: Tensor | float | None) -> None:
        for name, value in parts.items():
            if value is not None:
                self.parts.setdefault(name, []).append(float(value.detach() if isinstance(value, Tensor) else value))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the mean of each part of the loss since the last line."""
        logs |= {name: sum(values) / len(values) for name, values in self.parts.items()}
        self.parts.clear()
        super().log(logs, start_time)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        """The model without the probe, so that a checkpoint is a model folder; the probe beside it."""
        folder = Path(output_dir or self.args.output_dir)
        state_dict = dict(state_dict or self.model.state_dict())
        probe = {name: state_dict.pop(name) for name in list(state_dict) if name.startswith(PROBE_PREFIX)}
        super()._save(str(folder), state_dict)
        if probe:
            save_file({name.removeprefix(PROBE_PREFIX): value for name, value in probe.items()}, folder / PROBE_WEIGHTS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        model = model or self.model
        saved = SELF1EForSegmentation.from_pretrained(resume_from_checkpoint, dtype=model.dtype)
        state = saved.state_dict()
        if hasattr(model, "dense_probe"):
            probe = load_file(Path(resume_from_checkpoint) / PROBE_WEIGHTS)
            state |= {PROBE_PREFIX + name: value for name, value in probe.items()}
        model.load_state_dict(state)


def attach_probe(model: SELF1EForSegmentation, labels: Sequence[str], seed: int, init: str | None = None) -> None:
    """Gives the model a probe of per-pixel labels, to be trained with it and left out of what is saved.

    Args:
        model: Gets the attribute `dense_probe`.
        labels: Which labels it reads.
        seed: Of a new probe's weights.
        init: The model folder that training goes on from; if the earlier stage left its probe beside it, and that reads
            the same labels, it is used.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model.dense_probe = DenseProbe(model.config.text_config.hidden_size, labels)
    if init is not None and (path := Path(init).parent / PROBE_WEIGHTS).exists():
        earlier = load_file(path)
        if {name: value.shape for name, value in earlier.items()} == {
            name: value.shape for name, value in model.dense_probe.state_dict().items()
        }:
            model.dense_probe.load_state_dict(earlier)
