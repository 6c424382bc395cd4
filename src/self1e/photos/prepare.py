"""Other data sets as folders of photographs in the form of `index`: Clothing Co-Parsing, and pieces of COCO and ADE20K.

    prepare_things(PHOTOS, OUT)      a folder in this form already, with the things of `told_apart.txt`; needs scipy
    prepare_clothing(CCP, OUT)       https://github.com/bearpaw/clothing-co-parsing; needs scipy
    prepare_coco(COCO, OUT)          train2017, val2017 and annotations/{instances,panoptic}_*, or any part of these
    prepare_ade20k(ADE, OUT, names)  images/training and annotations/training in SceneParsing's form

Pictures are shrunk to a short side of `SIDE` pixels. A folder that is there already is not touched.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from self1e.data.json_records import read_json
from self1e.data.masks import IGNORE, decode_segmentation
from self1e.data.records import DataError
from self1e.photos.index import corrections, noun_numbers, photo_sets
from self1e.photos.nouns import NOTHING, UNKNOWN, nouns
from self1e.processing.images import load_image

SIDE = 320
QUALITY = 88
MOST_THINGS = 254

SPECK = 0.0004
"""Connected parts of a mask that are a smaller share of the picture are no things."""

SEVERAL_PARTS = ("wheel", "light", "mirror")
"""Parts of a car that are told apart where exactly two are seen."""

CLOTHING_TEST_EVERY = 5
"""Of so many photographs the last is for testing, as in `examples/clothing_co_parsing.py`."""


@dataclass
class Labelled:
    """A photograph with its maps, before it is written.

    Attributes:
        name: Of its files.
        set: Name of its set.
        split: "train" or "test".
        picture: RGB.
        labels: uint8[H, W]: number of a noun, 0, or 255 where it is not known.
        things: uint8[H, W]: number of a single thing, or 0; None where none are told apart.
        annotated: Nouns that are marked wherever they are.
        told_apart: Nouns of which every thing has its number.
    """

    name: str
    set: str
    split: str
    picture: Image.Image
    labels: np.ndarray
    annotated: Sequence[str]
    things: np.ndarray | None = None
    told_apart: Sequence[str] = field(default_factory=tuple)


def prepare_things(source: Path, out: Path) -> int:
    """Writes a list of the photographs of another folder in which more things are told apart, and returns how many.

    Photographs and masks stay where they are: `out` has links to them.

    Raises:
        DataError: When there is something in the folder.
    """
    _new_folder(out)
    for name in ("photos", "masks"):
        (out / name).symlink_to((source / name).resolve())
    (out / "classes.txt").write_text((source / "classes.txt").read_text("utf-8"), "utf-8")
    names = (source / "classes.txt").read_text("utf-8").splitlines()
    lines = []
    for text in (source / "pictures.jsonl").read_text("utf-8").splitlines():
        line = json.loads(text)
        _tell_apart(line, source, out, names)
        lines.append(json.dumps(line))
    (out / "pictures.jsonl").write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return len(lines)


def prepare_clothing(source: Path, out: Path) -> int:
    """Writes Clothing Co-Parsing's photographs with pixel labels, and returns how many there are."""
    return write_folder(_clothing(source), out)


def prepare_coco(source: Path, out: Path) -> int:
    """Writes what is there of COCO, and returns how many pictures: those of `held_out_coco.txt` and of val2017 to test.

    Pictures with panoptic labels take these, whose things and stuff fill the picture; others have the 80 things.
    """
    return write_folder(_coco(source), out)


def prepare_ade20k(source: Path, out: Path, names: Path) -> int:
    """Writes the training part of ADE20K's 150 classes, and returns how many pictures.

    Args:
        source: Folder with `images/training` and `annotations/training`.
        out: Folder to write.
        names: `objectInfo150.txt`.
    """
    return write_folder(_ade20k(source, names), out)


def write_folder(photographs: Iterator[Labelled], out: Path) -> int:
    """Writes photographs in the form that `index` reads.

    Raises:
        DataError: When there is something in the folder.
    """
    _new_folder(out)
    for name in ("photos", "masks", "instances"):
        (out / name).mkdir(parents=True, exist_ok=True)
    (out / "classes.txt").write_text("\n".join(["none", *(noun.name for noun in nouns())]) + "\n", "utf-8")
    lines = [json.dumps(_written(each, out)) for each in photographs]
    (out / "pictures.jsonl").write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return len(lines)


@cache
def told_apart() -> dict[str, list[str]]:
    """Photograph ("set/name") -> nouns of which every connected part is one thing."""
    lines = files(__package__).joinpath("told_apart.txt").read_text("utf-8").splitlines()
    rows = (line.split("\t") for line in lines if not line.startswith("#"))
    return {photo: names.split(", ") for photo, names in rows}


def held_out_coco() -> frozenset[str]:
    """Names of COCO pictures with panoptic labels that are kept for testing."""
    return frozenset(files(__package__).joinpath("held_out_coco.txt").read_text("utf-8").split())


def _new_folder(out: Path) -> None:
    if out.exists() and any(out.iterdir()):
        raise DataError(f"{out} is not empty: give another folder, or remove it")
    out.mkdir(parents=True, exist_ok=True)


def _tell_apart(line: dict[str, Any], source: Path, out: Path, names: Sequence[str]) -> None:
    """Adds the things of a photograph to its line, and writes their map."""
    name = f"{line['set']}/{Path(line['photo']).stem}"
    whole = told_apart().get(name, [])
    several = [part for part in SEVERAL_PARTS if part in line["present"]] if line["set"] == "carparts" else []
    if "instances" in line:
        (out / line["instances"]).parent.mkdir(parents=True, exist_ok=True)
        (out / line["instances"]).symlink_to((source / line["instances"]).resolve())
        return
    if not whole and not several:
        return
    labels = np.array(Image.open(source / line["mask"]))
    corrected = corrections().get(line["set"], {}).get(Path(line["photo"]).stem)
    things = np.zeros(labels.shape, np.uint8)
    found = []
    for noun in [*whole, *several]:
        marked = line["present"] if noun == corrected else photo_sets()[line["set"]].wholes.get(noun, [noun])
        parts = connected(np.isin(labels, [names.index(each) for each in marked if each in names]))
        if (noun in several and len(parts) != 2) or int(things.max()) + len(parts) > MOST_THINGS:
            continue
        for part in parts:
            things[part] = things.max() + 1
        found.append(noun)
    if found:
        line["instances"] = f"instances/{name}.png"
        line["told_apart"] = found
        (out / line["instances"]).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(things).save(out / line["instances"], optimize=True)


def connected(mask: np.ndarray) -> list[np.ndarray]:
    """bool[H, W] of each connected part of a mask that is no speck."""
    from scipy.ndimage import label

    numbers, count = label(mask, structure=np.ones((3, 3)))
    areas = np.bincount(numbers.ravel(), minlength=count + 1)
    return [numbers == number for number in range(1, count + 1) if areas[number] >= SPECK * mask.size]


def _written(each: Labelled, out: Path) -> dict[str, Any]:
    """Saves the files of a photograph; what its line says."""
    width, height = each.picture.size
    scale = min(1.0, SIDE / min(width, height))
    size = (round(width * scale), round(height * scale))
    photo, mask = f"photos/{each.name}.webp", f"masks/{each.name}.png"
    each.picture.resize(size, Image.Resampling.LANCZOS).save(out / photo, quality=QUALITY, method=6)
    labels = _resized(each.labels, size)
    Image.fromarray(labels).save(out / mask, optimize=True)
    present = _nouns_in(labels)
    lost = _nouns_in(each.labels) - present  # too small for this size, but there: they must not be called absent
    line: dict[str, Any] = {"photo": photo, "mask": mask, "set": each.set, "split": each.split}
    line |= {"annotated": sorted(set(each.annotated) - lost), "present": sorted(present)}
    if each.things is not None:
        line["instances"] = f"instances/{each.name}.png"
        Image.fromarray(_resized(each.things, size)).save(out / line["instances"], optimize=True)
        line["told_apart"] = sorted(each.told_apart)
    return line


def _nouns_in(labels: np.ndarray) -> set[str]:
    return {nouns().of(int(number)).name for number in np.unique(labels) if number not in (NOTHING, IGNORE)}


def _resized(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(values).resize(size, Image.Resampling.NEAREST))


def _clothing(source: Path) -> Iterator[Labelled]:
    from scipy.io import loadmat

    names = [str(name[0]) for name in loadmat(source / "label_list.mat")["label_list"][0]]
    renamed = _aliases()["clothing"]
    numbers = _numbers(enumerate(names), renamed)
    annotated = {renamed.get(name, name) for name in names[1:]} & {noun.name for noun in nouns()}
    for place, file in enumerate(sorted((source / "annotations" / "pixel-level").glob("*.mat")), start=1):
        yield Labelled(
            name=f"ccp-{file.stem}",
            set="clothing",
            split="train" if place % CLOTHING_TEST_EVERY else "test",
            picture=load_image(source / "photos" / f"{file.stem}.jpg"),
            labels=numbers[loadmat(file)["groundtruth"].astype(int)],
            annotated=sorted(annotated),
        )


def _ade20k(source: Path, names: Path) -> Iterator[Labelled]:
    rows = [line.split("\t") for line in names.read_text("utf-8").splitlines()[1:]]
    renamed = _aliases()["ade20k"]
    known = {int(row[0]): row[-1].split(",")[0].strip() for row in rows}
    numbers = _numbers(known.items(), renamed)
    numbers[0] = IGNORE  # "other": whatever the 150 classes leave
    annotated = sorted({renamed.get(name, name) for name in known.values()} & {noun.name for noun in nouns()})
    for file in sorted((source / "annotations" / "training").glob("*.png")):
        yield Labelled(
            name=file.stem,
            set="ade20k",
            split="train",
            picture=load_image(source / "images" / "training" / f"{file.stem}.jpg"),
            labels=numbers[np.array(Image.open(file))],
            annotated=annotated,
        )


def _coco(source: Path) -> Iterator[Labelled]:
    annotations = source / "annotations"
    for part in ("train2017", "val2017"):
        panoptic = read_json(annotations / f"panoptic_{part}.json", "{path}: {error}")
        instances = read_json(annotations / f"instances_{part}.json", "{path}: {error}")
        filled = {entry["file_name"].removesuffix(".png"): entry for entry in panoptic["annotations"]}
        outlined: dict[int, list[dict[str, Any]]] = {}
        for entry in instances["annotations"]:
            outlined.setdefault(entry["image_id"], []).append(entry)
        for name, entry in sorted(filled.items()):
            picture = load_image(source / part / f"{name}.jpg")
            yield _filled(
                name, _coco_split(part, name), picture, entry, annotations / f"panoptic_{part}", panoptic["categories"]
            )
        for image in sorted(instances["images"], key=lambda image: image["file_name"]):
            name = image["file_name"].removesuffix(".jpg")
            if name not in filled:
                picture = load_image(source / part / image["file_name"])
                entries = outlined.get(image["id"], [])
                yield _outlined(name, _coco_split(part, name), picture, entries, instances["categories"])


def _coco_split(part: str, name: str) -> str:
    return "test" if part == "val2017" or name in held_out_coco() else "train"


def _filled(
    name: str,
    split: str,
    picture: Image.Image,
    entry: Mapping[str, Any],
    folder: Path,
    categories: Sequence[Mapping[str, Any]],
) -> Labelled:
    """A picture with panoptic labels."""
    renamed = _aliases()["coco"]
    named = {each["id"]: renamed.get(each["name"], each["name"]) for each in categories}
    kept = {number: noun for number, noun in named.items() if noun}
    things_of = {each["id"] for each in categories if each["isthing"]}
    colours = np.array(Image.open(folder / entry["file_name"]).convert("RGB")).astype(int)
    segments = colours @ (1, 256, 65536)
    labels, things = (np.zeros(segments.shape, np.uint8) for _ in range(2))
    labels[segments == 0] = IGNORE
    crowded: set[str] = set()
    count = 0
    for each in entry["segments_info"]:
        inside, category = segments == each["id"], each["category_id"]
        labels[inside] = nouns()[kept[category]].number if category in kept else IGNORE
        if category not in kept or category not in things_of:
            continue
        count += 1
        if each["iscrowd"] or count > MOST_THINGS:
            crowded.add(kept[category])
        else:
            things[inside] = count
    told_apart = {kept[category] for category in things_of & set(kept)} - crowded
    stuff = {noun for category, noun in kept.items() if category not in things_of}
    return Labelled(
        name, "coco", split, picture, labels, sorted(set(kept.values())), things, sorted(told_apart - stuff)
    )


def _outlined(
    name: str,
    split: str,
    picture: Image.Image,
    entries: Sequence[Mapping[str, Any]],
    categories: Sequence[Mapping[str, Any]],
) -> Labelled:
    """A picture with outlines of the 80 things. Of two that overlap, the smaller is taken to be in front."""
    renamed = _aliases()["coco"]
    kept = {each["id"]: renamed.get(each["name"], each["name"]) for each in categories}
    labels, things = (np.zeros((picture.height, picture.width), np.uint8) for _ in range(2))
    crowded: set[str] = set()
    by_size = sorted(entries, key=lambda each: (-each["iscrowd"], -each["area"]))
    for count, each in enumerate(by_size, start=1):
        inside = decode_segmentation(each["segmentation"], picture.height, picture.width) == 1
        noun = kept[each["category_id"]]
        things[inside] = 0
        if each["iscrowd"] or count > MOST_THINGS:
            crowded.add(noun)
            labels[inside] = IGNORE
        else:
            labels[inside] = nouns()[noun].number
            things[inside] = count
    hidden = {kept[each["category_id"]] for each in entries} - _nouns_in(labels)  # in crowds alone, or behind others
    # Where in the outline of a crowd its things are, nobody knows: a section may have some, and none that is marked.
    annotated = set(kept.values()) - hidden - crowded
    return Labelled(name, "cocothings", split, picture, labels, sorted(annotated), things, sorted(annotated))


def _numbers(named: Iterable[tuple[int, str]], renamed: Mapping[str, str]) -> np.ndarray:
    """uint8[256]: value in a set's index map -> number of a noun; 255 for what is not in the table."""
    nouns_of = ((value, renamed.get(name, name)) for value, name in named)
    numbers = noun_numbers(tuple((value, noun) for value, noun in nouns_of if value and noun in nouns()))
    return np.where(numbers == UNKNOWN, IGNORE, numbers).astype(np.uint8)


@cache
def _aliases() -> dict[str, dict[str, str]]:
    """What sets call what the table calls otherwise; "" for what is not told from other things."""
    return tomllib.loads(files(__package__).joinpath("aliases.toml").read_text("utf-8"))
