"""transformers' Trainer for this model: losses of whole steps, batches of little padding, checkpoints without gaps."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NoReturn

import torch
from peft import PeftModel
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.tensor import DTensor
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainerControl
from transformers.trainer_utils import rotate_checkpoints
from transformers.utils import CONFIG_NAME

from self1e.checkpoints.hub import BASE_SHA256
from self1e.checkpoints.weights import not_finite, read_json
from self1e.data.broken import Examples
from self1e.fast.transfers import moved, to_device
from self1e.files import write_json
from self1e.model.config import SELF1EConfig
from self1e.model.network import SELF1EForSegmentation
from self1e.training.adapters import adapter_state, save_adapter
from self1e.training.averaging import Averaging
from self1e.training.checkpoints import AVERAGE, OPTIMISER, SCHEDULE, STATE, UNFINISHED, last_checkpoint, publish
from self1e.training.collate import MEAN_OVER, Collator, Encoded, dealt
from self1e.training.config import ConfigError, TrainConfig
from self1e.training.losses import EXTRA_LOSSES, LOSSES_PREFIX, ExtraLoss, LossInputs
from self1e.training.optimisers import group_of, make_optimiser
from self1e.training.running import RunningFigures
from self1e.training.trackers import show_picture
from self1e.training.validation import validate
from self1e.training.watch import DivergedError, Watch
from self1e.training.zero3 import put_together

logger = logging.getLogger(__name__)

WATCHED_FROM = 5
"""Log lines after the warm-up before anything counts as amiss."""


class SELF1ETrainer(Trainer):
    """Adds to `Trainer` what `settings` say, and losses of plugins, whose weights have a file of their own.

    Examples come in the order of the dataset, whose item `i` is a function of (seed, i): a resumed run goes on with
    exactly the examples that an uninterrupted one would see.

    The losses of a step are means over all that its batches hold together, on all processes: how the step's examples
    are spread over batches and processes changes nothing but rounding.

    Args:
        args: Of `Trainer`.
        settings: Of the run.
        collator: Makes batches.
        validation_set: Looked at with every checkpoint.
        kwargs: Of `Trainer`.
    """

    loss_is_scaled_for_ga = True

    def __init__(
        self,
        *args: Any,
        settings: TrainConfig,
        collator: Collator,
        validation_set: Examples | None = None,
        **kwargs: Any,
    ) -> None:
        # Workers encode examples; how they are put together is known when the whole step is there.
        super().__init__(*args, data_collator=collator.encode_all, eval_dataset=validation_set, **kwargs)
        self.settings = settings
        self.collator = collator
        self.averaging: Averaging | None = None
        if settings.optimisation.ema:
            self.averaging = Averaging(self.model, settings.optimisation.ema)
            self.add_callback(self.averaging)
        self.watch = Watch(settings.optimisation.warmup_steps + WATCHED_FROM * settings.log_every)
        data = settings.data
        self.running = RunningFigures(self.accelerator, data)
        self.batches: list[tuple[list[str], Tensor]] = []
        """Of the step: ids of examples, and the loss."""

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(train_dataset or self.train_dataset)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """See `make_optimiser`."""
        self.optimizer = make_optimiser(model or self.model, self.settings.optimisation)
        return self.optimizer

    def get_batch_samples(
        self, epoch_iterator: Iterator[list[Encoded]], num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Any]], None]:
        """The batches of a step, see `dealt`."""
        loaded = [examples for _, examples in zip(range(num_batches), epoch_iterator, strict=False)]
        examples = [example for several in loaded for example in several]
        batches = [self.collator.batch(group) for group in dealt(examples, num_batches)]
        self.running.begin_step([batch["counts"] for batch in batches])
        self.batches.clear()
        return batches, None

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """A batch on the device. The host does not wait for what is copied."""
        return super()._prepare_inputs(inputs | {"batch": moved(inputs["batch"], self.args.device)})

    def _prepare_input(self, data: Any) -> Any:
        """As in `Trainer`, but the host does not wait for what is copied."""
        if isinstance(data, Tensor):
            data = to_device(data, self.args.device)
        return super()._prepare_input(data)

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        """As in `Trainer`, which asks for it before weights move: a norm that is not finite would spoil them all."""
        norm = super()._get_grad_norm(model, grad_norm)
        if not math.isfinite(whole(norm)):
            self._diverged(f"the norm of the gradient is {float(whole(norm))}", self.state.global_step + 1)
        return norm

    def _diverged(self, what: str, step: int) -> NoReturn:
        """Ends the run, with the examples of its last step in a file."""
        output, chosen = Path(self.args.output_dir), self.settings.optimisation
        process = f"-{self.accelerator.process_index}" if self.accelerator.num_processes > 1 else ""
        file = output / f"diverged-{step}{process}.json"
        batches = [{"loss": str(float(loss)), "examples": ids} for ids, loss in self.batches]
        write_json(file, {"step": step, "fault": what, "batches": batches}, overwrite=True, indent=1)
        last = last_checkpoint(output)
        start = f"another output and init: {last}, the last good checkpoint," if last else "the same output, anew,"
        precision = ", precision: float32" if chosen.precision != "float32" else ""
        raise DivergedError(
            f"step {step}: {what}. Training stops here, and nothing of this step was saved.\n"
            f"The examples of the step, and the loss of each batch of them, are in {file}: look at them.\n"
            f"Then start with {start} and a lower optimisation.learning_rate (it is {chosen.learning_rate:g}), "
            f"more warmup_steps (they are {chosen.warmup_steps}){precision}."
        )

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """As in `Trainer`, under ZeRO-3 with a mask head that is whole."""
        with self._whole_head():
            return super().training_step(*args, **kwargs)

    def _whole_head(self) -> AbstractContextManager[None]:
        plugin = self.accelerator.state.deepspeed_plugin
        if plugin is None or plugin.zero_stage != 3:
            return nullcontext()
        return put_together(self.model.refilling_head)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not estimated: `Trainer` would count tokens, and the vision tower and the head do most of the work."""
        return 0

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, **kwargs: Any
    ) -> Tensor | tuple[Tensor, Any]:
        """The method's loss, and those of plugins."""
        with self.accelerator.autocast():  # `model.forward` does so by itself, `encode_images` and other losses do not
            return self._compute_loss(model, inputs, return_outputs)

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Tensor | tuple[Tensor, Any]:
        batch, counts = inputs["batch"], inputs["counts"]
        self.running.add_batch(counts, inputs.get("skipped", []))
        outputs = None
        if self.settings.pictures_only:
            features = model.encode_images(batch.pixel_values)
            loss = features.compressed.new_zeros(())
        else:
            outputs = model(batch, logits_at=batch.before_seg)
            features = outputs.image_features
            shares = {name: self.running.share(counts, whole) for name, whole in MEAN_OVER.items()}
            parts = {name: value * shares[name] for name, value in outputs.losses.items()}
            loss = self._config.weighted(parts)
            self.running.add(**parts)
            self.running.add_pointing(outputs, batch.masks, self._config.seg_token_id)
        for name in self.settings.losses:
            seen = LossInputs(batch, features, outputs, inputs["targets"].get(name, {}))
            extra = self._extra_loss(name, model.extra_losses[name], seen, self.running.share(counts, "pictures"))
            loss = loss + extra
        self.batches.append((inputs["ids"], loss.detach()))
        return (loss, outputs) if return_outputs else loss

    def _extra_loss(self, name: str, loss: ExtraLoss, seen: LossInputs, share: float) -> Tensor:
        """A batch's share of the loss of a plugin over the step; its parts and figures go to the log."""
        total, parts = loss(seen)
        self.running.add(**{f"{name}_{part}": value * share for part, value in parts.items()})
        if self.state.global_step % self.settings.log_every == 0:
            for figure, (part, whole) in loss.figures(seen).items():
                self.running.add_share(f"{name}_{figure}", torch.as_tensor(part), torch.as_tensor(whole))
        return share * total

    @property
    def _config(self) -> SELF1EConfig:
        config: SELF1EConfig = self.accelerator.unwrap_model(self.model).config
        return config

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds to a line about training: parts of the loss, mean over its steps; shares; and how much was padding."""
        if "loss" in logs:
            logs |= self.running.take()
            self._look(logs)
        super().log(logs, start_time)

    # Validation

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """See `validate`. The sheet of predictions goes to `validation/` in the output folder, and to the trackers."""
        assert self.settings.validation is not None and self.eval_dataset is not None
        model = self.model_wrapped if self.is_deepspeed_enabled else self.model
        model.eval()
        with self._averaged(), self._whole_head(), self.accelerator.autocast():
            figures, sheet = validate(
                model,
                self.eval_dataset if eval_dataset is None else eval_dataset,
                self.collator,
                seg_token_id=self._config.seg_token_id,
                shown=self.settings.validation.shown,
                process=self.accelerator.process_index,
                processes=self.accelerator.num_processes,
                prepare=self._prepare_inputs,
            )
        figures["loss"] = self._config.weighted({name: figures[name] for name in MEAN_OVER})
        figures["score"] = figures.get("giou", -figures["loss"])  # the best has the highest
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in figures.items()}
        self.log(metrics)
        if sheet is not None and self.is_world_process_zero():
            self._show(sheet)
        self._look(figures)
        self.control: TrainerControl = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _look(self, figures: Mapping[str, float]) -> None:
        if self.is_world_process_zero():
            self.watch.look(self.state.global_step, figures)

    def _averaged(self) -> AbstractContextManager[None]:
        """The averaged weights in place, where there are any."""
        return self.averaging.in_place(self.model) if self.averaging else nullcontext()

    def _show(self, sheet: Image.Image) -> None:
        folder = Path(self.args.output_dir) / "validation"
        folder.mkdir(exist_ok=True)
        sheet.save(folder / f"step-{self.state.global_step:06d}.png")
        show_picture(self.callback_handler.callbacks, "validation", sheet, self.state.global_step)

    # Checkpoints

    def _get_output_dir(self, trial: Any) -> str:
        return str(Path(self.args.output_dir) / UNFINISHED)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Writes a checkpoint aside, and moves it to its place when nothing of it is missing."""
        weights = ((name, local(weight)) for name, weight in self.model.named_parameters() if weight.requires_grad)
        lost = not_finite(weights)
        everywhere = self.accelerator.reduce(torch.tensor(len(lost), device=self.args.device), "sum")
        if int(everywhere):  # all processes stop, whichever has the part of it that is not
            self._diverged(
                f"weights are not finite ({', '.join(lost[:1]) or 'on another process'})", self.state.global_step
            )
        output = Path(self.args.output_dir)
        staged = output / UNFINISHED / f"checkpoint-{self.state.global_step}"
        super()._save_checkpoint(model, trial)
        best = self.state.best_global_step
        self.state.best_model_checkpoint = str(output / f"checkpoint-{best}") if best else None
        if self.args.should_save:  # again, as the best may be this one, which is not in its place yet
            self.state.save_to_json(str(staged / STATE))
        if self.averaging is not None and self.args.should_save:
            with self._averaged():
                self._save(str(staged / AVERAGE))
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            publish(staged, output / staged.name)
            rotate_checkpoints(
                output_dir=str(output),
                save_total_limit=self.args.save_total_limit,
                best_model_checkpoint=self.state.best_model_checkpoint,
            )
        self.accelerator.wait_for_everyone()

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Under FSDP all processes put the weights together, whatever form the engine's own checkpoints have."""
        if not self.is_fsdp_enabled:
            super().save_model(output_dir, _internal_call)
            return
        once = dict(self.model.named_parameters()) | dict(
            self.model.named_buffers()
        )  # without second names of a weight
        if isinstance(self.accelerator.unwrap_model(self.model), PeftModel):  # which saves little else
            once = {name: weight for name, weight in once.items() if weight.requires_grad or group_of(name) == "head"}
        state = {}
        for name, weight in self.model.state_dict().items():
            if name in once:
                together = whole(weight)  # all processes have to take part
                if self.args.should_save:
                    state[name] = together.cpu()
        self._save(output_dir, state)

    def best_checkpoint(self) -> Path | None:
        """The one with the best score in validation; None without validation."""
        best = self.state.best_model_checkpoint
        return Path(best) if best else None

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        """A model folder, or an adapter folder; the weights of losses have a file of their own in it."""
        if not self.args.should_save:
            return
        folder = Path(output_dir or self.args.output_dir)
        model = self.accelerator.unwrap_model(self.model)
        if isinstance(model, PeftModel):
            save_adapter(model, folder, state_dict)
        else:
            once = dict(model.named_parameters()) | dict(model.named_buffers())  # without second names of a weight
            state = {name: value for name, value in (state_dict or model.state_dict()).items() if name in once}
            of_losses = {name: state.pop(name) for name in list(state) if name.startswith(LOSSES_PREFIX)}
            model.save_pretrained(folder, state_dict=state)
            if of_losses:
                own_names = {name.removeprefix(LOSSES_PREFIX): value for name, value in of_losses.items()}
                save_file(own_names, folder / EXTRA_LOSSES)
        self.collator.processor.save_pretrained(folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        folder = Path(resume_from_checkpoint)
        if self.averaging is not None:
            self._load(folder / AVERAGE)
            self.averaging.load({name: weight.detach() for name, weight in self.model.named_parameters()})
        self._load(folder)

    def _load(self, folder: Path) -> None:
        model = self.model
        if isinstance(model, PeftModel):
            state: dict[str, Any] = adapter_state(folder)
            base = read_json(folder / CONFIG_NAME).get(BASE_SHA256)
            if base not in (None, getattr(model.get_base_model().config, BASE_SHA256, None)):
                raise ConfigError(
                    f"{self.settings.init} has other weights than when this run began: choose another output"
                )
        else:
            state = SELF1EForSegmentation.from_pretrained(folder, dtype=model.dtype).state_dict()
        if (of_losses := folder / EXTRA_LOSSES).exists():
            state |= {LOSSES_PREFIX + name: value for name, value in load_file(of_losses).items()}
        # Every process reads the whole file and keeps its part. Adapters come without the weights they adapt.
        options = StateDictOptions(full_state_dict=True, strict=not isinstance(model, PeftModel))
        set_model_state_dict(model, state, options=options)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        """Under FSDP the state is put together, so that a run may go on with another number of processes."""
        if not self.is_fsdp_enabled:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        state = get_optimizer_state_dict(self.model, self.optimizer, options=options)
        if self.args.should_save:
            torch.save(state, Path(output_dir) / OPTIMISER)
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / SCHEDULE)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Rates are those of the schedule as it is now: it may be longer than that of the checkpoint."""
        self._load_states(checkpoint)
        if checkpoint is not None and isinstance(self.lr_scheduler, LambdaLR):  # not DeepSpeed's
            self.lr_scheduler.last_epoch -= 1
            self.lr_scheduler.step()

    def _load_states(self, checkpoint: str | None) -> None:
        if checkpoint is None or not self.is_fsdp_enabled:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        # Mapped, so that the processes of a machine share one copy in memory.
        state = torch.load(Path(checkpoint) / OPTIMISER, weights_only=True, mmap=True, map_location="cpu")
        set_optimizer_state_dict(self.model, self.optimizer, state, options=StateDictOptions(full_state_dict=True))
        self.lr_scheduler.load_state_dict(torch.load(Path(checkpoint) / SCHEDULE, weights_only=True))


def local(weight: Tensor) -> Tensor:
    """The part of a weight that this process has; ZeRO-3 keeps it in `ds_tensor`."""
    return weight.to_local() if isinstance(weight, DTensor) else getattr(weight, "ds_tensor", weight).detach()


def whole(weight: Tensor) -> Tensor:
    """A weight that FSDP has cut up, put together; others as they are. All processes have to ask."""
    return weight.full_tensor() if isinstance(weight, DTensor) else weight
