"""Settings of a training run, read from YAML. Unknown keys and ill-typed values stop before anything loads."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import Field, PlainSerializer, PlainValidator, ValidationError, model_validator
from yaml.constructor import ConstructorError

from self1e.data.settings import Data, PathText, Settings, read_named
from self1e.model.config import Refilling, SELF1EConfig
from self1e.plugins import LOSSES, PluginError, installed, load
from self1e.processing.tiles import MAX_TILES
from self1e.training.losses import LossSettings

Group = Literal["stem", "vision", "projector", "language", "embeddings", "head"]
"""Parts of a model that can have learning rates of their own: convolutional stem, vision tower, projector, layers of
the language model, its token embeddings and LM head, refilling head."""


class ConfigError(ValueError):
    """A training configuration that cannot be used."""


class Architecture(Settings):
    """A model to build from nothing: InternVL's architecture at any size."""

    image_size: int = Field(384, gt=0, description="side of a tile, pixels")
    patch_size: int = Field(16, gt=0, description="side of a patch, pixels; two patches make one image token")
    vision_width: int = Field(192, gt=0)
    vision_layers: int = Field(6, gt=0)
    vision_heads: int = Field(3, gt=0)
    text_width: int = Field(192, gt=0)
    text_layers: int = Field(5, gt=0)
    text_heads: int = Field(3, gt=0)
    text_mlp_width: int = Field(576, gt=0, description="inner width of the gated MLP")
    vocabulary: int = Field(1536, ge=300, description="most tokens of a learnt tokenizer, special ones included")
    tokenizer: PathText | None = Field(
        None, description="model whose tokenizer is taken: a name, a folder, or a Hub id. Default: learnt from the data"
    )

    @property
    def tokens_per_tile(self) -> int:
        """Image tokens of a tile."""
        return (self.image_size // self.patch_size // 2) ** 2

    @model_validator(mode="after")
    def _divides(self) -> Architecture:
        if self.image_size % (2 * self.patch_size):
            raise ValueError(
                f"image_size {self.image_size} is not a multiple of two patches of {self.patch_size}: give one of "
                f"{2 * self.patch_size}, or another patch_size"
            )
        for part in ("vision", "text"):
            width, heads = (getattr(self, f"{part}_{name}") for name in ("width", "heads"))
            if width % heads:
                raise ValueError(f"{part}_width {width} does not divide into {heads} heads: give a multiple of {heads}")
        if self.tokenizer is not None and "vocabulary" in self.model_fields_set:
            raise ValueError("vocabulary is for a tokenizer that is learnt: leave it out, or `tokenizer`")
        return self


def _read_losses(tree: object) -> dict[str, LossSettings]:
    if not isinstance(tree, dict):
        raise ValueError(f"should be names of losses, each with its settings, not {tree!r}")
    if all(isinstance(value, LossSettings) for value in tree.values()):
        return dict(tree)
    return read_named(LOSSES, LossSettings, tree)  # type: ignore[type-abstract]


def _written_losses(losses: Mapping[str, LossSettings]) -> dict[str, object]:
    return {name: settings.model_dump(mode="json") for name, settings in losses.items()}


Losses = Annotated[dict[str, LossSettings], PlainValidator(_read_losses), PlainSerializer(_written_losses)]
"""Losses that plugins bring, by their names."""


class Optimisation(Settings):
    """How weights move: the optimiser, its learning rate, and how much a step sees."""

    steps: int = Field(gt=0)
    pictures_per_step: int = Field(
        8, gt=0, description="of one process at a time; a step sees this x `accumulate` x the number of processes"
    )
    accumulate: int = Field(1, gt=0, description="batches whose gradients make one step")
    optimiser: Literal["adamw", "muon"] = Field("adamw", description="`muon` is for hidden matrices only")
    learning_rate: float = Field(1e-3, gt=0)
    rates: dict[Group, Annotated[float, Field(ge=0)]] = Field(
        {}, description="learning rates of groups of weights, relative; 0 freezes a group. Default: 1 for each"
    )
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_steps: int = Field(100, ge=0)
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = Field(0.0, ge=0)
    clip: float = Field(1.0, gt=0, description="largest norm of the gradient")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="of matrix products, and with `lora` of weights that are not trained; trained weights, their "
        "updates and losses are float32",
    )
    gradient_checkpointing: bool = Field(
        False, description="compute activations again in the backward pass: less memory, a third more time"
    )
    ema: float = Field(
        0.0, ge=0, lt=1, description="keep an exponential moving average of the trained weights, and finish with it"
    )

    def pictures_of_a_step(self, processes: int = 1) -> int:
        """How many a step sees, in all batches of all processes."""
        return self.pictures_per_step * self.accumulate * processes

    def pictures(self, processes: int = 1) -> int:
        """How many the run sees: the examples that its data have to give."""
        return self.steps * self.pictures_of_a_step(processes)

    def rate(self, group: Group) -> float:
        """Relative learning rate of a group."""
        return self.rates.get(group, 1.0)


class Lora(Settings):
    """Low-rank adapters (Hu et al., 2021) on all linear layers of attention and MLPs, by peft."""

    rank: int = Field(128, gt=0)
    alpha: int = Field(256, gt=0, description="updates are scaled by alpha / rank")
    dropout: float = Field(0.05, ge=0, lt=1)
    targets: list[Literal["vision", "language"]] = Field(
        ["vision", "language"],
        min_length=1,
        description="groups whose own weights stay as they are while adapters train; other groups train in full",
    )


class Validation(Settings):
    """What is looked at whenever a checkpoint is written. The one with the best gIoU (without masks: loss) is kept."""

    data: Data
    examples: int = Field(64, gt=0, description="always the same ones, in the words of the evaluation protocol")
    shown: int = Field(8, ge=0, description="of these, pictures that are drawn with their predictions")


class TrainConfig(Settings):
    """Everything that decides a run; saved beside what it makes."""

    output: PathText = Field(description="folder of checkpoints, logs, and `model`, the result")
    init: PathText | None = Field(
        None, description="model to go on from, by its name: `nano`, a folder, or a Hub id; instead of `architecture`"
    )
    architecture: Architecture | None = None
    vision: PathText | None = Field(
        None, description="model whose vision tower and projector a model from `architecture` takes over"
    )
    refilling: Refilling = "rfa"
    image_to_image: bool = SELF1EConfig.image_to_image
    image_to_segmentation: bool = SELF1EConfig.image_to_segmentation
    max_tiles: int | None = Field(
        None, ge=1, le=MAX_TILES, description="most tiles of a picture. Default: as the model has it"
    )
    packed: bool = Field(
        False,
        description="segmenting conversations of a picture share one row; needs image_to_segmentation off",
    )
    pictures_only: bool = Field(
        False, description="pictures are encoded and no words are read: vision learns from `losses` alone"
    )
    losses: Losses = Field({}, description="losses of plugins beside the method's own, each with its settings")
    ce_weight: float = Field(SELF1EConfig.ce_weight, ge=0)
    bce_weight: float = Field(SELF1EConfig.bce_weight, ge=0)
    dice_weight: float = Field(SELF1EConfig.dice_weight, ge=0)
    data: Data
    optimisation: Optimisation
    lora: Lora | None = Field(None, description="train adapters instead of all weights of vision and language")
    validation: Validation | None = None
    seed: int = Field(1, description="of initial weights; the data have their own")
    workers: int = Field(1, ge=0, description="processes that prepare examples")
    log_every: int = Field(20, gt=0, description="steps")
    save_every: int = Field(500, gt=0, description="steps")
    keep: int = Field(2, gt=0, description="checkpoints to keep")

    def of_model(self) -> dict[str, Any]:
        """What is the model's own to know: the settings of the names that its configuration has."""
        return {name: getattr(self, name) for name in SELF1EConfig.__annotations__ if name in type(self).model_fields}

    @model_validator(mode="after")
    def _consistent(self) -> TrainConfig:
        if (self.init is None) == (self.architecture is None):
            given = "both are given" if self.init else "neither is given"
            raise ValueError(f"give either `init` (a model to go on from) or `architecture` (from nothing): {given}")
        if self.vision is not None and self.architecture is None:
            raise ValueError("`vision` is for a model from `architecture`: with `init`, the whole model is taken over")
        if self.packed and self.image_to_segmentation:
            raise ValueError(
                "packed rows share their picture, so it cannot look at any one [SEG]: set image_to_segmentation: false"
            )
        if self.pictures_only and not self.losses:
            raise ValueError("pictures_only leaves the method's own losses out: give `losses`")
        if self.pictures_only and self.validation is not None:
            raise ValueError(
                "validation looks at masks and words, which a run with pictures_only does not learn: leave one out"
            )
        for data in (self.data, self.validation.data if self.validation else None):
            if data is not None and not self.pictures_only and not data.always_asks:
                raise ValueError(
                    f"{data.name} would ask nothing about some pictures: have its settings ask about every one, or set "
                    "pictures_only"
                )
        if self.lora is not None and self.init is None:
            raise ValueError("lora adapts a model that has learnt something: give `init`, not `architecture`")
        if self.architecture is not None and self.max_tiles is not None:
            raise ValueError("max_tiles is for `init`: a model from `architecture` sees one tile")
        if self.lora is not None and self.optimisation.optimiser == "muon":
            raise ValueError("optimiser: muon moves whole matrices, lora their factors: set optimiser: adamw")
        if not any(
            self.optimisation.rate(group) for group in get_args(Group) if group != "stem"
        ):  # which few models have
            raise ValueError("optimisation.rates freeze every group, so nothing is left to train: raise one above 0")
        frozen = [group for group in (self.lora.targets if self.lora else ()) if not self.optimisation.rate(group)]
        if frozen:
            raise ValueError(
                f"optimisation.rates are 0 for {', '.join(frozen)} of lora.targets, whose adapters are to be trained: "
                "raise them, or take them out of lora.targets"
            )
        return self


class _Loader(yaml.SafeLoader):
    """Takes 1e-4 for a number, as people and YAML 1.2 do; PyYAML wants 1.0e-4. Refuses a key that is given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise ConstructorError(None, None, f"the key {key.value!r} is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: list(kinds) for first, kinds in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def read_yaml(text: str) -> Any:
    """The value that YAML stands for.

    >>> read_yaml("{rate: 1e-4, steps: 20, schedule: 1e-4 or so}")
    {'rate': 0.0001, 'steps': 20, 'schedule': '1e-4 or so'}
    """
    return yaml.load(text, _Loader)


def load_config(path: str | Path, overrides: dict[str, Any] | None = None) -> TrainConfig:
    """Reads a YAML file; `overrides` are dotted keys ("optimisation.steps") and their values.

    Raises:
        ConfigError: With every fault of the file, one a line.
    """
    try:
        tree = read_yaml(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise ConfigError(f"cannot read the configuration {path}: {reason}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} holds no settings: it should be a YAML mapping")
    for key, value in (overrides or {}).items():
        *parents, last = key.split(".")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
            if not isinstance(branch, dict):
                raise ConfigError(f"cannot set {key}: {parent} is {branch!r}, which has no settings of its own")
        branch[last] = value
    _share_root(tree)
    faults = [f"  {key}: is now {instead}" for key, instead in _moved(tree).items() if tree.pop(key, None) is not None]
    try:
        settings = TrainConfig.model_validate_json(_as_json(tree))
    except ValidationError as error:
        faults += [f"  {'.'.join(map(str, fault['loc'])) or 'settings'}: {fault['msg']}" for fault in error.errors()]
    if faults:
        raise ConfigError(f"{path} cannot be used:\n" + "\n".join(faults))
    return settings


def _moved(tree: Mapping[str, Any]) -> dict[str, str]:
    """Keys of earlier versions that are settings of a plugin's loss by now -> what to write instead."""
    moved: dict[str, str] = {}
    unknown = tree.keys() - TrainConfig.model_fields.keys()
    for name in installed(LOSSES) if unknown else ():
        with suppress(PluginError):
            loss = load(LOSSES, name)
            if isinstance(loss, type) and issubclass(loss, LossSettings):
                moved |= {key: now for key, now in loss.formerly.items() if key in unknown}
    return moved


def _share_root(tree: dict[str, Any]) -> None:
    """Validation data lie where training data do, unless it is said otherwise."""
    data, validation = tree.get("data"), tree.get("validation")
    looked_at = validation.get("data") if isinstance(validation, dict) else None
    if isinstance(data, dict) and "root" in data and isinstance(looked_at, dict) and "parts" in looked_at:
        looked_at.setdefault("root", data["root"])


def _as_json(tree: dict[str, Any]) -> str:
    """JSON has no tuples, so that strict checking takes a YAML list for one. What JSON lacks (dates) becomes text."""
    return json.dumps(tree, default=str)
