"""Checking, describing and showing a training set: every fault is planted once, and found once."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont

from self1e.conversation import Turn
from self1e.data.check import CheckReport, SourceCheck, check, examine
from self1e.data.contact_sheet import COLOURS, IGNORED, THUMB, choose, contact_sheet, wrapped
from self1e.data.members import Member, list_records, members_of
from self1e.data.own import OwnSource
from self1e.data.own_entries import open_own
from self1e.data.own_masks import IndexMapSource
from self1e.data.records import DataError, Query, Record, Source, Talk
from self1e.data.refer import held_out_pictures
from self1e.data.registry import open_set
from self1e.data.stats import Spread, statistics
from self1e.processing.images import load_image
from self1e.segment.results import Segmentation

BOX = [5, 5, 25, 5, 25, 20, 5, 20]
SIZE = (40, 30)
HELD_OUT = frozenset({139})


def picture(path: Path, seed: int, size: tuple[int, int] = SIZE) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def own(tmp_path: Path) -> OwnSource:
    """A JSONL file with each fault once, and some lines without."""
    folder = tmp_path / "own"
    folder.mkdir()
    for seed, name in enumerate(("a.png", "far.png", "small.png", "text.png", "000000000139.jpg")):
        picture(folder / name, seed)
    shutil.copy(folder / "a.png", folder / "b.png")
    (folder / "broken.png").write_bytes((folder / "far.png").read_bytes()[:200])
    Image.new("L", (10, 10), 1).save(folder / "small-mask.png")
    lines = [
        {"image": "a.png", "prompt": "the box", "masks": [BOX]},
        {"image": "a.png", "prompt": "the unicorn", "masks": []},
        {"image": "a.png", "prompt": "What is it?", "answer": "It is noise."},
        {"image": "b.png", "prompt": "the box", "masks": [BOX]},
        {"image": "far.png", "prompt": "the far box", "masks": [[500, 500, 600, 500, 600, 600]]},
        {"image": "000000000139.jpg", "prompt": "the box", "masks": [BOX]},
        {"image": "missing.png", "prompt": "the box", "masks": [BOX]},
        {"image": "broken.png", "prompt": "the box", "masks": [BOX]},
        {"image": "small.png", "prompt": "the box", "masks": ["small-mask.png"]},
        {"image": "text.png", "prompt": " ", "masks": [BOX]},
        {"prompt": "the box", "masks": [BOX]},
    ]
    (folder / "own.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return OwnSource(folder / "own.jsonl")


@pytest.fixture
def maps(tmp_path: Path) -> IndexMapSource:
    """Index maps: two good ones, one without map, one of another size, one with a value that has no class."""
    images, masks = tmp_path / "images", tmp_path / "masks"
    for folder in (images, masks):
        folder.mkdir()
    for seed, name in enumerate(("good", "other", "lost", "size", "value")):
        picture(images / f"{name}.png", 10 + seed)
        values = np.zeros(SIZE[::-1], np.uint8)
        values[:10], values[20:] = 1, 99 if name == "value" else 2
        if name != "lost":
            Image.fromarray(values[:15] if name == "size" else values).save(masks / f"{name}.png")
    return IndexMapSource(images, masks, ["background", "dog", "cat"], absent_classes=1)


def member(source: Source, share: float = 1.0, filtered: bool = False) -> Member:
    return Member("part", source.name, share, source, filtered)


class Listed:
    """A source of given records."""

    def __init__(self, *records: Record | Exception) -> None:
        self.name = "listed"
        self.records = records

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Record:
        record = self.records[index]
        if isinstance(record, Exception):
            raise record
        return record

    def image_path(self, index: int) -> Path:
        record = self.records[index]
        if isinstance(record, Exception):
            raise record
        return record.image


def test_every_planted_fault_is_found_once(own: OwnSource, maps: IndexMapSource, tmp_path: Path) -> None:
    report = check([member(own, 0.5), member(maps, 0.5)], held_out=HELD_OUT, broken_share=0.5)
    mine, index_maps = report.sources
    assert {(fault.record, fault.sort) for fault in mine.faults} == {
        ("own/missing.png", "missing picture"),
        ("own/broken.png", "picture"),
        ("own/small.png", "mask"),
        (f"record {[own.image_path(i).name for i in range(len(own) - 1)].index('text.png')}", "record"),
        (f"record {len(own) - 1}", "record"),
    }
    reasons = {fault.record: fault.reason for fault in mine.faults}
    assert "there is no file" in reasons["own/missing.png"]
    assert "broken or cut short" in reasons["own/broken.png"]
    assert "10 x 10 pixels, but the picture is 40 x 30" in reasons["own/small.png"]
    assert "line 11: `image`" in reasons[f"record {len(own) - 1}"]
    assert (mine.records, mine.read, mine.broken, mine.left_out) == (9, 9, 5, 0)
    assert (mine.queries, mine.talks) == (5, 1)  # of the four that are sound
    assert list(mine.phrases.items()) == [("the box", 3), ("the far box", 1), ("the unicorn", 1)]
    assert mine.pictures == 6  # neither the missing, nor the broken one
    assert [(each.record, each.text) for each in mine.empty_masks] == [("own/far.png", "the far box")]
    assert mine.leaked == ["own/000000000139.jpg"]

    assert [(fault.record, fault.sort) for fault in index_maps.faults] == [
        ("record 1", "record"),
        *[("size.png", "mask")] * 2,
        ("record 4", "record"),
    ]
    assert "there is no index map" in index_maps.faults[0].reason
    assert "the mask is 40 x 15, the picture 40 x 30 pixels" in index_maps.faults[1].reason
    assert "99" in index_maps.faults[-1].reason
    assert (index_maps.broken, index_maps.queries, index_maps.empty_masks) == (3, 4, [])

    folder = tmp_path / "own"
    assert report.duplicates == ((str(folder / "a.png"), str(folder / "b.png")),)
    assert report.pictures == 6 + 5
    assert [list(places) for places in report.usable] == [[0, 1, 2, 4], [0, 2]]
    tree = json.loads(json.dumps(report.to_dict()))
    assert tree["total"] == {
        "records": 14,
        "read": 14,
        "left_out": 0,
        "queries": 9,
        "talks": 1,
        "broken": 8,
        "silent": 0,
        "pictures": 11,
        "empty_masks": 1,
        "leaked": 1,
        "dropped": 0,
        "duplicates": 1,
    }
    assert tree["sources"][0]["faults"][-1]["sort"] == "record"


def test_processes_find_the_same(own: OwnSource, maps: IndexMapSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("self1e.data.parallel.CHUNK", 3)
    members, seen = [member(own, 0.5), member(maps, 0.5)], []
    alone = check(members, held_out=HELD_OUT, on_progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (14, 14) and [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert check(members, held_out=HELD_OUT, workers=2) == alone


def test_a_process_that_dies_is_told_of(own: OwnSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("self1e.data.parallel.CHUNK", 3)
    monkeypatch.setattr("self1e.data.check.look_at", _dies)
    with pytest.raises(DataError, match="fewer workers"):
        check([member(own)], workers=1)


def _dies(sources: object, groups: object) -> None:
    import os

    os._exit(9)


def test_a_picture_of_several_records_is_opened_once(
    own: OwnSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def load(path: Path) -> Image.Image:
        opened.append(path.name)
        return load_image(path)

    monkeypatch.setattr("self1e.data.check.load_image", load)
    (tmp_path / "own" / "again.jsonl").write_text('{"image": "a.png", "prompt": "a box", "masks": []}')
    (tmp_path / "own" / "linked.png").symlink_to("a.png")
    (tmp_path / "own" / "link.jsonl").write_text('{"image": "linked.png", "prompt": "a box", "masks": []}')
    again, link = (OwnSource(tmp_path / "own" / f"{name}.jsonl") for name in ("again", "link"))
    report = check([member(own, 0.4), member(again, 0.3), member(link, 0.3)])
    assert opened.count("a.png") == 1
    assert report.pictures == report.sources[0].pictures == 6  # a link is the same picture, not another of its bytes
    assert len(report.duplicates) == 1


def test_hold_out_counts_what_it_leaves_out(own: OwnSource) -> None:
    (source,) = check([member(own, filtered=True)], held_out=HELD_OUT).sources
    assert (source.records, source.read, source.left_out, source.leaked) == (8, 8, 1, [])


def test_held_out_pictures_are_known_by_their_bytes(own: OwnSource, tmp_path: Path) -> None:
    """Under other names, and in members whose held-out names are left out; not in those that are validated on."""
    file = tmp_path / "own" / "far.png"
    members = [member(own, 0.5, filtered=True), member(own, 0.5), replace(member(own, 0.0), learnt=False)]
    report = check(members, held_out=HELD_OUT, held_out_files=[file], broken_share=1.0)
    assert [each.leaked for each in report.sources] == [
        ["own/far.png"],
        ["own/000000000139.jpg", "own/far.png"],
        [],
    ]
    assert report.objections[0].startswith("1 of 8 records of own show pictures of validation or test splits")


def test_held_out_files(tmp_path: Path) -> None:
    folder = "refer_seg/images/mscoco/images/train2014"
    places = (f"{folder}/COCO_train2014_000000000139.jpg", "coco/train2017/000000000139.jpg")
    for place in places:
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / place).touch()
    assert held_out_pictures(tmp_path, [139, 140]) == [tmp_path / place for place in places]


def test_limit_reads_some_of_each_source(own: OwnSource, maps: IndexMapSource) -> None:
    members = [member(own, 0.5), member(maps, 0.5)]
    first, second = (check(members, held_out=HELD_OUT, limit=3, seed=seed) for seed in (1, 1))
    assert first == second
    assert [(each.records, each.read) for each in first.sources] == [(9, 3), (5, 3)]
    assert any(check(members, limit=3, seed=seed).usable != first.usable for seed in range(2, 6))
    assert len(list_records(members[0], HELD_OUT).some(100, (1,)).pictures) == 9


def ones() -> np.ndarray:
    return np.ones(SIZE[::-1], np.uint8)


def zeros() -> np.ndarray:
    return np.zeros(SIZE[::-1], np.uint8)


def sevens() -> np.ndarray:
    return np.full(SIZE[::-1], 7, np.uint8)


def fails() -> np.ndarray:
    raise SyntaxError("broken PNG file")


@pytest.mark.parametrize(
    ("queries", "talks", "sorts", "words"),
    [
        ([Query("box", "phrase", ones)], [], [], ""),
        ([Query("  ", "phrase", ones)], [], ["text"], "no text"),
        ([Query("box", "phrase", sevens)], [], ["mask"], "value 7"),
        ([Query("box", "phrase", fails), Query("cat", "phrase", sevens)], [], ["mask", "mask"], "SyntaxError: broken"),
        ([Query("box", "phrase", ones, answer="It is [SEG].")], [], ["text"], "explanation"),
        ([], [Talk((Turn("Where?", ""),))], ["text"], "empty question or answer"),
        ([], [Talk(())], ["text"], "empty question or answer, or none"),
        ([], [Talk((Turn("Where?", "Here [SEG]."),))], ["mask"], "1 [SEG] in its answers, 0 masks"),
        ([], [Talk((Turn("Where?", "Here [SEG]."),), (sevens,))], ["mask"], "'Where?': the mask has"),
    ],
)
def test_what_loaders_do_not_let_through(queries: list[Query], talks: list[Talk], sorts: list[str], words: str) -> None:
    finding = examine(Record("7", Path("a.png"), tuple(queries), tuple(talks)), *SIZE)
    assert [fault.sort for fault in finding.faults] == sorts
    assert words in "\n".join(fault.reason for fault in finding.faults)


@pytest.mark.parametrize(
    ("make", "kind", "warned"),
    [
        (zeros, "refer", True),
        (zeros, "no-target", False),
        (zeros, "absent", False),
        (partial(lambda masks: zeros(), []), "", False),  # "masks": []
        (partial(lambda masks: zeros(), [[9, 9]]), "", True),
        (lambda: 255 * ones(), "refer", True),  # all ignored
    ],
)
def test_empty_masks(make: Callable[[], np.ndarray], kind: str, warned: bool) -> None:
    for items in (((Query("box", "phrase", make, kind=kind),), ()), ((), (talk(make, kind),))):
        finding = examine(Record("7", Path("a.png"), *items), *SIZE)
        assert not finding.faults
        assert bool(finding.empty_masks) == warned


def talk(make: Callable[[], np.ndarray], kind: str) -> Talk:
    return Talk((Turn("Where?", "Here [SEG]."),), (make,), kind)


def test_what_a_loader_did_not_foresee_is_a_broken_record(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", 1)
    (source,) = check(
        [member(Listed(KeyError("height"), Record("sound", path, (Query("box", "phrase", ones),))))]
    ).sources
    assert [(fault.record, fault.sort, fault.reason) for fault in source.faults] == [
        ("record 0", "record", "KeyError: 'height'")
    ]


def test_pictures_without_objects_are_counted_apart(tmp_path: Path) -> None:
    """A run does not open them."""
    path = picture(tmp_path / "a.png", 1)
    silent = Record("silent", path), Record("folder", tmp_path, dropped=("a piece",))
    sound, broken = (
        Record("sound", path, (Query("box", "phrase", ones),)),
        Record("b", path, (Query("", "phrase", ones),)),
    )
    report = check([member(Listed(*silent, sound, sound, sound, broken))], broken_share=0.25)
    (source,) = report.sources
    assert (source.read, source.broken, source.silent, source.sound) == (6, 1, 2, 3)
    assert [(fault.record, fault.sort) for fault in source.faults] == [("b", "text")]
    assert source.dropped == ["folder, a piece"] and source.bare == 1 and report.usable == ((2, 3, 4),)
    assert report.broken_share == pytest.approx(0.25) and report.objections == []  # of what a run counts
    empty, bare, _ = source.remarks
    assert empty.startswith("listed: 1 of 6 pictures have no objects") and "absent_classes" in empty
    assert bare.startswith("listed: 1 of 6 pictures are passed over by a run, as all that is marked")
    (objection,) = check([member(Listed(*silent))]).objections
    assert "none of its 2 records can be used (nothing can be asked about 2 of them)" in objection
    (counted,) = statistics([member(Listed(*silent, sound, KeyError("id")))], 10)
    assert (counted.read, counted.silent, counted.broken) == (1, 2, 1)


def test_masks_of_nearly_everything_are_remarked_on(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", 1)

    def remarks(*masks: Callable[[], np.ndarray]) -> list[str]:
        records = [Record(str(i), path, (Query("box", "phrase", mask),)) for i, mask in enumerate(masks)]
        return list(check([member(Listed(*records))]).sources[0].remarks)

    (remark,) = remarks(*[ones] * 10, zeros)
    assert (
        remark == "listed: 10 of 10 masks cover more than 75% of their pictures. Are inside and outside interchanged?"
    )
    assert remarks(*[ones] * 9, partial(left_half, 1)) == remarks(zeros) == []


def test_pictures_that_exif_turns_are_remarked_on(tmp_path: Path) -> None:
    for orientation in (1, 2, 3, 3, 6):
        exif = Image.Exif()
        exif[0x0112] = orientation
        number = len(list(tmp_path.iterdir()))
        Image.new("RGB", SIZE, (9, 9, 9 * number)).save(tmp_path / f"{number}.jpg", exif=exif)
    query = Query("box", "phrase", lambda: np.ones(SIZE[::-1], np.uint8))
    records = [Record(str(i), tmp_path / f"{i}.jpg", (query,)) for i in (0, 1, 2, 3)]
    listed = Listed(*records, Record("talk", tmp_path / "4.jpg", (), (Talk((Turn("a", "b"),)),)))
    (source,) = check([member(listed)]).sources
    assert source.turned == {"2": 1, "3": 2, "6": 1} and not source.faults
    (remark,) = (each for each in source.remarks if "EXIF" in each)
    assert remark.startswith("listed: EXIF turns 4 pictures (orientation 2: 1, 3: 2, 6: 1)")
    assert "exif:" not in remark  # which this source does not take
    (remark,) = (each for each in replace(source, stored=False).remarks if "EXIF" in each)
    assert "if yours fit the stored pixels, set `exif: stored`" in remark
    assert not any("EXIF" in each for each in replace(source, stored=True).remarks)


def test_results_that_are_not_sure_are_no_pictures_without_objects(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 1)
    result = Segmentation(np.ones((1, *SIZE[::-1]), bool), [0.4], "a dog").to_dict()
    (tmp_path / "a.json").write_text(json.dumps({"image": str(tmp_path / "a.png"), "file_name": "a.png", **result}))
    (source,) = check([member(open_own({"results": str(tmp_path), "min_score": 0.5}))]).sources
    (remark,) = source.remarks
    assert "1 of 1 pictures are passed over by a run" in remark and "not sure enough" in remark
    assert source.dropped == ["a.png, 'a dog' is not asked for: its score is below min_score"]


@pytest.mark.parametrize(("stored", "told"), [("displayed", ["exif: stored"]), ("stored", []), (None, ["as they are"])])
def test_exif_is_told_of_as_far_as_it_can_be_chosen(tmp_path: Path, stored: str | None, told: list[str]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.new("RGB", SIZE).save(tmp_path / "a.jpg", exif=exif)
    if stored is None:
        shape = {"label": "dog", "points": [[1, 1], [9, 1], [9, 9]], "shape_type": "polygon"}
        (tmp_path / "a.json").write_text(json.dumps({"shapes": [shape], "imagePath": "a.jpg"}))
        source = open_own({"labelme": str(tmp_path)})
    else:
        (tmp_path / "m.jsonl").write_text(json.dumps({"image": "a.jpg", "prompt": "dog", "masks": [BOX]}))
        source = open_own({"jsonl": str(tmp_path / "m.jsonl"), "exif": stored})
    remarks = list(check([member(source)]).sources[0].remarks)
    assert len(remarks) == len(told) and all(words in remark for words, remark in zip(told, remarks, strict=True))
    assert stored is not None or "exif:" not in remarks[0]


def nothing() -> np.ndarray:
    raise TypeError("no mask")


def test_what_would_end_a_run_is_objected_to(tmp_path: Path) -> None:
    """A run takes another record only for errors that it foresees."""
    path = picture(tmp_path / "a.png", 1)
    sound, talk = Query("box", "phrase", ones), Talk((Turn("Where?", "Here [SEG]."),))
    fatal = [
        KeyError("height"),
        Record("mask", path, (Query("box", "phrase", nothing), Query("cat", "phrase", nothing))),
        Record("talk", path, (), (talk,)),
        Record("text", path, (Query(None, "phrase", ones),)),  # type: ignore[arg-type]
    ]
    skipped = [DataError("line 7"), Record("other", path, (Query("box", "phrase", sevens),)), DataError("line 8")]
    records = [*fatal, *skipped, *(Record(f"sound {i}", path, (sound,)) for i in range(3))]
    report = check([member(Listed(*records))], broken_share=0.9)
    (source,) = report.sources
    assert {fault.record for fault in source.faults if fault.fatal} == {"record 0", "mask", "talk", "text"}
    assert (source.broken, report.usable) == (7, ((7, 8, 9),))
    (objection,) = report.objections
    assert objection.startswith("4 of 10 records of listed would end the run")
    assert check([member(Listed(*skipped, *records[-3:]))], broken_share=0.9).objections == []


def test_a_path_that_no_file_can_have(tmp_path: Path) -> None:
    lines = [{"image": name, "prompt": "the box", "masks": []} for name in ("a\0.png", "b.png")]
    picture(tmp_path / "b.png", 1)
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (source,) = check([member(OwnSource(tmp_path / "own.jsonl"))]).sources
    assert [(fault.record, fault.sort) for fault in source.faults] == [("own/a\0.png", "missing picture")]
    assert source.pictures == 1


def found(share: float, read: int, broken: int, **more: object) -> SourceCheck:
    return SourceCheck("part", f"s{share}", share, read, broken, 0, {}, 0, read, **more)  # type: ignore[arg-type]


def verdict(*sources: SourceCheck, allowed: float = 0.01) -> CheckReport:
    return CheckReport(sources, 0, (), 0, allowed, ())


def test_objections() -> None:
    assert verdict(found(0.5, 1000, 0), found(0.5, 1000, 1)).objections == []
    (objection,) = verdict(found(0.99, 1000, 0), found(0.01, 10, 10)).objections[:1]
    assert "s0.01 of the part 'part' is empty: none of its 10 records" in objection
    few = verdict(replace(found(1.0, 3, 3), records=1000))  # by data check --limit 3
    assert "none of the 3 records that were read can be used" in few.objections[0]
    (objection,) = verdict(replace(found(1.0, 0, 0), left_out=4)).objections
    assert "it has no records (4 were left out)" in objection
    (objection,) = verdict(found(1.0, 100, 2)).objections
    assert "2.00% of the records that the run would draw are broken, more than data.broken_share, 1.00%" in objection
    assert verdict(found(1.0, 100, 2), allowed=0.02).objections == []
    (objection,) = verdict(found(1.0, 10, 0, leaked=["a", "b"])).objections
    assert objection.startswith("2 of 10 records of s1.0 show pictures of validation or test splits")


def test_broken_records_count_as_often_as_they_are_drawn() -> None:
    """Compared with a run: of each example, source, and records until one is sound."""
    report = verdict(found(0.9, 1000, 0), found(0.1, 10, 5))
    rng = np.random.default_rng(1)
    seen = broken = 0
    for _ in range(200_000):
        if rng.random() < 0.1:
            while rng.random() < 0.5:
                seen, broken = seen + 1, broken + 1
        seen += 1
    assert report.broken_share == pytest.approx(broken / seen, rel=0.05)
    assert report.broken_share == pytest.approx(0.1 / 1.1)
    assert verdict(found(0.5, 10, 10), found(0.5, 10, 0)).broken_share == 1


def test_members_of_parts(own: OwnSource, maps: IndexMapSource) -> None:
    parts: dict[str, tuple[float, list[tuple[Source, bool]]]]
    parts = {"a": (3.0, [(own, False), (own, True)]), "b": (1.0, [(maps, False)]), "off": (0.0, [(maps, False)])}
    members = members_of(parts)
    assert [(each.part, each.label, each.share, each.filtered) for each in members] == [
        ("a", "own", 0.375, False),
        ("a", "own (2)", 0.375, True),
        ("b", "index-maps", 0.25, False),
    ]
    assert pickle.loads(pickle.dumps(members))[0].label == "own"
    with pytest.raises(DataError, match="rate above 0"):
        members_of({"off": (0.0, [(maps, False)])})
    with pytest.raises(DataError, match="'a' has a rate of 2, but no source"):
        members_of({"a": (2, [])})


# ------------------------------------------------------------------------------------------------------- statistics


def test_statistics(own: OwnSource, maps: IndexMapSource) -> None:
    mine, index_maps = statistics([member(own, 0.75), member(maps, 0.25)], 100, held_out=HELD_OUT)
    assert (mine.records, mine.read, mine.broken) == (9, 7, 2)  # pictures stay closed: two more are broken
    assert (mine.queries, mine.talks, mine.queries_per_picture) == (8, 1, Spread(8 / 7, 1, 2))
    assert mine.kinds == {"phrase": 8, "words": 1}
    assert mine.phrases == {"the box": 6, "the far box": 1, "the unicorn": 1}
    assert mine.query_words == Spread(17 / 8, 2, 3) and mine.answer_words == Spread(3, 3, 3)
    # Not those of the missing picture and of the small mask; of the broken one the head can be read. Two are empty.
    assert (mine.masks, mine.empty_masks, mine.broken_masks) == (4, 2, 2)
    assert mine.area == dict.fromkeys((5, 25, 50, 75, 95), 20 * 15 / (40 * 30))
    assert (mine.share, mine.draws, mine.passes) == (0.75, 75, 75 / 9)
    assert index_maps.kinds == {"semantic": 5, "absent": 1} and index_maps.phrases == {"cat": 3, "dog": 3}
    assert index_maps.area[50] == pytest.approx(1 / 3)
    assert json.loads(json.dumps(mine.to_dict()))["area"]["50"] == 0.25


def test_statistics_of_a_sample(own: OwnSource, maps: IndexMapSource, monkeypatch: pytest.MonkeyPatch) -> None:
    members, seen = [member(own, 0.75), member(maps, 0.25)], []
    none = statistics(members, 100, sample=0, on_progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (14, 14)
    assert [each.masks for each in none] == [0, 0] and none[0].area == {} and none[0].queries == 8
    some = statistics(members, 100, limit=2, seed=3)
    assert [each.read + each.broken for each in some] == [2, 2] and [each.records for each in some] == [9, 5]
    whole = statistics(members, 100)
    monkeypatch.setattr("self1e.data.parallel.CHUNK", 2)
    assert statistics(members, 100) == statistics(members, 100, workers=2) == whole


def test_statistics_are_about_what_a_run_draws(tmp_path: Path) -> None:
    sound = Record("sound", tmp_path / "a.png", (Query("box", "phrase", ones), Query("cat", "phrase", ones)))
    odd = Record("odd", tmp_path / "a.png", (Query(None, "phrase", ones),))  # type: ignore[arg-type]
    (source,) = statistics([member(Listed(sound, Record("silent", tmp_path / "a.png"), odd, KeyError("id")))], 10)
    assert (source.records, source.read, source.silent, source.broken) == (4, 1, 1, 2)
    assert source.queries_per_picture == Spread(2, 2, 2) and source.kinds == {"phrase": 2}


# ---------------------------------------------------------------------------------------------------- contact sheet


def near(sheet: Image.Image, colour: tuple[int, ...], box: tuple[int, int, int, int]) -> float:
    """Share of the pixels in a box that have nearly this colour."""
    pixels = np.asarray(sheet.crop(box), np.int16)
    return float((np.abs(pixels - np.array(colour)).max(axis=2) < 12).mean())


def left_half(value: int) -> np.ndarray:
    mask = np.zeros((30, 40), np.uint8)
    mask[:, :20] = value
    return mask


def test_contact_sheet(tmp_path: Path) -> None:
    Image.new("RGB", SIZE, (0, 120, 0)).save(tmp_path / "green.png")
    masks: list[Callable[[], np.ndarray]] = [partial(left_half, 1), partial(left_half, 255), zeros]
    records = [
        Record(str(i), tmp_path / "green.png", (Query("the green half " * (1 + 30 * i), "phrase", mask, kind="k"),))
        for i, mask in enumerate(masks)
    ]
    records.append(Record("3", tmp_path / "green.png", (), (Talk((Turn("What is it?", "Green."),)),)))
    source = Listed(*records)
    sheet = contact_sheet([member(source)], [range(4)], 10, 1)
    width, height = THUMB[0] + 24, (sheet.height - 34) // 2
    assert sheet.size == (2 * width, 34 + 2 * height)
    lefts = [(column * width + 12, 34 + row * height) for row in (0, 1) for column in (0, 1)]
    halves = [
        [(x, y, x + THUMB[0] // 2, y + THUMB[1]), (x + THUMB[0] // 2, y, x + THUMB[0], y + THUMB[1])] for x, y in lefts
    ]
    filled = tuple(round(0.5 * a + 0.5 * b) for a, b in zip(COLOURS[0], (0, 120, 0), strict=True))
    grey = tuple(round(0.6 * a + 0.4 * b) for a, b in zip(IGNORED, (0, 120, 0), strict=True))
    assert near(sheet, filled, halves[0][0]) > 0.9 and near(sheet, filled, halves[0][1]) < 0.01
    assert near(sheet, (0, 78, 0), halves[0][1]) > 0.9  # the rest is dimmed
    assert near(sheet, grey, halves[1][0]) > 0.9 and near(sheet, (0, 120, 0), halves[1][1]) > 0.9
    for cell in (2, 3):
        assert near(sheet, (0, 120, 0), halves[cell][0]) == near(sheet, (0, 120, 0), halves[cell][1]) == 1
    texts = [np.asarray(sheet.crop((x, y + THUMB[1], x + THUMB[0], y + height - 12)).convert("L")) for x, y in lefts]
    assert all((text < 128).sum() > 100 for text in texts)
    assert (texts[1] < 128).sum() > 2 * (texts[0] < 128).sum()  # a longer text
    assert sheet.tobytes() == contact_sheet([member(source)], [range(4)], 10, 1).tobytes()


def test_a_small_mask_shows_on_a_large_picture(tmp_path: Path) -> None:
    Image.new("RGB", (1600, 1200), "black").save(tmp_path / "black.png")
    record = Record("0", tmp_path / "black.png", (Query("dot", "phrase", dot),))
    sheet = contact_sheet([member(Listed(record))], [[0]], 1, 1)
    pixels = np.asarray(sheet.crop((12, 34, 12 + THUMB[0], 34 + THUMB[1])))
    assert 20 < (pixels[..., 0] > 150).sum() < 100


def dot() -> np.ndarray:
    mask = np.zeros((1200, 1600), np.uint8)
    mask[600, 800] = 1
    return mask


def test_choice_for_the_sheet() -> None:
    usable = [list(range(100)), [7], [], list(range(50, 60))]
    chosen = choose(usable, 9, 5)
    assert len(set(chosen)) == 9 and chosen == choose(usable, 9, 5) != choose(usable, 9, 6)
    assert [number for number, _ in chosen] == [0, 1, 3, 0, 3, 0, 3, 0, 3]
    assert all(place in usable[number] for number, place in chosen)
    assert sorted(choose([[1, 2], [3]], 9, 5)) == [(0, 1), (0, 2), (1, 3)]
    assert choose([[], []], 9, 5) == [] == choose([[1]], 0, 5)
    with pytest.raises(ValueError, match="no record"):
        contact_sheet([], [], 9, 5)


def test_wrapping() -> None:
    font = ImageFont.load_default(15)
    assert wrapped("left guy", font, 200, 3) == ["left guy"]
    assert wrapped("", font, 200, 3) == []
    text = "the man who is standing behind the table with the green cloth and looks at the camera " * 9
    lines = wrapped(text, font, 200, 3)
    assert len(lines) == 3 and lines[-1].endswith("...") and text.startswith(" ".join(lines)[:-3])
    assert all(font.getlength(line) <= 200 for line in lines + wrapped("w" * 90, font, 100, 3))
    assert wrapped("a\nb\tc", font, 200, 1) == ["a b c"]


# -------------------------------------------------------------------------------------------------------- real data


def test_real_data(real_data: Path) -> None:
    root = real_data / "dataset"
    names = ("refcoco", "grefcoco", "ade20k", "cocostuff")
    sources = [open_set(name, root) for name in names]
    members = members_of({"all": (1.0, [(source, False) for source in sources])})
    report = check(members, limit=6, held_out=frozenset({9}))
    assert [each.broken for each in report.sources] == [0] * 4 and not any(each.empty_masks for each in report.sources)
    assert [each.read for each in report.sources] == [6, 6, 3, 6]
    whole = list_records(members[3], frozenset({9}))
    assert [sources[3].image_path(place).name for place in whole.leaked] == ["000000000009.jpg"]
    assert list_records(replace(members[3], filtered=True), frozenset({9})).left_out == 1
    sheet = contact_sheet(members, report.usable, 8, 1)
    assert sheet.width > 3 * THUMB[0] and sheet.height > 2 * THUMB[1]
    refcoco, grefcoco, ade20k, _ = statistics(members, 400, limit=20, sample=5)
    assert set(refcoco.kinds) == {"refer"} and grefcoco.kinds["no-target"] > 0 and set(ade20k.kinds) == {"semantic"}
    assert all(0 < each.area[5] <= each.area[95] < 1 for each in (refcoco, grefcoco, ade20k))
