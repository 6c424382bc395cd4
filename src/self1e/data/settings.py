"""What the settings of a run say about its data, and how that becomes examples.

    data:                                    a mixture of the field's data sets, or one's own:
      root: DATASETS
      parts: {refer: {rate: 1, sets: [refcoco]}, mine: {rate: 1, own: [{jsonl: mine.jsonl}]}}

    data:                                    one data set that a plugin brings (`self1e.plugins`), by its name:
      NAME: {seed: 1, ...}

Either is checked by a pydantic model: unknown keys and ill-typed values stop before anything loads.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    create_model,
    field_validator,
    model_validator,
)

from self1e.conversation import Example
from self1e.data.augment import augmented
from self1e.data.broken import Examples, Tolerant
from self1e.data.forms import read_entry
from self1e.data.mixture import Mixture, MixturePart
from self1e.data.own_entries import open_own
from self1e.data.records import DataError, Source, training_turn
from self1e.data.registry import check_name, open_set, without_held_out
from self1e.files import expand_name, expand_user
from self1e.plugins import DATASETS, PluginError, installed, load

BROKEN_SHARE = 0.01
"""Broken examples that stop a run, of those that a process has seen, unless settings say otherwise."""

TEXTS_OF = 2000
"""Records of a source, or examples of a data set, that a tokenizer is learnt from."""


PathText = Annotated[str, AfterValidator(expand_name)]
"""A path, or a name where one may stand instead. `~` at its beginning is the user's home folder."""


class Settings(BaseModel):
    """Settings that do not change, take no unknown key, and convert no types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @field_validator("*")
    @classmethod
    def _expand(cls, value: object) -> object:
        """`~` in paths of plugins, too, also where there are several."""
        return _at_home(value)


def _at_home(value: Any) -> Any:
    if isinstance(value, Path):
        return expand_user(value)
    if isinstance(value, dict):
        return {key: _at_home(each) for key, each in value.items()}
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(map(_at_home, value))
    return value


SettingsT = TypeVar("SettingsT", bound=Settings)


class DataSettings(Settings):
    """A data set as settings name it. A plugin's entry point names its own subclass; docs/extending.md has one.

    Attributes:
        name: As the entry point calls it.
    """

    name: ClassVar[str]

    @abstractmethod
    def examples(self, length: int, *, training: bool) -> Examples:
        """The examples of a run.

        Args:
            length: How many; a run sees each of them once.
            training: Pictures to learn from, in words that vary. Otherwise those to look at, in the words of the
                evaluation protocol.

        Raises:
            DataError: When the data are missing or unreadable.
        """

    def tolerant(self, length: int, *, training: bool) -> Examples:
        """`examples` for a run, which goes on without broken ones."""
        return Tolerant(self.examples(length, training=training), self.name)

    @property
    def tolerated(self) -> float:
        """Share of broken examples, of those that a process has seen since it started, above which the run stops."""
        return BROKEN_SHARE

    @property
    def always_asks(self) -> bool:
        """Whether there is a conversation about every picture. Without, only `pictures_only` runs can use the data."""
        return True

    def texts(self) -> Iterator[str]:
        """Texts like those that a model will read and write, to learn a tokenizer from; the same every time.

        Raises:
            DataError: When the data are missing or unreadable.
        """
        examples = self.tolerant(TEXTS_OF, training=True)
        for index in range(len(examples)):
            for talk in examples[index].conversations:
                for turn in talk.turns:
                    yield turn.question
                    yield turn.answer


class Augmentation(Settings):
    """How pictures change each time they are seen, see `self1e.data.augment`; nothing does unless it is asked for."""

    flip: float = Field(0.0, ge=0, le=1, description="share of pictures that are mirrored, where words can follow")
    crop: float = Field(0.0, ge=0, le=1, description="share of pictures that are cut, where words stay true")
    smallest: float = Field(0.5, gt=0, le=1, description="shortest sides of a cut, as a share of the picture's")
    colour: float = Field(0.0, ge=0, le=1, description="change of brightness, contrast and saturation; 1: by half")

    def of(self, example: Example, rng: np.random.Generator) -> Example:
        """The example, changed."""
        return augmented(example, rng, **self.model_dump())


class OwnData(Settings):
    """Data of one's own, in one of the forms of `self1e.data.forms`; docs/forms.md has them all."""

    jsonl: PathText | None = Field(None, description="a JSONL file, one object a line")
    coco: PathText | None = Field(None, description="a COCO instances JSON; its category names become prompts")
    masks: PathText | None = Field(None, description="folder of index PNGs, one for each picture in `images`")
    labelme: PathText | None = Field(None, description="folder of LabelMe's files")
    yolo: PathText | None = Field(None, description="data.yaml of a YOLO segmentation data set")
    cvat: PathText | None = Field(None, description='XML of "CVAT for images 1.1"')
    results: PathText | None = Field(None, description="what `self1e segment --format json` wrote: pseudo-labels")
    images: PathText | None = Field(None, description="folder of the pictures")
    classes: PathText | None = Field(None, description="file with a class name a line, for `masks`; line i is value i")
    split: str | None = Field(None, description="key of `yolo` that names the pictures; train if it is not given")
    absent_classes: int = Field(
        0, ge=0, description="names asked for that are not in a picture, where there are classes"
    )
    exif: Literal["displayed", "stored"] = Field(
        "displayed", description="whether masks are of pictures with their EXIF orientation applied, or without"
    )
    min_score: float = Field(
        0.0, ge=0, le=1, description="least score of things that have one; others are not asked for"
    )

    @model_validator(mode="after")
    def _one_form(self) -> OwnData:
        read_entry(self.model_dump(exclude_none=True, exclude_defaults=True))
        return self


class PartSettings(Settings):
    """Data sets of a mixture that share a sampling rate."""

    rate: float = Field(ge=0, description="how often an example comes from this part, relative to the others")
    sets: list[str] = Field([], description="names that `self1e.data.registry.open_set` knows")
    own: list[OwnData] = []

    @field_validator("sets")
    @classmethod
    def _known_sets(cls, names: list[str]) -> list[str]:
        for name in names:
            check_name(name)
        return names

    def open(self, root: Path | None) -> list[Source]:
        """Its sources; none when its rate is 0.

        Raises:
            DataError: When one is missing or unreadable.
        """
        if not self.rate:
            return []
        own = (open_own(entry.model_dump(exclude_none=True, exclude_defaults=True)) for entry in self.own)
        return [*(open_set(name, root or Path()) for name in self.sets), *own]


class MixtureData(DataSettings):
    """The field's data sets, or one's own, mixed by sampling rates."""

    name: ClassVar[str] = "mixture"

    parts: dict[str, PartSettings] = Field(min_length=1)
    root: PathText | None = Field(None, description="folder of the named data sets, in LISA's tree")
    seed: int = Field(1, description="two runs with the same seed see the same examples in the same order")
    at_most: int = Field(3, gt=0, description="queries, and conversations in words, taken of a picture")
    hold_out: bool = Field(True, description="leave out pictures of RefCOCO-family validation and test splits")
    broken_share: float = Field(
        BROKEN_SHARE,
        ge=0,
        le=1,
        description="broken records that stop the run, of those that a process has seen since it started",
    )
    augment: Augmentation = Field(Augmentation(), description="how pictures change each time; off, as in the recipe")

    @model_validator(mode="after")
    def _has_root(self) -> MixtureData:
        if self.root is None and any(part.sets for part in self.parts.values()):
            raise ValueError("`root` is needed for the named data sets: the folder that holds them")
        return self

    @property
    def tolerated(self) -> float:
        return self.broken_share

    def examples(self, length: int, *, training: bool) -> Mixture:
        """See `DataSettings`. Nothing is held out of, and no picture changed in, what is looked at."""
        return Mixture(
            {name: MixturePart(part.rate, tuple(self._open(part, training))) for name, part in self.parts.items()},
            length,
            self.seed,
            self.at_most,
            training=training,
            change=self.augment.of if training and self.augment != Augmentation() else None,
        )

    def texts(self) -> Iterator[str]:
        """What is asked and answered of records spread over each source, in templates that vary."""
        rng = np.random.default_rng([self.seed, 4])
        for part in self.parts.values():
            for source in self._open(part, training=True):
                for index in np.linspace(0, len(source) - 1, min(len(source), TEXTS_OF)).astype(int):
                    with suppress(DataError):  # a broken record, of which the run will tell
                        record = source[int(index)]
                        turns = [training_turn(query, rng) for query in record.queries]
                        for turn in (*turns, *(turn for talk in record.talks for turn in talk.turns)):
                            yield turn.question
                            yield turn.answer

    def _open(self, part: PartSettings, training: bool) -> list[Source]:
        root = Path(self.root) if self.root is not None else None
        sources = part.open(root)
        return without_held_out(sources, root) if training and self.hold_out and root is not None else sources


def read_named(group: str, base: type[SettingsT], tree: Mapping[str, object]) -> dict[str, SettingsT]:
    """Settings of plugins, each below the plugin's name, checked by the model that its entry point names.

    Args:
        group: Of the entry points.
        base: What such a model has to be a subclass of.
        tree: As read from YAML or JSON.

    Raises:
        PluginError: When a plugin is not there or brings something else.
        ValidationError: When settings are unknown or ill-typed.
    """
    models = {}
    for name in tree:
        model = load(group, name)
        if not (isinstance(model, type) and issubclass(model, base)):
            raise PluginError(f"the entry point {name!r} of {group} should name a subclass of {base.__name__}: {model}")
        models[name] = (model, ...)
    whole = create_model("Plugins", __config__=Settings.model_config, **models)  # type: ignore[call-overload]
    checked = whole.model_validate_json(json.dumps(tree))
    return {name: getattr(checked, name) for name in tree}


def _read_data(tree: object) -> DataSettings:
    if isinstance(tree, DataSettings):
        return tree
    if not isinstance(tree, dict):
        raise ValueError(f"should be a mixture with `parts`, or the name of a data set with its settings, not {tree!r}")
    if not tree.keys().isdisjoint(("parts", "part", "root")):  # "part": a slip that should be called one
        return MixtureData.model_validate_json(json.dumps(tree))
    names = installed(DATASETS)
    if len(tree) == 1 and (next(iter(tree)) in names or isinstance(next(iter(tree.values())), dict)):
        (data,) = read_named(DATASETS, DataSettings, tree).values()  # type: ignore[type-abstract]
        return data
    raise ValueError(
        "is either a mixture, with `parts`, or one data set with its settings below its name, as in "
        f"`data: {{NAME: {{seed: 1}}}}`; installed are {', '.join(names) or 'none'}{_meant(tree)}"
    )


def _meant(tree: Mapping[str, object]) -> str:
    """Which data set has these settings, for those who left out its name."""
    for name in installed(DATASETS) if tree else ():
        with suppress(PluginError):
            model = load(DATASETS, name)
            if isinstance(model, type) and issubclass(model, DataSettings) and tree.keys() <= model.model_fields.keys():
                return f". {', '.join(tree)}: settings of {name}. Write `data: {{{name}: {{{next(iter(tree))}: ...}}}}`"
    return ""


def _written_data(data: DataSettings) -> dict[str, object]:
    tree = data.model_dump(mode="json")
    return tree if isinstance(data, MixtureData) else {data.name: tree}


Data = Annotated[DataSettings, PlainValidator(_read_data), PlainSerializer(_written_data)]
"""Of a run: `MixtureData`, or the settings of a plugin's data set."""
