"""One training run from its settings: build, train, resume, and leave a model folder behind.

A run takes part in whatever its launcher sets up: one process, or several on one or many machines (torchrun,
`accelerate launch` with DDP, FSDP or DeepSpeed). The launcher's engine is transformers' Trainer's business; what is
ours to see to is that all processes build the same, and one writes.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import PartialState
from torch import nn
from torch.distributed.fsdp import MixedPrecisionPolicy
from transformers import TrainerCallback, TrainingArguments
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from self1e.checkpoints.adapters import merge
from self1e.checkpoints.hub import BASE_SHA256, open_checkpoint
from self1e.checkpoints.load import load_network
from self1e.data.broken import Examples, Tolerant
from self1e.data.readable import Readable, Reader
from self1e.fast.attention import FEW_PASSES
from self1e.files import folder_when_complete
from self1e.model.config import SELF1EConfig
from self1e.model.network import SELF1EForSegmentation
from self1e.processing.processor import SELF1EProcessor
from self1e.segment.devices import choose_device
from self1e.training.adapters import add_adapters, freeze
from self1e.training.build_from_scratch import build_from_scratch
from self1e.training.checkpoints import AVERAGE, claim, clean, copy_model, last_checkpoint, local_folder
from self1e.training.collate import Collator
from self1e.training.config import ConfigError, TrainConfig
from self1e.training.curve import Curve
from self1e.training.losses import MakeTargets, attach_losses
from self1e.training.reading import tokenizer_of
from self1e.training.sources import Datasets, datasets
from self1e.training.trackers import trackers
from self1e.training.trainer import SELF1ETrainer

logger = logging.getLogger(__name__)


def train(
    settings: TrainConfig, *, device: str = "auto", fresh: bool = False, callbacks: Sequence[TrainerCallback] = ()
) -> Path:
    """Trains as `settings` say and returns the folder of the finished model (`output/model`).

    A run that was interrupted goes on from its last checkpoint.

    Args:
        settings: See `TrainConfig`.
        device: "auto", or "cpu" to leave an accelerator alone.
        fresh: Refuse to go on from an earlier run in the same folder.
        callbacks: Of transformers' Trainer, beside its own.

    Raises:
        ConfigError: When the output folder belongs to a run with other settings, or the settings do not suit the
            engine that the launcher set up.
        DataError: When data are missing, or too many records broken.
    """
    output = Path(settings.output)
    checkpoint = last_checkpoint(output)
    if checkpoint and fresh:
        raise ConfigError(f"{output} holds an earlier run: choose another output, or go on with it")
    arguments = training_arguments(settings, device)  # before anything else: sets up the processes
    state = PartialState()
    data = datasets(settings, arguments.world_size)  # may be missing: then the folder stays as it is
    with state.main_process_first():
        claim(settings, state.num_processes)
    trainer = make_trainer(settings, device, arguments, data=data)
    for callback in (Curve(output), *callbacks):
        trainer.add_callback(callback)
    if state.is_main_process:
        clean(output)
    state.wait_for_everyone()
    with denormals_flushed():
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finished = output / "model"
    if state.is_main_process:
        last = last_checkpoint(output)
        assert last is not None  # Trainer saves at the end
        _finish(settings, last, finished)
        if best := trainer.best_checkpoint():
            _finish(settings, best, output / "best")
    state.wait_for_everyone()
    return finished


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """Takes numbers next to 0 for 0: attention weights that small slow a CPU down by a tenth."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def make_trainer(
    settings: TrainConfig,
    device: str = "auto",
    arguments: TrainingArguments | None = None,
    built: tuple[SELF1EForSegmentation, SELF1EProcessor] | None = None,
    data: Datasets | None = None,
) -> SELF1ETrainer:
    """Everything that `settings` describe, ready to train.

    Args:
        settings: Of the run.
        device: See `train`.
        arguments: Of `Trainer`, where there are some already.
        built: Model and processor to take instead of those that the settings name.
        data: Of the run, where they are open already.

    Raises:
        ConfigError: When settings do not suit each other, the model, or the engine.
        DataError: When data are missing.
    """
    arguments = arguments or training_arguments(settings, device)
    data = data or datasets(settings, arguments.world_size)  # before gigabytes of weights are read
    model, processor = built or build(settings)
    chosen = settings.optimisation
    attach_losses(model, settings.losses, settings.seed, local_folder(settings.init or settings.vision))
    if settings.lora is not None and settings.losses and any(True for _ in model.extra_losses.parameters()):
        raise ConfigError("losses with weights of their own cannot be trained beside adapters: leave out one of them")
    if chosen.precision == "bfloat16" and choose_device(device).type == "cpu":
        model.set_attn_implementation(FEW_PASSES)
    training: Examples = data.training
    if not settings.pictures_only:
        reader = Reader(processor, model.config.text_config.max_position_embeddings)
        training = Tolerant(Readable(training, reader), settings.data.name)
    trainer = SELF1ETrainer(
        model=with_adapters(model, settings),
        settings=settings,
        args=arguments,
        collator=Collator(processor, settings.packed, targets_of(settings, model.config)),
        train_dataset=training,
        validation_set=data.validation,
    )
    unset_hf_deepspeed_config()  # which making the trainer has set again
    _check_engine(settings, trainer)
    return trainer


def with_adapters(model: SELF1EForSegmentation, settings: TrainConfig) -> nn.Module:
    """The model with what `settings` freeze frozen, and adapters where they ask for them.

    Beside adapters, weights that stay as they are take the precision of the products, and half the memory.
    """
    freeze(model, settings.optimisation, settings.lora)
    if settings.lora is None:
        return model
    untrained = getattr(torch, settings.optimisation.precision)
    for weight in model.parameters():
        weight.data = weight.data.to(torch.float32 if weight.requires_grad else untrained)
    init = local_folder(settings.init)
    return add_adapters(model, settings.lora, settings.seed, str(init.absolute() if init else settings.init))


def _check_engine(settings: TrainConfig, trainer: SELF1ETrainer) -> None:
    """Refuses what would fail late, or silently do something else, and sets what engines leave open."""
    state = trainer.accelerator.state
    for engine, works in (("FSDP", trainer.is_fsdp_enabled), ("DEEPSPEED", trainer.is_deepspeed_enabled)):
        if os.environ.get(f"ACCELERATE_USE_{engine}", "").lower() == "true" and not works:  # accelerate goes on without
            raise ConfigError(
                f"the launcher asks for {engine}, and accelerate has set up {state.distributed_type.value} on "
                f"{state.device.type}: start it for what is there"
            )
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if state.num_processes != started:
        raise ConfigError(
            f"{started} processes were started, and this one works with {state.num_processes}: each would train alone"
        )
    several = state.num_processes > 1
    sharded = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
    if settings.losses and (several or sharded):
        raise ConfigError(
            "losses of plugins are computed outside of the model's forward, in one process that is not sharded: start "
            "one process, or leave out `losses`"
        )
    if settings.optimisation.optimiser == "muon" and sharded:
        raise ConfigError("optimiser: muon needs whole matrices, which FSDP and DeepSpeed cut up: set adamw")
    if settings.optimisation.ema and sharded:
        raise ConfigError("ema averages whole weights, which FSDP and DeepSpeed cut up: set optimisation.ema: 0")
    if trainer.is_fsdp_enabled:
        plugin = trainer.accelerator.state.fsdp_plugin
        if plugin.fsdp_version != 2:
            raise ConfigError("this is FSDP1: set fsdp_version: 2, as configs/launch/fsdp2.yaml does")
        # Autocast sees to the precision of products, as in one process. accelerate's policy would cut down outputs,
        # losses and gradients as well.
        plugin.mixed_precision_policy = MixedPrecisionPolicy()


def _finish(settings: TrainConfig, checkpoint: Path, folder: Path) -> None:
    """Makes a model folder of a checkpoint, with averaged weights where there are any; adapters are merged."""
    weights = checkpoint / AVERAGE if settings.optimisation.ema else checkpoint
    if settings.lora is None:
        copy_model(weights, folder)
    else:
        copy_model(weights, folder.with_name("adapter" if folder.name == "model" else f"{folder.name}-adapter"))
        with folder_when_complete(folder, replace=True) as staging:
            merge(weights).save_pretrained(staging)
            SELF1EProcessor.from_pretrained(weights).save_pretrained(staging)


def build(settings: TrainConfig) -> tuple[SELF1EForSegmentation, SELF1EProcessor]:
    """The model to start from: built from nothing, or the one `init` names; with the rung and pathways asked for.

    Raises:
        ConfigError: When the settings do not suit the model.
        ModelError: When there is no model of the name in `init` or `vision`.
    """
    if settings.architecture is not None:
        model, processor = build_from_scratch(
            settings.architecture, tokenizer_of(settings), settings.seed, settings.refilling
        )
        if settings.vision is not None:
            _take_over_vision(model, settings.vision)
    else:
        assert settings.init is not None
        start = open_checkpoint(settings.init)
        # A base gets a new head.
        options = {} if start.can_segment else {"refilling": settings.refilling, "seed": settings.seed}
        # Weights to be trained are float32, whatever they are stored in; for adapters, `with_adapters` sees to it.
        model = load_network(start, "auto" if settings.lora else torch.float32, **options)
        if settings.lora:
            setattr(model.config, BASE_SHA256, start.sha256())  # is saved with the adapters
        processor = SELF1EProcessor.from_pretrained(start.folder)
        if settings.max_tiles is not None:
            processor.max_tiles = settings.max_tiles
        if model.config.refilling != settings.refilling:
            raise ConfigError(
                f"{settings.init} was trained with refilling: {model.config.refilling}, not {settings.refilling}: set "
                "what it was trained with, or begin with a base model"
            )
        for pathway in ("image_to_image", "image_to_segmentation"):
            before, now = getattr(model.config, pathway), getattr(settings, pathway)
            if start.can_segment and before != now:
                logger.warning(
                    "%s was trained with %s: %s, and goes on with %s, as this run's settings say",
                    *(settings.init, pathway, str(before).lower(), str(now).lower()),
                )
    model.config.update(settings.of_model())
    return model, processor


def _take_over_vision(model: SELF1EForSegmentation, name: str) -> None:
    """Copies the vision tower and the projector of the model that is called `name`."""
    taught = load_network(open_checkpoint(name), torch.float32)
    for part in ("vision_tower", "multi_modal_projector"):
        try:
            getattr(model.model, part).load_state_dict(getattr(taught.model, part).state_dict())
        except RuntimeError as error:
            raise ConfigError(f"the {part} of {name} does not fit `architecture`: {error}") from None


class OneGpuArguments(TrainingArguments):
    """Settings of a process that uses one GPU, however many it sees.

    With more, Trainer would cut each batch in pieces that do not know their pictures.
    """

    @property
    def n_gpu(self) -> int:
        return min(super().n_gpu, 1)


def training_arguments(settings: TrainConfig, device: str) -> TrainingArguments:
    """What transformers' Trainer has to know."""
    chosen = settings.optimisation
    validation = settings.validation is not None
    arguments = OneGpuArguments(
        output_dir=settings.output,
        max_steps=chosen.steps,
        per_device_train_batch_size=chosen.pictures_per_step,
        gradient_accumulation_steps=chosen.accumulate,
        activation_checkpointing=chosen.gradient_checkpointing,
        learning_rate=chosen.learning_rate,
        lr_scheduler_type="constant_with_warmup" if chosen.schedule == "constant" else chosen.schedule,
        warmup_steps=chosen.warmup_steps,
        max_grad_norm=chosen.clip,
        logging_steps=settings.log_every,
        save_steps=settings.save_every,
        save_total_limit=settings.keep,
        eval_strategy="steps" if validation else "no",
        eval_steps=settings.save_every if validation else None,
        metric_for_best_model="score" if validation else None,
        greater_is_better=True if validation else None,
        dataloader_num_workers=settings.workers,
        dataloader_persistent_workers=settings.workers > 0,
        dataloader_prefetch_factor=4 if settings.workers else None,
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,  # there are none, see `self1e.model.batch`
        report_to=trackers(),
        seed=settings.seed,
        bf16=chosen.precision == "bfloat16",
        use_cpu=choose_device(device).type == "cpu",
        disable_tqdm=not (logger.isEnabledFor(logging.INFO) and sys.stderr.isatty()),
        logging_nan_inf_filter=False,  # or a loss that is no number would be logged as the mean of those before
        dataloader_pin_memory=False,  # batches are put together behind the loader
    )
    # With it, transformers would cut weights up while it builds or reads a model, also where one process does so alone.
    # DeepSpeed cuts them up when training begins.
    unset_hf_deepspeed_config()
    if (there := super(OneGpuArguments, arguments).n_gpu) > 1:
        logger.warning("one of %d GPUs is used: start the run with torchrun to use all", there)
    return arguments


def targets_of(settings: TrainConfig, config: SELF1EConfig) -> dict[str, MakeTargets]:
    """What makes the targets of losses, by the names of these."""
    made = {name: loss.targets(config) for name, loss in settings.losses.items()}
    return {name: make for name, make in made.items() if make is not None}
