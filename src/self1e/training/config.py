"""Settings of a training run, read from YAML. Unknown keys and ill-typed values stop before anything loads."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, field_validator, model_validator
from yaml.constructor import ConstructorError

from self1e.data.registry import check_name
from self1e.model.config import Refilling
from self1e.processing.images import MAX_TILES
from self1e.toyland.language import SEGMENTING, TEXTUAL

DenseLabel = Literal["kind", "part", "colour", "thing_colour", "texture", "pose", "size", "geometry", "place"]


QUESTIONS = (*SEGMENTING, *TEXTUAL)

Group = Literal["vision", "projector", "language", "embeddings", "head"]
"""Parts of a model that can have learning rates of their own: vision tower, projector, layers of the language model,
its token embeddings and LM head, refilling head."""


class ConfigError(ValueError):
    """A training configuration that cannot be used."""


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Architecture(Settings):
    """A model to raise from nothing: InternVL's architecture at any size, with a tokenizer of its own."""

    image_size: int = Field(384, gt=0, description="side of a tile, pixels")
    patch_size: int = Field(16, gt=0, description="side of a patch, pixels; two patches make one image token")
    vision_width: int = Field(192, gt=0)
    vision_layers: int = Field(6, gt=0)
    vision_heads: int = Field(3, gt=0)
    text_width: int = Field(192, gt=0)
    text_layers: int = Field(5, gt=0)
    text_heads: int = Field(3, gt=0)
    text_mlp_width: int = Field(576, gt=0, description="inner width of the gated MLP")
    vocabulary: int = Field(1536, ge=300, description="most tokens of the tokenizer, special ones included")

    @model_validator(mode="after")
    def _divides(self) -> Architecture:
        if self.image_size % (2 * self.patch_size):
            raise ValueError(f"image_size {self.image_size} is not a multiple of two patches of {self.patch_size}")
        for width, heads in ((self.vision_width, self.vision_heads), (self.text_width, self.text_heads)):
            if width % heads:
                raise ValueError(f"width {width} does not divide into {heads} heads")
        return self


class ToylandData(Settings):
    """Scenes of the generated world."""

    seed: int = Field(1, description="two runs with the same seed see the same scenes in the same order")
    size: int = Field(448, gt=0, description="side of a picture, pixels")
    scenes: int | None = Field(
        None, gt=0, description="how many different scenes; asked anew when they come round again. Default: no end"
    )
    segmenting: int = Field(12, ge=0, description="questions a picture that are answered by a mask")
    textual: int = Field(4, ge=0, description="questions a picture that are answered in words")
    rehearsed: int = Field(4, ge=0, description="segmenting answers a picture that are learnt as text, causally")
    textual_share: float = Field(1.0, ge=0, le=1, description="share of pictures that have textual and rehearsed ones")
    terse: float = Field(0.0, ge=0, le=1, description="share of segmenting questions that are the bare prompt")
    capitals: float = Field(0.0, ge=0, le=1, description="share of segmenting questions that name things in capitals")
    history: float = Field(0.0, ge=0, le=1, description="share of conversations that go on from another, as in a chat")
    first_weights: dict[str, float] | None = Field(None, description="weights of kinds of question at the start")
    last_weights: dict[str, float] | None = Field(None, description="weights after `curriculum` of the run")
    curriculum: float = Field(
        0.0, ge=0, description="share of the run over which the weights change; above 1 it ends on the way"
    )

    @property
    def asks_always(self) -> bool:
        """Whether every scene has a question."""
        return bool(self.segmenting or (self.textual_share == 1 and self.textual + self.rehearsed))

    @model_validator(mode="after")
    def _known_kinds(self) -> ToylandData:
        for weights in (self.first_weights, self.last_weights):
            unknown = sorted(set(weights or ()) - set(QUESTIONS))
            if unknown:
                raise ValueError(f"there is no kind of question {', '.join(unknown)}: known are {', '.join(QUESTIONS)}")
        return self


class OwnData(Settings):
    """Data of one's own, in one of three forms; see `self1e.data.own` and `self1e.data.own_masks`."""

    jsonl: str | None = Field(None, description="a JSONL file, one object a line")
    coco: str | None = Field(None, description="a COCO instances JSON; its category names become prompts")
    masks: str | None = Field(None, description="folder of index PNGs, one for each picture in `images`")
    images: str | None = Field(None, description="folder of the pictures, for `coco` and `masks`")
    classes: str | None = Field(None, description="file with a class name a line, for `masks`; line i is value i")
    absent_classes: int = Field(
        0, ge=0, description="names asked for that are not in a picture, for `coco` and `masks`"
    )

    @model_validator(mode="after")
    def _one_form(self) -> OwnData:
        given = {name for name in ("jsonl", "coco", "masks", "images", "classes") if getattr(self, name) is not None}
        if given not in ({"jsonl"}, {"coco", "images"}, {"masks", "images", "classes"}):
            raise ValueError("give `jsonl`, or `coco` and `images`, or `masks`, `images` and `classes`")
        if self.jsonl is not None and self.absent_classes:
            raise ValueError('absent_classes is for `coco` and `masks`: a JSONL says by "masks": [] what is not there')
        return self


class PartSettings(Settings):
    """Data sets that share a sampling rate."""

    rate: float = Field(ge=0, description="how often an example comes from this part, relative to the others")
    sets: list[str] = Field([], description="names that `self1e.data.registry.open_set` knows")
    own: list[OwnData] = []

    @field_validator("sets")
    @classmethod
    def _known_sets(cls, names: list[str]) -> list[str]:
        for name in names:
            check_name(name)
        return names


class MixtureData(Settings):
    """The field's data sets, or one's own, mixed by sampling rates."""

    parts: dict[str, PartSettings] = Field(min_length=1)
    root: str | None = Field(None, description="folder of the named data sets, in LISA's tree")
    seed: int = Field(1, description="two runs with the same seed see the same examples in the same order")
    at_most: int = Field(3, gt=0, description="queries, and conversations in words, taken of a picture")
    hold_out: bool = Field(True, description="leave out pictures of RefCOCO-family validation and test splits")
    broken_share: float = Field(
        0.01,
        ge=0,
        le=1,
        description="broken records that stop the run, of those that a process has seen since it started",
    )

    @model_validator(mode="after")
    def _has_root(self) -> MixtureData:
        if self.root is None and any(part.sets for part in self.parts.values()):
            raise ValueError("`root` is needed for the named data sets: the folder that holds them")
        return self


def _data_form(tree: Any) -> str:
    if isinstance(tree, dict):  # "part": a slip that should be called one
        return "toyland" if tree.keys().isdisjoint(("parts", "part", "root")) else "mixture"
    return "mixture" if isinstance(tree, MixtureData) else "toyland"


Data = Annotated[
    Annotated[ToylandData, Tag("toyland")] | Annotated[MixtureData, Tag("mixture")], Discriminator(_data_form)
]


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

    output: str = Field(description="folder of checkpoints, logs, and `model`, the result")
    init: str | None = Field(
        None, description="model to go on from, by its name: `nano`, a folder, or a Hub id; instead of `architecture`"
    )
    architecture: Architecture | None = None
    vision: str | None = Field(
        None, description="model whose vision tower and projector a model from `architecture` takes over"
    )
    refilling: Refilling = "rfa"
    image_to_image: bool = True
    image_to_segmentation: bool = True
    max_tiles: int | None = Field(
        None, ge=1, le=MAX_TILES, description="most tiles of a picture. Default: as the model has it"
    )
    packed: bool = Field(
        False,
        description="segmenting conversations of a picture share one row; needs image_to_segmentation off",
    )
    objective: Literal["dense", "full"] = Field("full", description="`dense` trains vision on per-pixel labels alone")
    dense_weight: float = Field(0.0, ge=0, description="weight of the per-pixel labels beside the other losses")
    dense_labels: list[DenseLabel] = Field(
        list(get_args(DenseLabel)), min_length=1, description="which per-pixel labels are taught"
    )
    pointed_weight: float = Field(
        0.0, ge=0, description="weight of the labels of what a [SEG] points at; needs a dense_weight"
    )
    ce_weight: float = Field(1.0, ge=0)
    bce_weight: float = Field(2.0, ge=0)
    dice_weight: float = Field(0.5, ge=0)
    data: Data = ToylandData()
    optimisation: Optimisation
    lora: Lora | None = Field(None, description="train adapters instead of all weights of vision and language")
    validation: Validation | None = None
    seed: int = Field(1, description="of initial weights; the data have their own")
    workers: int = Field(1, ge=0, description="processes that draw scenes")
    log_every: int = Field(20, gt=0, description="steps")
    save_every: int = Field(500, gt=0, description="steps")
    keep: int = Field(2, gt=0, description="checkpoints to keep")

    @model_validator(mode="after")
    def _consistent(self) -> TrainConfig:
        if (self.init is None) == (self.architecture is None):
            raise ValueError("give either `init` (a model to go on from) or `architecture` (from nothing)")
        if self.vision is not None and self.architecture is None:
            raise ValueError("`vision` is for a model from `architecture`: with `init`, the whole model is taken over")
        if self.dense_weight and not isinstance(self.data, ToylandData):
            raise ValueError("dense_weight is for toyland, which knows the labels of every pixel")
        if self.architecture is not None and not isinstance(self.data, ToylandData):
            raise ValueError("a model from `architecture` has toyland's tokenizer: give `init` for other data")
        if self.packed and self.image_to_segmentation:
            raise ValueError(
                "packed rows share their picture, so it cannot look at any one [SEG]: set image_to_segmentation: false"
            )
        for data in (self.data, self.validation.data if self.validation else None):
            if isinstance(data, ToylandData) and self.objective == "full" and not data.asks_always:
                raise ValueError("some scenes would have no question: set segmenting above 0, or textual_share: 1")
        if self.lora is not None and self.init is None:
            raise ValueError("lora adapts a model that has learnt something: give `init`, not `architecture`")
        if self.architecture is not None and self.max_tiles is not None:
            raise ValueError("max_tiles is for `init`: a model from `architecture` sees one tile")
        if self.lora is not None and self.optimisation.optimiser == "muon":
            raise ValueError("optimiser: muon moves whole matrices, lora their factors: set optimiser: adamw")
        if not any(self.optimisation.rate(group) for group in get_args(Group)):
            raise ValueError("optimisation.rates freeze every group: nothing is left to train")
        if self.lora is not None and not all(self.optimisation.rate(group) for group in self.lora.targets):
            raise ValueError("optimisation.rates freeze a group of lora.targets, whose adapters are to be trained")
        if self.objective == "dense" and not self.dense_weight:
            raise ValueError("objective: dense needs a dense_weight above 0")
        if self.pointed_weight and not self.dense_weight:
            raise ValueError("pointed_weight needs a dense_weight above 0: both use the per-pixel labels")
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
    try:
        return TrainConfig.model_validate_json(_as_json(tree))
    except ValidationError as error:
        faults = [f"  {'.'.join(map(str, fault['loc'])) or 'settings'}: {fault['msg']}" for fault in error.errors()]
        raise ConfigError(f"{path} cannot be used:\n" + "\n".join(faults)) from None


def _share_root(tree: dict[str, Any]) -> None:
    """Validation data lie where training data do, unless it is said otherwise."""
    data, validation = tree.get("data"), tree.get("validation")
    looked_at = validation.get("data") if isinstance(validation, dict) else None
    if isinstance(data, dict) and "root" in data and isinstance(looked_at, dict) and "parts" in looked_at:
        looked_at.setdefault("root", data["root"])


def _as_json(tree: dict[str, Any]) -> str:
    """JSON has no tuples, so that strict checking takes a YAML list for one. What JSON lacks (dates) becomes text."""
    return json.dumps(tree, default=str)
