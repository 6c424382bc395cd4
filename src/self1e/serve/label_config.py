"""What a labelling configuration of Label Studio, a task and what was just drawn ask for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from self1e.processing.classes import same_class
from self1e.serve.typed import prompts_of

PROMPT_KEYS = ("prompt", "text")
"""Fields of a task's data that say what to find in it; the first that is there."""

LARGEST = 200_000
"""Letters of a configuration."""

MOST_TEXTS, LONGEST_TEXT = 64, 2000
"""Of a task, or of a region, and letters of each."""

# Chinese, Japanese and Korean words have no spaces between them.
_UNSPACED = re.compile(r"[\u2e80-\uffef]")

Box = tuple[float, float, float, float]


class ConfigError(ValueError):
    """A configuration, or a task of it, with which nothing can be done. Says nothing of what is in pictures."""


@dataclass(frozen=True)
class Control:
    """A tag whose regions are masks.

    Attributes:
        name: Of the tag.
        to_name: Of the picture's tag.
        type: "brushlabels" or "polygonlabels": what its regions are.
        key: Field of a task's data with the picture.
        labels: Name -> prompts for it: its `predicted_values`, or else its name.
        threshold: Least score of its masks, its `model_score_threshold`.
    """

    name: str
    to_name: str
    type: str
    key: str
    labels: Mapping[str, tuple[str, ...]]
    threshold: float = 0.0


@dataclass(frozen=True)
class Ask:
    """One prompt, and what its mask is to be.

    Attributes:
        prompt: What to find.
        control: Whose regions are made.
        label: What they are called.
        place: (x0, y0, x1, y1) in hundredths of the picture's sides: of what is found, the parts that are there. None:
            all of it.
    """

    prompt: str
    control: Control
    label: str
    place: Box | None = None


Word = tuple[str, Control, str]
"""What names a label, with spaces around it; and that label."""


def read_config(text: str) -> list[Control]:
    """The tags of a configuration whose regions are masks.

    Raises:
        ConfigError: If it is no XML, not harmless, or has none.
    """
    if len(text) > LARGEST:
        raise ConfigError(f"the labelling configuration has more than {LARGEST:,} letters")
    try:
        root = fromstring(text, forbid_dtd=True)
    except DefusedXmlException:
        raise ConfigError("the labelling configuration has a DTD or entities, which are not read") from None
    except (ParseError, ValueError) as error:
        raise ConfigError(f"the labelling configuration is no XML: {error}") from None
    pictures = {tag.get("name", ""): tag.get("value", "") for tag in root.iter("Image")}
    controls = [_control(tag, pictures) for tag in root.iter() if tag.tag in ("BrushLabels", "PolygonLabels")]
    if not controls:
        raise ConfigError("the labelling configuration has no <BrushLabels> or <PolygonLabels>: add one")
    return controls


def _control(tag: Element, pictures: Mapping[str, str]) -> Control:
    name, to_name = tag.get("name", ""), tag.get("toName", "")
    value = pictures.get(to_name, "")
    if not re.fullmatch(r"\$\w[\w.-]*", value):
        raise ConfigError(f'<{tag.tag} name="{name}"> needs toName of an <Image> with a value like "$image"')
    labels = {
        label: tuple(part.strip() for part in each.get("predicted_values", "").split(",") if part.strip()) or (label,)
        for each in tag.iter("Label")
        if (label := each.get("value", "").strip())
    }
    if not labels:
        raise ConfigError(f'<{tag.tag} name="{name}"> needs a <Label value="..."/>')
    threshold = tag.get("model_score_threshold", "0")
    if not re.fullmatch(r"0(\.\d+)?|1(\.0+)?", threshold):
        raise ConfigError(f"model_score_threshold is a number in [0, 1], not {threshold!r}")
    return Control(name, to_name, tag.tag.lower(), value[1:], labels, float(threshold))


def asks_of(controls: Sequence[Control], data: Mapping[str, Any], drawn: Sequence[Any] = ()) -> list[Ask]:
    """What to find in a task's pictures.

    Of what was just drawn the typed texts and the labels, there; else what the task's data say; else all labels, each
    for the first tag that has it.

    Args:
        controls: As `read_config` gives them.
        data: The task's.
        drawn: Regions of Label Studio, as it sends them while somebody annotates.

    Raises:
        ConfigError: If a prompt fits none of several labels, or a label is unknown.
    """
    words = _words_of(controls)
    if asked := [ask for region in drawn for ask in _of_region(controls, words, region)]:
        return asked
    for key in PROMPT_KEYS:
        if prompts := _prompts(data.get(key), f"the task's {key!r}"):
            return [_of_prompt(words, prompt) for prompt in prompts]
    first: dict[str, Control] = {}
    for control in controls:
        for label in control.labels:
            first.setdefault(label, control)
    return [Ask(prompt, control, label) for label, control in first.items() for prompt in control.labels[label]]


def _of_region(controls: Sequence[Control], words: Sequence[Word], region: Any) -> Iterator[Ask]:
    value = region.get("value") if isinstance(region, dict) else None
    if not isinstance(value, dict):
        return
    yield from (_of_prompt(words, prompt) for prompt in _prompts(value.get("text"), "what was typed"))
    kind = str(region.get("type"))
    labels = value.get(kind) if kind.endswith("labels") else None
    for label in labels if isinstance(labels, list) else []:
        control = next((control for control in controls if label in control.labels), None)
        if control is None:
            raise ConfigError("what was drawn has a label that no <BrushLabels> or <PolygonLabels> has")
        yield from (Ask(prompt, control, label, _place(value)) for prompt in control.labels[label])


def _place(value: Mapping[str, Any]) -> Box | None:
    """Of a point or a rectangle that was drawn."""
    try:
        x, y = float(value["x"]), float(value["y"])
        if "height" not in value:  # a point's width is that of its dot
            return x, y, x, y
        return x, y, x + float(value["width"]), y + float(value["height"])
    except (KeyError, TypeError, ValueError):
        return None


def _prompts(said: Any, what: str) -> list[str]:
    texts = [said] if isinstance(said, str) else said or []
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ConfigError(f"{what} is neither a text nor a list of texts")
    if len(texts) > MOST_TEXTS or any(len(text) > LONGEST_TEXT for text in texts):
        raise ConfigError(f"{what} has more than {MOST_TEXTS} texts, or one of more than {LONGEST_TEXT:,} letters")
    return [prompt for text in texts for prompt in prompts_of(text)]


def _words_of(controls: Sequence[Control]) -> list[Word]:
    return [
        (_spaced(word), control, label)
        for control in controls
        for label, others in control.labels.items()
        for word in (label, *others)
    ]


def _of_prompt(known: Sequence[Word], prompt: str) -> Ask:
    """The label of a prompt: the one that it is, or the longest that it names, or the only one."""
    text = _spaced(prompt)
    named = [each for each in known if _names(text, each[0])]
    if named:
        _, control, label = max(named, key=lambda each: len(each[0]))
    elif len({label for _, _, label in known}) == 1:
        _, control, label = known[0]
    else:
        raise ConfigError("a prompt names none of the labels: write the label's name in it, or have one label only")
    return Ask(prompt, control, label)


def _spaced(text: str) -> str:
    """Between single spaces, so that " dog " is in what names a dog."""
    return " " + re.sub(r"[^\w+#]+", " ", same_class(text)).strip() + " "


def _names(text: str, word: str) -> bool:
    if _UNSPACED.search(word):
        return word.strip() in text
    return any(f"{word[:-1]}{plural} " in text for plural in ("", "s", "es"))
