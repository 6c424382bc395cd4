"""ADE20K-150, PASCAL Context-59 and VOC-20 from files in their true formats."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from self1e.data.open_vocabulary import Ade20k150Source, PascalContext59Source, PascalVoc20Source
from self1e.data.records import DataError, to_example

CONTEXT, VOC = Path("pascal_context/VOCdevkit/VOC2010"), Path("pascal_voc/VOCdevkit/VOC2012")


def write(devkit: Path, maps: str, split: str, pictures: dict[str, list[int]], listed: list[str]) -> None:
    """Pictures of 3 columns with palette PNGs whose rows hold these values, and the list of a split."""
    for folder in (devkit / "JPEGImages", devkit / maps, (devkit / "ImageSets" / split).parent):
        folder.mkdir(parents=True)
    for stem, bands in pictures.items():
        Image.new("RGB", (3, len(bands))).save(devkit / "JPEGImages" / f"{stem}.jpg")
        index_map = Image.fromarray(np.repeat(np.array(bands, np.uint8)[:, None], 3, axis=1))
        index_map.putpalette([(37 * i + 5) % 256 for i in range(768)])
        assert index_map.mode == "P"
        index_map.save(devkit / maps / f"{stem}.png")
    (devkit / "ImageSets" / split).write_text("\n".join(listed) + "\n\n")


@pytest.fixture
def context(tmp_path: Path) -> Path:
    pictures = {"2008_000009": [0, 59, 1, 20], "2008_000002": [0, 0], "2010_000001": [5]}
    listed = ["2008_000009", "2008_000002"]
    write(tmp_path / CONTEXT, "SegmentationClassContext", "SegmentationContext/val.txt", pictures, listed)
    return tmp_path


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    pictures = {"2007_000033": [0, 255, 20, 15], "2007_000042": [1, 1]}
    write(tmp_path / VOC, "SegmentationClass", "Segmentation/val.txt", pictures, ["2007_000033"])
    return tmp_path


def columns(mask: np.ndarray) -> list[int]:
    """The value of each row, all of whose pixels must be equal."""
    assert (mask == mask[:, :1]).all()
    return mask[:, 0].tolist()


def test_context(context: Path) -> None:
    source = pickle.loads(pickle.dumps(PascalContext59Source(context)))
    assert source.name == "pascal-context-59" and len(source) == 2
    assert source[0].id == "2008_000002.jpg" and source[0].queries == ()
    record = source[1]
    assert record.image == source.image_path(1) == context / CONTEXT / "JPEGImages/2008_000009.jpg"
    masks = {query.text: columns(query.mask()) for query in record.queries}
    assert masks == {"aeroplane": [255, 0, 1, 0], "cow": [255, 0, 0, 1], "wood": [255, 1, 0, 0]}
    example = to_example(record, np.random.default_rng(0), training=False)
    assert len(example.conversations) == 3
    assert {talk.turns[0].answer for talk in example.conversations} == {"[SEG]."}


def test_voc(voc: Path) -> None:
    source = PascalVoc20Source(voc)
    assert source.name == "pascal-voc-20" and len(source) == 1
    masks = {query.text: columns(query.mask()) for query in source[0].queries}
    assert masks == {"person": [255, 255, 0, 1], "tv monitor": [255, 255, 1, 0]}


def test_the_background_can_be_outside(voc: Path, context: Path) -> None:
    masks = {query.text: columns(query.mask()) for query in PascalVoc20Source(voc, ignore_background=False)[0].queries}
    assert masks == {"person": [0, 255, 0, 1], "tv monitor": [0, 255, 1, 0]}
    source = PascalContext59Source(context, ignore_background=False)
    assert source[0].queries == ()
    assert columns(source[1].queries[2].mask()) == [0, 1, 0, 0]


def test_ade20k_150(tmp_path: Path) -> None:
    for folder, suffix, values in (("images", "jpg", (0, 0, 0)), ("annotations", "png", 150)):
        (tmp_path / "ade20k" / folder / "validation").mkdir(parents=True)
        picture = Image.new("RGB" if suffix == "jpg" else "L", (4, 2), values)
        picture.save(tmp_path / "ade20k" / folder / "validation" / f"ADE_val_00000001.{suffix}")
    source = Ade20k150Source(tmp_path)
    assert source.name == "ade20k-150" and len(source.classes) == 150
    assert [(query.text, int(query.mask().sum())) for query in source[0].queries] == [("flag", 8)]


def test_class_lists(context: Path, voc: Path) -> None:
    classes = PascalContext59Source(context).classes
    assert len(set(classes)) == len(classes) == 59 and list(classes) == sorted(classes)
    assert (classes[0], classes[22], classes[36], classes[58]) == ("aeroplane", "dog", "person", "wood")
    assert classes[39] == "potted plant"
    twenty = PascalVoc20Source(voc).classes
    assert len(set(twenty)) == len(twenty) == 20 and list(twenty) == sorted(twenty)
    assert (twenty[0], twenty[10], twenty[14], twenty[19]) == ("aeroplane", "dining table", "person", "tv monitor")


@pytest.mark.parametrize(
    ("source", "devkit", "tree"),
    [
        (PascalContext59Source, CONTEXT, "SegmentationClassContext.*pascal-context"),
        (PascalVoc20Source, VOC, "SegmentationClass/.*host.robots"),
    ],
)
def test_missing_trees_are_explained(tmp_path: Path, source: Callable, devkit: Path, tree: str) -> None:
    with pytest.raises(DataError, match=rf"(?s)no folder .*JPEGImages.*Expected.*{tree}"):
        source(tmp_path)
    (tmp_path / devkit / "JPEGImages").mkdir(parents=True)
    (tmp_path / devkit / ("SegmentationClassContext" if devkit == CONTEXT else "SegmentationClass")).mkdir()
    with pytest.raises(DataError, match=r"no file .*val\.txt"):
        source(tmp_path)


def test_a_listed_picture_without_a_map(voc: Path) -> None:
    listed = voc / VOC / "ImageSets/Segmentation/val.txt"
    listed.write_text("2007_000033\n2007_000999\n")
    source = PascalVoc20Source(voc)
    with pytest.raises(DataError, match=r"pascal-voc-20, 2007_000999\.jpg: there is no index map"):
        source[1]


def test_maps_of_more_classes_are_refused(context: Path) -> None:
    """PASCAL Context also comes with 459 classes, whose maps would fit the same tree."""
    Image.new("L", (3, 4), 200).save(context / CONTEXT / "SegmentationClassContext/2008_000009.png")
    with pytest.raises(DataError, match=r"value 200, .*up to 59"):
        PascalContext59Source(context)[1]


def test_real_ade20k(real_data: Path) -> None:
    source = Ade20k150Source(real_data / "dataset")
    assert [source[i].id for i in range(len(source))] == [f"ADE_val_0000000{i}.jpg" for i in (1, 2, 3)]
    example = to_example(source[0], np.random.default_rng(0), at_most=150, training=False)
    assert len(example.conversations) == 7
