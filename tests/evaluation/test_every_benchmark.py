"""Every benchmark by its name, from small files in its true format: it runs, and figures of known masks are exact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from self1e import Segmenter
from self1e.data.records import Record
from self1e.data.vqa import VQA_TESTS
from self1e.evaluation import record_benchmarks
from self1e.evaluation.benchmarks import names, open_benchmark
from self1e.evaluation.record_benchmarks import MaskBenchmark
from self1e.evaluation.run import evaluate, summarise
from self1e.metrics import boundary_f
from self1e.plugins import BENCHMARKS, installed
from self1e.processing.prompts import SHORT_ANSWER_PROMPT
from self1e.segment.results import Segmentation
from tests.data import test_open_vocabulary, test_reason, test_refer, test_words

GHOST = "the ghost"
UPPER_HALF = [[0, 0, 30, 0, 30, 10, 0, 10]]
FIGURES = {"samples", "ciou", "giou", "pr@0.5", "n_acc", "t_acc", "n_acc_raw", "t_acc_raw", "miou", "boundary"}
FIGURES |= {"accuracy"}

Figures = dict[str, float]


@pytest.fixture(scope="module")
def segmenter(tiny_model_folder: Path) -> Segmenter:
    return Segmenter.from_pretrained(tiny_model_folder, device="cpu")


def known_masks(segmenter: Segmenter, record: Record, answer: str) -> list[Segmentation]:
    """The upper half of the picture, and of the ghost 49 pixels, which gRefCOCO's convention takes for none."""
    masks = []
    for query in record.queries:
        with Image.open(record.image) as picture:
            mask = np.zeros((picture.height, picture.width), bool)
        mask.flat[: 49 if query.text == GHOST else mask.size // 2] = True
        masks.append(Segmentation(mask[None], np.ones(1), text="[SEG]."))
    return masks


def mean_boundary(benchmark: MaskBenchmark, segmenter: Segmenter) -> float:
    """Of the known masks, over what has an edge; what is missed or not there has none that agrees."""
    edges = [
        boundary_f(found.mask, query.mask())
        for record in (benchmark.source[index] for index in range(len(benchmark.source)))
        for query, found in zip(record.queries, known_masks(segmenter, record, benchmark.answer), strict=True)
    ]
    there = [edge for edge in edges if edge is not None]
    assert there, "something has an edge"
    return sum(there) / len(there)


def refer(root: Path, dataset: str, split_by: str, split: str, also: Any = UPPER_HALF) -> MaskBenchmark:
    """Two sentences for a target of 60 pixels, one for the upper half; gRefCOCO: the first is two things, a third none.

    Args:
        also: The segmentation of the second target.
    """
    several = dataset == "grefcoco"
    refs = [
        test_refer.ref(0, 7, [70, 71] if several else 70, split, "Left Guy", "guy on left"),
        test_refer.ref(1, 5, [50] if several else 50, split, "the upper half"),
        test_refer.ref(2, 5, [50] if several else 50, "train", "in another split"),
    ]
    if several:
        refs.append(test_refer.ref(3, 5, [-1], split, GHOST, no_target=True))
    annotations = [
        test_refer.annotation(70, 7, test_refer.SQUARE),
        test_refer.annotation(71, 7, [[20, 12, 24, 12, 24, 15, 20, 15]]),
        test_refer.annotation(50, 5, also),
    ]
    test_refer.write(root, dataset, split_by, refs, [test_refer.picture(7), test_refer.picture(5)], annotations)
    benchmark = open_benchmark(f"{dataset}|{split_by}|{split}", root)
    for index in range(2):
        Image.effect_noise((30, 20), 60).convert("RGB").save(benchmark.source.image_path(index))
    return benchmark


REFER = {"samples": 3, "ciou": 420 / 900, "giou": (0.2 + 0.2 + 1) / 3, "pr@0.5": 1 / 3, "t_acc": 1}
GREFER = {"samples": 4, "ciou": 420 / 924, "giou": (60 / 312 + 60 / 312 + 1 + 1) / 4, "pr@0.5": 1 / 3}
GREFER |= {"n_acc": 1, "n_acc_raw": 0, "t_acc": 1, "t_acc_raw": 1}


def reason(root: Path, split: str) -> Figures:
    """A picture with two sentences, of which one counts, 77 pixels and two ignored rows; another, the upper half."""
    ignored = test_reason.shape("ignore", [[0, 0], [29, 0], [29, 1], [0, 1]])
    target = test_reason.shape("target", test_reason.TARGET)
    test_reason.write(root, split, "a", ["What barks?", "Which animal barks?"], True, [target, ignored])
    upper_half = test_reason.shape("target", [[0, 0], [29, 0], [29, 9], [0, 9]])
    test_reason.write(root, split, "b", ["the dog"], False, [upper_half])
    return {"samples": 2, "ciou": 377 / 540, "giou": (77 / 240 + 1) / 2, "pr@0.5": 0.5, "t_acc": 1}


def classes(root: Path, name: str) -> Figures:
    """Two pictures of four rows of three pixels, with classes 1 and 2 and a row that is ignored."""
    ignored = 255 if name == "pascal-voc-20" else 0
    maps = {"a": [1, 1, 1, 2], "b": [1, ignored, 2, 2]}
    if name == "ade20k-150":
        for folder in ("images", "annotations"):
            (root / "ade20k" / folder / "validation").mkdir(parents=True)
        for stem, rows in maps.items():
            Image.new("RGB", (3, 4)).save(root / f"ade20k/images/validation/{stem}.jpg")
            index_map = np.repeat(np.array(rows, np.uint8)[:, None], 3, axis=1)
            Image.fromarray(index_map).save(root / f"ade20k/annotations/validation/{stem}.png")
    elif name == "pascal-context-59":
        devkit = root / test_open_vocabulary.CONTEXT
        test_open_vocabulary.write(devkit, "SegmentationClassContext", "SegmentationContext/val.txt", maps, list(maps))
    else:
        devkit = root / test_open_vocabulary.VOC
        test_open_vocabulary.write(devkit, "SegmentationClass", "Segmentation/val.txt", maps, list(maps))
    # Class 1 has 6 of 9 and 3 of 3 pixels, class 2 has 0 of 9 twice.
    giou, miou = (6 / 9 + 1 + 0 + 0) / 4, (9 / 12 + 0) / 2
    return {"samples": 4, "ciou": 9 / 30, "giou": giou, "pr@0.5": 0.5, "t_acc": 1, "miou": miou}


def words(root: Path, name: str, split: str, segmenter: Segmenter) -> Figures:
    """Two questions about a picture: to the first, two of ten people answer as the model does; GQA's answer is that."""
    questions, annotations, pictures = VQA_TESTS[name, split]
    (root / pictures).mkdir(parents=True)
    picture = root / pictures / "a.jpg"
    Image.new("RGB", (20, 20), "red").save(picture)
    asked, longest = f"What is it?\n{SHORT_ANSWER_PROMPT}", record_benchmarks.LONGEST_WORDS
    reply = segmenter.chat(picture, asked, max_new_tokens=longest).text
    line = {"image": f"data/{pictures}/a.jpg", "question": "What is it?"}
    answers = [{"answer": reply}, {"answer": "surely not said"}]
    test_words.write_lines(root / questions, *(line | {"question_id": i} | answers[i] for i in (0, 1)))
    if annotations is None:
        return {"samples": 2, "accuracy": 0.5}
    people = [answers[:1] * 2 + answers[1:] * 8, answers[1:] * 10]
    types = [{"answer_type": "yes/no"}, {"answer_type": "number"}] if name == "vqav2" else [{}, {}]
    told = [{"question_id": i, "answers": people[i]} | types[i] for i in (0, 1)]
    (root / annotations).write_text(json.dumps({"annotations": told}))
    return {"samples": 2, "accuracy": 0.3}  # 0.6 without one of those who agree or of those who do not, and 0


@pytest.mark.parametrize("name", [name for name in names() if name not in installed(BENCHMARKS)])
def test_figures(tmp_path: Path, segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    kinds: dict[str, Figures] = {}
    match name.split("|"):
        case ["grefcoco", split_by, split]:
            refer(tmp_path, "grefcoco", split_by, split)
            expected, kinds = GREFER, {"refer": {}, "multi-target": {}, "no-target": {}}
        case [dataset, split_by, split]:
            refer(tmp_path, dataset, split_by, split)
            expected = REFER
        case ["reasonseg", split]:
            expected, kinds = reason(tmp_path, split), {"reason-short": {}, "reason-long": {}}
        case [_, split]:
            expected = words(tmp_path, name.split("|")[0], split, segmenter)
            kinds = {"yes/no": {"accuracy": 0.6}, "number": {"accuracy": 0.0}} if name == "vqav2|val" else {}
        case _:
            expected = classes(tmp_path, name)
    benchmark = open_benchmark(name, tmp_path)
    evaluate(segmenter, benchmark, tmp_path / "by the model")
    figures = summarise(benchmark, tmp_path / "by the model")
    assert figures["samples"] == expected["samples"] and not figures["broken"]
    assert figures["answer"] == benchmark.answer == ("generated" if "accuracy" in expected else "given")
    monkeypatch.setattr(record_benchmarks, "predicted_masks", known_masks)
    evaluate(segmenter, benchmark, tmp_path / "known")
    figures = summarise(benchmark, tmp_path / "known")
    if isinstance(benchmark, MaskBenchmark):
        expected = expected | {"boundary": mean_boundary(benchmark, segmenter)}
    assert {key: figures[key] for key in FIGURES & figures.keys()} == pytest.approx(expected)
    assert figures.get("kinds", {}).keys() == kinds.keys()
    for kind, of_kind in kinds.items():
        assert of_kind.items() <= figures["kinds"][kind].items()


def test_an_annotation_that_is_no_mask_breaks_its_record_only(tmp_path: Path, segmenter: Segmenter) -> None:
    benchmark = refer(tmp_path, "refcoco", "unc", "val", also={"size": [2, 2], "counts": [4]})
    evaluate(segmenter, benchmark, tmp_path / "results")
    figures = summarise(benchmark, tmp_path / "results")
    assert figures["samples"] == 2
    (broken,) = figures["broken"]
    assert broken.startswith("0: refcoco_unc_val/5, 'the upper half': a run-length code of 2 x 2 does not fit")
