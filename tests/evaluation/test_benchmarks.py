"""Benchmarks by name: on real-format data, from small files, interrupted, in several processes, and what comes out."""

from __future__ import annotations

import base64
import copy
import csv
import io
import json
import re
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from self1e import Segmenter
from self1e.data.own import OwnSource
from self1e.data.records import DataError
from self1e.evaluation import record_benchmarks, run
from self1e.evaluation.benchmarks import names, open_benchmark
from self1e.evaluation.page import best_samples, worst_samples, write_page
from self1e.evaluation.record_benchmarks import MaskBenchmark, WordBenchmark, question_of
from self1e.evaluation.run import EvaluationError, evaluate, records_done, summarise
from self1e.evaluation.samples import RecordDone, Sample, SampleFile, mask_figures
from self1e.metrics import MaskScores
from self1e.plugins import BENCHMARKS, installed
from self1e.segment.calibration import Calibration
from self1e.segment.quantise import Quantization
from self1e.segment.results import Segmentation


@pytest.fixture(scope="module")
def segmenter(tiny_model_folder: Path) -> Segmenter:
    return Segmenter.from_pretrained(tiny_model_folder, device="cpu")


@pytest.fixture
def own(tmp_path: Path) -> MaskBenchmark:
    """Four pictures with a query or two each, and one that is missing."""
    lines = []
    for number in range(4):
        Image.effect_noise((30 + number, 20), 60).convert("RGB").save(tmp_path / f"{number}.png")
        lines.append({"image": f"{number}.png", "prompt": "the thing", "masks": [[2, 2, 20, 2, 20, 15, 2, 15]]})
        if number % 2:
            lines.append({"image": f"{number}.png", "prompt": "the other thing", "masks": []})
    lines.append({"image": "missing.png", "prompt": "the thing", "masks": []})
    file = tmp_path / "own.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    return open_benchmark(str(file), tmp_path)


def textvqa(root: Path, asked: dict[str, list[str]]) -> WordBenchmark:
    """Questions about a red picture, with what people answered."""
    (root / "textvqa" / "train_images").mkdir(parents=True)
    Image.new("RGB", (20, 20), "red").save(root / "textvqa" / "train_images" / "a.jpg")
    lines, annotations = [], []
    for number, (question, people) in enumerate(asked.items()):
        lines.append({"image": "data/textvqa/train_images/a.jpg", "question": question, "question_id": number})
        annotations.append({"question_id": number, "answers": [{"answer": answer} for answer in people]})
    (root / "textvqa" / "textvqa_val.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (root / "textvqa" / "textvqa_val_annotations.json").write_text(json.dumps({"annotations": annotations}))
    return open_benchmark("textvqa|val", root)


def test_figures_are_those_of_a_plain_loop(tmp_path: Path, segmenter: Segmenter, own: MaskBenchmark) -> None:
    folder = tmp_path / "results"
    evaluate(segmenter, own, folder)
    figures = summarise(own, folder)
    scores = MaskScores()
    source = OwnSource(tmp_path / "own.jsonl")
    for index in range(len(source) - 1):
        for query in source[index].queries:
            result = segmenter.segment(source[index].image, question_of(query), template="none")
            scores.update(result.mask, query.mask())
    assert {name: figures[name] for name in scores.compute()} == pytest.approx(scores.compute())
    assert len(figures["broken"]) == 1 and "missing.png" in figures["broken"][0]
    with (folder / "samples.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["intersection"]) for row in rows] == scores.intersections
    assert json.loads((folder / "figures.json").read_text())["giou"] == figures["giou"]


def test_interrupted_and_shared_evaluations_are_one(tmp_path: Path, segmenter: Segmenter, own: MaskBenchmark) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    evaluate(segmenter, own, whole)
    evaluate(segmenter, own, parts, process=1, processes=2)
    with pytest.raises(EvaluationError, match=r"3 records of .* are not done"):
        summarise(own, parts)
    file = parts / "samples-1.jsonl"
    file.write_text(file.read_text()[:-20])  # killed while it wrote
    assert len(records_done(parts)) == 1
    evaluate(segmenter, own, parts, process=0, processes=2)
    seen: list[tuple[int, int]] = []
    evaluate(segmenter, own, parts, on_record=lambda done, count: seen.append((done, count)))
    assert seen[-1] == (5, 5)
    assert summarise(own, parts) == summarise(own, whole)


def test_what_was_broken_is_done_when_it_is_mended(tmp_path: Path, segmenter: Segmenter, own: MaskBenchmark) -> None:
    folder = tmp_path / "results"
    evaluate(segmenter, own, folder)
    assert len(summarise(own, folder)["broken"]) == 1
    Image.new("RGB", (20, 20)).save(tmp_path / "missing.png")
    evaluate(segmenter, own, folder, process=1, processes=2)
    evaluate(segmenter, own, folder, process=0, processes=2)
    figures = summarise(own, folder)
    assert not figures["broken"] and figures["samples"] == 7


def test_changed_data_are_another_evaluation(tmp_path: Path, segmenter: Segmenter, own: MaskBenchmark) -> None:
    evaluate(segmenter, own, tmp_path / "results", limit=1)
    file = tmp_path / "own.jsonl"
    file.write_text(file.read_text().replace("the thing", "the thinG"))
    with pytest.raises(EvaluationError, match="data: "):
        evaluate(segmenter, open_benchmark(str(file), tmp_path), tmp_path / "results", limit=1)


def test_all_that_results_depend_on_is_compared(
    tmp_path: Path, segmenter: Segmenter, own: MaskBenchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "results"
    evaluate(segmenter, own, folder, limit=1, weights_sha256="aa")
    with pytest.raises(EvaluationError, match="weights_sha256: aa there, ab now"):
        evaluate(segmenter, own, folder, limit=1, weights_sha256="ab")
    config = segmenter.model.config
    for of, name, value, told in (
        (config, "image_to_segmentation", not config.image_to_segmentation, "config_sha256"),
        (segmenter, "quantization", Quantization("int8", 1, 1.0, 1), "quantize: None there, int8 now"),
        (segmenter.processor, "max_tiles", 2, "max_tiles: 1 there, 2 now"),
        (run, "__version__", "9.9", r"versions: .*'self1e': '9\.9'"),
        (record_benchmarks, "LONGEST_ANSWER", 1, "longest_answer: 128 there, 1 now"),
    ):
        with monkeypatch.context() as changed:
            changed.setattr(of, name, value)
            with pytest.raises(EvaluationError, match=told):
                evaluate(segmenter, own, folder, limit=1, weights_sha256="aa")


def test_spellings_of_paths_are_not_compared(
    tmp_path: Path, segmenter: Segmenter, own: MaskBenchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(segmenter, own, tmp_path / "results", limit=1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(segmenter, "model_name", "./the/model/")
    monkeypatch.setattr(segmenter.model.config, "_name_or_path", "./the/model/")
    own = open_benchmark("own.jsonl", Path())
    evaluate(segmenter, own, tmp_path / "results", limit=1)
    assert summarise(own, tmp_path / "results", limit=1)["benchmark"] == "own.jsonl"


def test_an_evaluation_goes_on_with_another_limit(tmp_path: Path, segmenter: Segmenter, own: MaskBenchmark) -> None:
    folder = tmp_path / "results"
    evaluate(segmenter, own, folder, limit=1)
    first = summarise(own, folder, limit=1)
    assert (first["samples"], first["records"], first["limit"]) == (1, 1, 1)
    with pytest.raises(EvaluationError, match=r"4 records of .* are not done"):
        summarise(own, folder)
    done = (folder / "samples-0.jsonl").read_text()
    evaluate(segmenter, own, folder)
    assert (folder / "samples-0.jsonl").read_text().startswith(done)
    whole = summarise(own, folder)
    assert (whole["samples"], whole["records"], whole["limit"]) == (6, 5, None)
    assert summarise(own, folder, limit=1) == first


def test_a_target_of_no_pixel_is_one(tmp_path: Path, segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether something is there is what the data say."""
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    speck = [5.1, 5.1, 5.2, 5.1, 5.2, 5.2]
    lines = [{"image": "a.png", "prompt": f"thing {i}", "masks": masks} for i, masks in enumerate(([speck], []))]
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, lines)))
    nothing = Segmentation(np.zeros((1, 20, 20), bool), np.ones(1), text="[SEG].")
    monkeypatch.setattr(record_benchmarks, "predicted_masks", lambda *_: [nothing, nothing])
    benchmark = open_benchmark(str(tmp_path / "own.jsonl"), tmp_path)
    evaluate(segmenter, benchmark, tmp_path / "results")
    (done,) = records_done(tmp_path / "results")
    assert [(sample.target, sample.absent) for sample in done.samples] == [(0, False), (0, True)]
    figures = summarise(benchmark, tmp_path / "results")
    assert (figures["n_acc"], figures["t_acc"]) == (1.0, 0.0)


def test_a_sentence_that_is_too_long_breaks_its_record_only(tmp_path: Path, segmenter: Segmenter) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    lines = [{"image": "a.png", "prompt": prompt, "masks": []} for prompt in ("word " * 100_000, "the thing")]
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, lines)))
    benchmark = open_benchmark(str(tmp_path / "own.jsonl"), tmp_path)
    evaluate(segmenter, benchmark, tmp_path / "results")
    assert "tokens" in " ".join(summarise(benchmark, tmp_path / "results")["broken"])


def test_what_is_wrong_with_the_model_is_no_broken_record(
    tmp_path: Path, segmenter: Segmenter, own: MaskBenchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overflow(*_: object, **__: object) -> None:
        raise ValueError("the model's numbers overflow")

    monkeypatch.setattr(Segmenter, "segment", overflow)
    with pytest.raises(ValueError, match="overflow"):
        evaluate(segmenter, own, tmp_path / "results")


def test_another_evaluation_is_not_mixed_in(tmp_path: Path, segmenter: Segmenter, own: MaskBenchmark) -> None:
    evaluate(segmenter, own, tmp_path / "results", limit=1)
    with pytest.raises(EvaluationError, match="answer: given there, generated now"):
        evaluate(segmenter, replace(own, answer="generated"), tmp_path / "results", limit=1)


def test_confidences_of_two_calibrations_are_not_mixed(
    tmp_path: Path, segmenter: Segmenter, own: MaskBenchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(segmenter, own, tmp_path / "results", limit=1)
    segmenter.processor.tokenizer(["a", "longer"], padding=True)  # what it was used for does not count
    evaluate(segmenter, own, tmp_path / "results", limit=1)
    with monkeypatch.context() as patch, pytest.raises(EvaluationError, match="calibration_sha256: None there, "):
        patch.setattr(segmenter, "calibration", Calibration(present=((0.5, 0.2), (1.0, 0.9))))
        evaluate(segmenter, own, tmp_path / "results", limit=1)
    with monkeypatch.context() as patch, pytest.raises(EvaluationError, match=r"image_size: \d+ there, 1 now"):
        patch.setattr(segmenter.processor, "image_size", 1)
        evaluate(segmenter, own, tmp_path / "results", limit=1)
    with monkeypatch.context() as patch, pytest.raises(EvaluationError, match="tokenizer_sha256"):
        other = copy.deepcopy(segmenter.processor.tokenizer)
        other.add_tokens(["xylophone"])
        patch.setattr(segmenter.processor, "tokenizer", other)
        evaluate(segmenter, own, tmp_path / "results", limit=1)


def test_folders_of_earlier_versions_say_what_they_lack(
    tmp_path: Path, segmenter: Segmenter, own: MaskBenchmark
) -> None:
    evaluate(segmenter, own, tmp_path / "results", limit=1)
    path = tmp_path / "results" / "evaluation.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in settings.items() if key != "calibration_sha256"}))
    with pytest.raises(EvaluationError, match="calibration_sha256: not written down there, None now"):
        evaluate(segmenter, own, tmp_path / "results", limit=1)


def test_generated_answers_point_or_do_not(tmp_path: Path, segmenter: Segmenter, own: MaskBenchmark) -> None:
    evaluate(segmenter, replace(own, answer="generated"), tmp_path / "results", limit=2)
    for done in records_done(tmp_path / "results"):
        for sample in done.samples:
            query = own.source[done.record].queries[sample.number]
            reply = segmenter.chat(tmp_path / sample.picture, question_of(query))
            assert sample.answer == reply.text and sample.predicted == reply.mask.sum()


def pictures_of(text: str) -> list[Image.Image]:
    """Those that a page holds."""
    found = re.findall(r'src="data:image/webp;base64,([^"]+)"', text)
    return [Image.open(io.BytesIO(base64.b64decode(each))) for each in found]


def test_page_of_the_worst_and_the_best(tmp_path: Path, segmenter: Segmenter, own: MaskBenchmark) -> None:
    folder = tmp_path / "results"
    evaluate(segmenter, own, folder)
    samples = [sample for each in records_done(folder) for sample in each.samples]
    text = write_page(segmenter, own, folder, samples, 3, {"giou": 0.5, "samples": 4}).read_text()
    worst, best = list(chain.from_iterable(worst_samples(samples, 3).values())), best_samples(samples, 1)
    assert 0 < len(worst) <= 3
    assert text.count("<section>") == text.count('<p class="said">IoU') == len(worst) + len(best) > len(best) == 1
    assert [picture.width > 50 for picture in pictures_of(text)] == [True] * 2 * (len(worst) + len(best))
    assert "<th>giou</th></tr><tr><td>50.0</td>" in text and "http" not in text
    assert {path.name for path in folder.iterdir()} >= {"report.html"} and not (folder / "worst").exists()


def test_page_of_words(tmp_path: Path, segmenter: Segmenter) -> None:
    """With the picture; text from data is text on the page, and so are names that are not in UTF-8."""
    test = textvqa(tmp_path, {"What is it?": ["red"]})
    sample = Sample(0, 0, "a\udcff.jpg", "<script>?", "", "<b>", 0.0, given="<i>")
    text = write_page(segmenter, test, tmp_path, [sample], 1).read_text()
    assert "<script>" not in text and "&lt;script&gt;" in text and "&lt;i&gt;" in text
    assert "a\\udcff.jpg" in text and "Wrong in words" in text
    (picture,) = pictures_of(text)
    red, green, _ = np.asarray(picture).mean((0, 1))
    assert red > 240 and green < 10


def test_sample_files_survive_cuts(tmp_path: Path) -> None:
    file = SampleFile(tmp_path / "samples-0.jsonl")
    first = RecordDone(0, (Sample(0, 0, "a.png", "the ä\u2028\nthing", "", "[SEG].", 0.5, 1, 2, 1, 2),))
    file.add(first)
    with file.path.open("a") as raw:
        raw.write('{"record": 1, "sam')
    file.add(replace(first, record=2, samples=()))
    assert list(file) == [first, RecordDone(2, ())]


def test_small_predictions_count_by_the_convention_and_raw() -> None:
    """gRefCOCO: 49 pixels where nothing is are right by the convention, wrong without it."""

    def sample(predicted: int, target: int, both: int) -> Sample:
        union = predicted + target - both
        return Sample(0, 0, "", "", "", "", 0.0, both, union, predicted, target, absent=not target)

    figures = mask_figures([sample(49, 0, 0), sample(50, 0, 0), sample(49, 60, 49)], classes=False, min_area=50)
    assert (figures["n_acc"], figures["n_acc_raw"]) == (0.5, 0.0)
    assert (figures["t_acc"], figures["t_acc_raw"]) == (0.0, 1.0)
    assert figures["ciou"] == 0.0 and figures["giou"] == pytest.approx(1 / 3)


def test_a_question_that_nobody_answered_is_a_broken_record(tmp_path: Path, segmenter: Segmenter) -> None:
    test = textvqa(tmp_path, {"What is it?": ["red"] * 10, "What else?": []})
    evaluate(segmenter, test, tmp_path / "results")
    figures = summarise(test, tmp_path / "results")
    assert figures["samples"] == 1
    assert len(figures["broken"]) == 1 and "question 1 has no `answer`" in figures["broken"][0]


def test_unknown_names_and_missing_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no benchmark 'imagenet': known are .*toyland, .*refcoco\|unc\|val"):
        open_benchmark("imagenet", tmp_path)
    for name in names():
        if name not in installed(BENCHMARKS):
            with pytest.raises(DataError, match=str(tmp_path)):
                open_benchmark(name, tmp_path)


REAL = ("refcoco|unc|val", "refcocog|umd|val", "grefcoco|unc|val", "reasonseg|val", "ade20k-150")


@pytest.mark.parametrize("name", REAL)
def test_on_real_formats(tmp_path: Path, real_data: Path, segmenter: Segmenter, name: str) -> None:
    try:
        benchmark = open_benchmark(name, real_data / "dataset")
    except DataError as error:
        pytest.skip(f"the pieces here have no such split: {error}")
    evaluate(segmenter, benchmark, tmp_path, limit=3)
    figures = summarise(benchmark, tmp_path, limit=3)
    asked = sum(len(benchmark.source[index].queries) for index in range(min(3, len(benchmark.source))))  # type: ignore[union-attr]
    assert figures["samples"] == asked > 0 and not figures["broken"]
    assert 0 <= figures["giou"] <= 1
    assert ("miou" in figures) == (name == "ade20k-150")
    assert benchmark.min_area == (50 if name.startswith("grefcoco") else 1)
    assert all(np.isfinite(sample.score) for each in records_done(tmp_path) for sample in each.samples)
