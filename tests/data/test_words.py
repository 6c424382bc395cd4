"""Question-and-answer files in LLaVA's and InternVL's forms."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from self1e.conversation import Turn
from self1e.data.json_records import JsonRecords
from self1e.data.records import DataError, Talk, to_example
from self1e.data.vqa import VQA_SETS, VQA_TESTS, VqaTest, vqa_source
from self1e.data.words import JsonlSource, LlavaSource
from self1e.processing.prompts import SHORT_ANSWER_PROMPT

PUBLISHED = Path(__file__).parent / "published"


def said(*texts: Any) -> list[dict[str, Any]]:
    return [{"from": "gpt" if i % 2 else "human", "value": text} for i, text in enumerate(texts)]


def write_llava(root: Path, content: str | bytes) -> Path:
    (root / "coco/train2017").mkdir(parents=True, exist_ok=True)
    (root / "llava_dataset").mkdir(exist_ok=True)
    file = root / "llava_dataset/llava_instruct_150k.json"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def write_lines(file: Path, *lines: Any, mark: bytes = b"", end: bytes = b"\n") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    texts = [line if isinstance(line, bytes) else json.dumps(line, ensure_ascii=False).encode() for line in lines]
    file.write_bytes(mark + end.join(texts))
    return file


@pytest.mark.parametrize("layout", [{}, {"indent": 1}, {"ensure_ascii": False}, {"separators": (",", ":")}])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_llava(tmp_path: Path, layout: dict[str, Any], mark: bytes) -> None:
    entries = [
        {"id": "33", "image": "33.jpg", "conversations": said("<image>\nWhat is this?", 'A café [, ]{"}.')},
        {"id": "33", "image": "33.jpg", "conversations": said("Why?\n<image>", "日本。", "And then?", "It\nends.")},
    ]
    write_llava(tmp_path, mark + json.dumps(entries, **layout).encode())
    source = pickle.loads(pickle.dumps(LlavaSource(tmp_path)))
    assert len(source) == 2
    assert source[0].talks == (Talk((Turn("What is this?", 'A café [, ]{"}.'),)),)
    assert source[1].talks == (Talk((Turn("Why?", "日本。"), Turn("And then?", "It\nends."))),)
    assert source.image_path(1) == source[1].image == tmp_path / "coco/train2017/33.jpg"
    assert [record.id for record in source] == ["llava_instruct_150k/1", "llava_instruct_150k/2"]
    assert not source[0].queries


@pytest.mark.parametrize("content", ["", "{}", "[{}", '[{"a": 1} {"b": 2}]', "[{},]", "[{}] more", "[nonsense]"])
def test_llava_files_that_are_no_list(tmp_path: Path, content: str) -> None:
    file = write_llava(tmp_path, content)
    with pytest.raises(DataError, match="as a JSON list") as fault:
        LlavaSource(tmp_path)
    assert str(file) in str(fault.value)


def test_empty_list(tmp_path: Path) -> None:
    write_llava(tmp_path, " [ ] \n")
    assert len(LlavaSource(tmp_path)) == 0


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("<image>\nWhat?", "What?"),
        ("What?\n<image>", "What?"),
        ("Look at <image> well", "Look at well"),
        ("First\n<image>\nthen", "First\nthen"),
        ("No marker", "No marker"),
        ("Say [SEG] or <img>", "Say [SEG] or <img>"),
    ],
)
def test_the_marker_is_taken_out_of_questions(tmp_path: Path, question: str, expected: str) -> None:
    file = write_lines(tmp_path / "a.jsonl", {"image": "a.jpg", "conversations": said(question, "An <image>.")})
    assert JsonlSource("vqa", file, tmp_path)[0].talks == (Talk((Turn(expected, "An <image>."),)),)


def test_lines(tmp_path: Path) -> None:
    lines = [
        {"id": 0, "image": "p/é.jpg", "width": 9, "conversations": said("<image>\nHow many?", "2", "Why?", "So.")},
        b"",
        {"image": "data/q.jpg", "question": " What colour? ", "question_id": 3, "answer": "red"},
        b"  ",
        {"image": "r.jpg", "conversations": said("a", "b")},
    ]
    for mark, end in ((b"", b"\n"), (b"\xef\xbb\xbf", b"\r\n")):
        file = write_lines(tmp_path / "a.jsonl", *lines, mark=mark, end=end)
        source = pickle.loads(pickle.dumps(JsonlSource("vqa", file, tmp_path / ".", without="data/")))
        assert [record.id for record in source] == ["vqa/1", "vqa/3", "vqa/5"]
        assert source[0].talks == (Talk((Turn("How many?", "2"), Turn("Why?", "So."))),)
        assert source[1].talks == (Talk((Turn(f"What colour?\n{SHORT_ANSWER_PROMPT}", "red"),)),)
        assert source.image_path(0) == tmp_path / "p/é.jpg" and source[1].image == tmp_path / "q.jpg"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{nonsense", "is no JSON"),
        (b'{"image": "\xff"}', "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"[1]", "should be an object"),
        ({"image": "a.jpg"}, "needs `conversations`"),
        ({"image": "a.jpg", "question": "How many?", "answer": 3}, "as text"),
        ({"image": "a.jpg", "conversations": []}, "questions and answers in turn"),
        ({"image": "a.jpg", "conversations": said("a", "b", "c")}, "questions and answers in turn"),
        ({"image": "a.jpg", "conversations": said("a", "b")[::-1]}, "message 1: should be `from` 'human', not 'gpt'"),
        ({"image": "a.jpg", "conversations": [1, 2]}, "message 1: should be `from` 'human', not '1'"),
        ({"image": "a.jpg", "conversations": said("a", None)}, "message 2: `value` should be text"),
        ({"image": "a.jpg", "conversations": said("<image>", "b")}, "question 1 is empty"),
        ({"image": "a.jpg", "conversations": said("a", "b", "c", " ")}, "answer 2 is empty"),
        ({"image": "a.jpg", "conversations": said("a", "b", "c", "It is [SEG].")}, "answer 2 holds [SEG]"),
        ({"image": "a.jpg", "question": "a", "answer": "[SEG]"}, "answer 1 holds [SEG]"),
        ({"image": "a.jpg", "conversations": said("<image><image> Which?", "b")}, "several pictures"),
        ({"conversations": said("a", "b")}, "`image` should be the path of one picture"),
        ({"image": ["a.jpg", "b.jpg"], "conversations": said("a", "b")}, "`image` should be the path of one picture"),
    ],
)
def test_broken_lines_are_told_of_by_their_number(tmp_path: Path, line: Any, message: str) -> None:
    fine = {"image": "a.jpg", "conversations": said("a", "b")}
    source = JsonlSource("vqa", write_lines(tmp_path / "a.jsonl", fine, b"", line, fine), tmp_path)
    assert source[0].talks == source[2].talks
    with pytest.raises(DataError, match=r"a\.jsonl, line 3") as fault:
        source[1]
    assert message in str(fault.value)


def test_single_records_are_read_from_where_they_stand(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a.jsonl", *({"n": i, "text": "é" * (i % 7)} for i in range(1000)))
    records = JsonRecords.of_lines(file)
    assert [records.read(i)["n"] for i in (999, 0, 500, -1)] == [999, 0, 500, 999]
    assert len(pickle.dumps(records)) < 30_000  # places only


def test_sets_in_internvls_tree(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="known are vqav2, okvqa, textvqa, vizwiz, gqa"):
        vqa_source(tmp_path, "docvqa")
    for name, (file, pictures) in VQA_SETS.items():
        line = {"image": f"data/{pictures}/a.jpg", "question": "What?", "answer": "it"}
        write_lines(tmp_path / file, line)
        with pytest.raises(DataError, match=f"there is no .*{pictures}(.|\n)*https://"):
            vqa_source(tmp_path, name)
        (tmp_path / pictures).mkdir(parents=True)
        source = vqa_source(tmp_path, name)
        assert source.name == name and source[0].image == tmp_path / pictures / "a.jpg"


def write_test(root: Path, name: str, split: str, line: dict[str, Any], annotations: Any = None) -> VqaTest:
    questions, answers, pictures = VQA_TESTS[name, split]
    write_lines(root / questions, {"image": "data/a.jpg", "question": "How many?", "question_id": 7} | line)
    if answers is not None:
        (root / answers).write_text(json.dumps({"annotations": annotations}))
    (root / pictures).mkdir(parents=True)
    return VqaTest(root, name, split)


def test_questions_of_tests_have_answers_of_people_or_the_right_one(tmp_path: Path) -> None:
    people = [{"question_id": 7, "answers": [{"answer": "2"}] * 9 + [{"answer": 3}]}]
    asked = write_test(tmp_path, "vqav2", "val", {"answer": "not looked at"}, people)[0][0]
    assert (asked.id, asked.given, asked.exact) == ("7", ("2",) * 9 + ("3",), False)
    assert asked.image == tmp_path / "a.jpg" and asked.question == f"How many?\n{SHORT_ANSWER_PROMPT}"
    asked = write_test(tmp_path, "gqa", "testdev", {"answer": "two"})[0][0]
    assert (asked.given, asked.exact) == (("two",), True)


@pytest.mark.parametrize(
    "people", [[], [{"question_id": 8, "answers": [{"answer": "2"}]}], [{"question_id": 7, "answers": []}]]
)
def test_the_answer_of_a_line_does_not_stand_in_for_those_of_people(tmp_path: Path, people: Any) -> None:
    test = write_test(tmp_path, "vqav2", "val", {"answer": "2"}, people)
    with pytest.raises(DataError, match=r"line 1: question 7 has no `answer` in .*v2_mscoco_val2014_annotations\.json"):
        test[0]


def test_without_annotations_a_line_needs_its_answer(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 1: question 7 has no `answer`, which has to be text"):
        write_test(tmp_path, "gqa", "testdev", {"answer": 2})[0]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"llava_instruct_150k\.json(.|\n)*train2017(.|\n)*https://"):
        LlavaSource(tmp_path)
    with pytest.raises(DataError, match="there is no"):
        JsonlSource("vqa", tmp_path / "a.jsonl", tmp_path)


def test_pictures_of_every_mode(tmp_path: Path) -> None:
    lines = [{"image": f"{mode}.jpg", "conversations": said("a", "b")} for mode in ("L", "CMYK", "RGB")]
    for line in lines:
        Image.new(line["image"][:-4], (30, 20)).save(tmp_path / line["image"])
    for record in JsonlSource("vqa", write_lines(tmp_path / "a.jsonl", *lines), tmp_path):
        example = to_example(record, np.random.default_rng(0))
        assert example.image.mode == "RGB" and example.conversations[0].turns == (Turn("a", "b"),)


def test_the_first_entry_of_llava(real_data: Path, tmp_path: Path) -> None:
    sample = real_data / "format_samples/llava_qa/llava_instruct_150k_first_entry.json"
    write_llava(tmp_path, sample.read_bytes())
    record = LlavaSource(tmp_path)[0]
    assert record.image == tmp_path / "coco/train2017/000000033471.jpg"
    assert record.talks[0].turns[0].question == "What are the colors of the bus in the image?"
    assert record.talks[0].turns[0].answer == "The bus in the image is white and red."
    assert len(record.talks[0].turns) == 3


def test_published_lines(tmp_path: Path) -> None:
    """Questions of TextVQA with the text read in the picture, and a model's answers, in InternVL's form."""
    asked = [json.loads(line) for line in (PUBLISHED / "textvqa_val.jsonl").read_text().splitlines()]
    lines = [
        {"image": each["image"], "conversations": said(f"<image>\n{each['text']}", each["answer"])} for each in asked
    ]
    source = JsonlSource("textvqa", write_lines(tmp_path / "a.jsonl", *lines), tmp_path)
    assert len(source) == len(asked) == 8
    for record, each in zip(source, asked, strict=True):
        assert record.talks == (Talk((Turn(each["text"].strip(), each["answer"].strip()),)),)
