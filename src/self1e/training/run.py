"""One training run from its settings: build, train, resume, and leave a model folder behind."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerFast, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from self1e.data.mixture import Mixture, Part
from self1e.data.own import OwnSource
from self1e.data.own_masks import CocoInstancesSource, IndexMapSource
from self1e.data.records import Source
from self1e.data.registry import open_training_set, without_held_out
from self1e.devices import choose_device
from self1e.modeling.model import SELF1EForSegmentation
from self1e.processing.processor import SELF1EProcessor
from self1e.processing.tokens import train_tokenizer
from self1e.training import attention
from self1e.training.collate import Collator
from self1e.training.config import ConfigError, MixtureData, OwnData, ToylandData, TrainConfig
from self1e.training.raise_model import raise_model
from self1e.training.toyland import ToylandDataset, toyland_corpus
from self1e.training.trainer import PROBE_WEIGHTS, SELF1ETrainer, attach_probe

logger = logging.getLogger(__name__)


def train(settings: TrainConfig, *, device: str = "auto", fresh: bool = False) -> Path:
    """Trains as `settings` say and returns the folder of the finished model (`output/model`).

    A run that was interrupted goes on from its last checkpoint.

    Args:
        settings: See `TrainConfig`.
        device: "auto", or "cpu" to leave an accelerator alone.
        fresh: Refuse to go on from an earlier run in the same folder.

    Raises:
        ConfigError: When the output folder belongs to a run with other settings.
    """
    output = Path(settings.output)
    checkpoint = get_last_checkpoint(str(output)) if output.is_dir() else None
    if checkpoint and fresh:
        raise ConfigError(f"{output} holds an earlier run: choose another output, or go on with it")
    _keep_settings(settings, output)

    torch.set_flush_denormal(True)  # attention weights of nearly 0 slow a CPU down by a tenth
    model, processor = build(settings)
    dense_side = 0
    if settings.dense_weight:
        attach_probe(model, settings.dense_labels, settings.seed, settings.init or settings.vision)
        dense_side = 2 * processor.image_size // model.config.vision_config.patch_size[0]
    chosen = settings.optimisation
    model.model.vision_tower.requires_grad_(chosen.vision_rate > 0)
    if chosen.precision == "bfloat16" and choose_device(device).type == "cpu":
        model.set_attn_implementation(attention.NAME)
    dataset = training_set(settings.data, chosen.steps * chosen.pictures_per_step, dense_side)
    trainer = SELF1ETrainer(
        model=model,
        settings=settings,
        args=training_arguments(settings, device),
        train_dataset=dataset,
        data_collator=Collator(processor, settings.packed),
        processing_class=processor,  # saved with every checkpoint, which makes it a model folder
    )
    trainer.train(resume_from_checkpoint=checkpoint)
    finished = output / "model"
    save(model, processor, finished)
    return finished


def training_set(data: ToylandData | MixtureData, length: int, dense_side: int = 0) -> ToylandDataset | Mixture:
    """The examples of a run.

    Raises:
        DataError: When a data set is missing or unreadable.
    """
    if isinstance(data, ToylandData):
        return ToylandDataset(data, length, dense_side)
    parts = {}
    for name, part in data.parts.items():
        sources: list[Source] = []
        if part.rate:
            sources += [open_training_set(each, Path(data.root or "")) for each in part.sets]
            sources += map(own_source, part.own)
        if data.hold_out and data.root is not None:
            sources = without_held_out(sources, Path(data.root))
        parts[name] = Part(part.rate, tuple(sources))
    return Mixture(parts, length, data.seed, data.at_most)


def own_source(own: OwnData) -> Source:
    """Opens data of one's own in the form that the settings name."""
    if own.jsonl is not None:
        return OwnSource(Path(own.jsonl))
    assert own.images is not None
    if own.coco is not None:
        return CocoInstancesSource(Path(own.coco), Path(own.images), absent_classes=own.absent_classes)
    assert own.masks is not None and own.classes is not None
    return IndexMapSource(Path(own.images), Path(own.masks), Path(own.classes), absent_classes=own.absent_classes)


def save(model: SELF1EForSegmentation, processor: SELF1EProcessor, folder: Path) -> None:
    """Writes a model folder; a probe goes to a file beside the folder, where the next stage finds it."""
    if hasattr(model, "dense_probe"):
        folder.mkdir(parents=True, exist_ok=True)
        save_file(model.dense_probe.state_dict(), folder.parent / PROBE_WEIGHTS)
        del model.dense_probe
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def build(settings: TrainConfig) -> tuple[SELF1EForSegmentation, SELF1EProcessor]:
    """The model to start from: raised from nothing, or the one `init` names; with the rung and pathways asked for."""
    if settings.architecture is not None:
        tokenizer = _toyland_tokenizer(settings.architecture.vocabulary)
        model, processor = raise_model(settings.architecture, tokenizer, settings.seed, settings.refilling)
        if settings.vision is not None:
            _take_over_vision(model, settings.vision)
    else:
        assert settings.init is not None
        model = SELF1EForSegmentation.from_pretrained(settings.init, dtype=torch.float32)  # whatever it is stored in
        processor = SELF1EProcessor.from_pretrained(settings.init)
        if model.config.refilling != settings.refilling:
            raise ConfigError(
                f"{settings.init} was trained with refilling: {model.config.refilling}, not {settings.refilling}"
            )
    model.config.update(
        {
            name: getattr(settings, name)
            for name in ("image_to_image", "image_to_segmentation", "ce_weight", "bce_weight", "dice_weight")
        }
    )
    return model, processor


def _take_over_vision(model: SELF1EForSegmentation, folder: str) -> None:
    """Copies the vision tower and the projector of the model in `folder`."""
    taught = SELF1EForSegmentation.from_pretrained(folder, dtype=torch.float32)
    for part in ("vision_tower", "multi_modal_projector"):
        try:
            getattr(model.model, part).load_state_dict(getattr(taught.model, part).state_dict())
        except RuntimeError as error:
            raise ConfigError(f"the {part} of {folder} does not fit `architecture`: {error}") from None


def training_arguments(settings: TrainConfig, device: str) -> TrainingArguments:
    """What transformers' Trainer has to know."""
    chosen = settings.optimisation
    return TrainingArguments(
        output_dir=settings.output,
        max_steps=chosen.steps,
        per_device_train_batch_size=chosen.pictures_per_step,
        learning_rate=chosen.learning_rate,
        lr_scheduler_type="constant_with_warmup" if chosen.schedule == "constant" else chosen.schedule,
        warmup_steps=chosen.warmup_steps,
        max_grad_norm=chosen.clip,
        logging_steps=settings.log_every,
        save_steps=settings.save_every,
        save_total_limit=settings.keep,
        dataloader_num_workers=settings.workers,
        dataloader_persistent_workers=settings.workers > 0,
        dataloader_prefetch_factor=4 if settings.workers else None,
        remove_unused_columns=False,
        report_to=["tensorboard"],
        seed=settings.seed,
        bf16=chosen.precision == "bfloat16",
        use_cpu=choose_device(device).type == "cpu",
        disable_tqdm=not logger.isEnabledFor(logging.INFO),
    )


def _keep_settings(settings: TrainConfig, output: Path) -> None:
    """Writes the settings beside the checkpoints, and refuses to mix two runs in one folder."""
    path = output / "config.yaml"
    tree = settings.model_dump(mode="json")
    if path.exists() and yaml.safe_load(path.read_text()) != tree:
        raise ConfigError(f"{output} belongs to a run with other settings ({path}): choose another output")
    output.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(tree, sort_keys=False))


def _toyland_tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    return train_tokenizer(toyland_corpus(), vocabulary)
