"""Questions and answers in words only: LLaVA-Instruct-150k, and VQA sets in the form that InternVL trains on.

    root/
      llava_dataset/llava_instruct_150k.json   one list of {"id", "image", "conversations"}
      coco/train2017/                          its pictures
      vqav2/vqav2_train.jsonl                  one object a line
      vqav2/train2014/                         its pictures; and so on: see VQA_SETS

Such files hold up to half a million records: where each begins is found once, and each is read when it is asked for.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from self1e.conversation import SEG, Turn
from self1e.data.records import DataError, Record, Talk

#: Name -> (file, folder of its pictures), both below the root. The tree is that of InternVL's `data` folder.
VQA_SETS: dict[str, tuple[str, str]] = {
    "vqav2": ("vqav2/vqav2_train.jsonl", "vqav2/train2014"),
    "okvqa": ("okvqa/okvqa_train.jsonl", "okvqa/train2014"),
    "textvqa": ("textvqa/textvqa_train.jsonl", "textvqa/train_images"),
    "vizwiz": ("vizwiz/vizwiz_train.jsonl", "vizwiz/train"),
    "gqa": ("gqa/train_balanced.jsonl", "gqa/images"),
}

#: (name, split) -> (questions, annotations with the answers of people or None, pictures), below the root.
VQA_TESTS: dict[tuple[str, str], tuple[str, str | None, str]] = {
    ("vqav2", "val"): ("vqav2/vqav2_val.jsonl", "vqav2/v2_mscoco_val2014_annotations.json", "vqav2/val2014"),
    ("okvqa", "val"): ("okvqa/okvqa_val.jsonl", "okvqa/mscoco_val2014_annotations.json", "okvqa/val2014"),
    ("textvqa", "val"): ("textvqa/textvqa_val.jsonl", "textvqa/textvqa_val_annotations.json", "textvqa/train_images"),
    ("vizwiz", "val"): ("vizwiz/vizwiz_val.jsonl", "vizwiz/vizwiz_val_annotations.json", "vizwiz/val"),
    ("gqa", "testdev"): ("gqa/testdev_balanced.jsonl", None, "gqa/images"),
}

#: What InternVL adds to the questions of VQA sets, whose answers are a word or two.
SHORT_ANSWER_PROMPT = "Answer the question using a single word or phrase."

_LLAVA_PAGE = "https://huggingface.co/datasets/liuhaotian/LLaVA-Instruct-150K"
_VQA_PAGE = "https://internvl.readthedocs.io/en/latest/get_started/eval_data_preparation.html"

_IMAGE_MARKER = re.compile(r"\s*<image>\s*")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_USER, _MODEL = ("human", "user"), ("gpt", "assistant")


@dataclass(frozen=True)
class JsonRecords:
    """The JSON objects of a file, of which only the places are kept.

    Attributes:
        path: The file.
        unit: What one is called in messages: "line" or "entry".
        starts: Where each begins, bytes.
        ends: Where each ends, bytes.
        numbers: What each is called by, counted from 1.
    """

    path: Path
    unit: str
    starts: array[int]
    ends: array[int]
    numbers: array[int]

    @classmethod
    def of_lines(cls, path: Path) -> JsonRecords:
        """One object a line; empty lines are passed over.

        Raises:
            DataError: When the file cannot be read.
        """
        starts, ends, numbers = array("q"), array("q"), array("q")
        try:
            with path.open("rb") as file:
                place = 0
                for number, line in enumerate(file, start=1):
                    if line.strip():
                        starts.append(place)
                        ends.append(place + len(line))
                        numbers.append(number)
                    place += len(line)
        except OSError as error:
            raise DataError(f"cannot read {path} ({error.strerror or error}): check the path") from error
        return cls(path, "line", starts, ends, numbers)

    @classmethod
    def of_list(cls, path: Path) -> JsonRecords:
        """The entries of one list.

        Raises:
            DataError: When the file cannot be read, or is no such list.
        """
        starts, ends = array("q"), array("q")
        try:
            # In latin-1 a character is a byte, so that places in the text are places in the file; what stands in
            # strings is not looked at.
            text = path.read_bytes().decode("latin-1")
            place = _expect(text, "[", 3 if text.startswith(_BYTE_ORDER_MARK.decode("latin-1")) else 0)
            decode, space = json.JSONDecoder().raw_decode, re.compile(r"\s*")
            while not text.startswith("]", place):
                if starts:
                    place = _expect(text, ",", place)
                _, end = decode(text, place)
                starts.append(place)
                ends.append(end)
                place = space.match(text, end).end()  # type: ignore[union-attr]
            if text[place + 1 :].strip():
                raise ValueError(f"something follows the end of the list at byte {place}")
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"cannot read {path} as a JSON list ({error}): download it again") from error
        return cls(path, "entry", starts, ends, array("q", range(1, len(starts) + 1)))

    def __len__(self) -> int:
        return len(self.starts)

    def where(self, index: int) -> str:
        """The file and the line, for messages."""
        return f"{self.path}, {self.unit} {self.numbers[index]}"

    def read(self, index: int) -> dict[str, Any]:
        """Reads one from the file.

        Raises:
            DataError: When it is no JSON object.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self.starts[index])
                tree = json.loads(file.read(self.ends[index] - self.starts[index]))
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{self.where(index)}: is no JSON ({error})") from error
        if not isinstance(tree, dict):
            raise DataError(f"{self.where(index)}: should be an object {{...}}, not {type(tree).__name__}")
        return tree


class JsonlSource:
    """Conversations in words in InternVL's form, one record a line, in the order of the file.

    A line is {"image": path, "conversations": [{"from": "human", "value": ...}, {"from": "gpt", "value": ...}, ...]},
    or, as in the VQA sets that InternVL's documentation links to, {"image": path, "question": ..., "answer": ...}, to
    whose question `SHORT_ANSWER_PROMPT` is added. Other keys (id, width, height, ...) are left aside.
    """

    def __init__(self, name: str, file: Path, image_root: Path, *, without: str = "") -> None:
        """Finds the lines.

        Args:
            name: What settings and reports call it.
            file: The JSONL file.
            image_root: The folder that the paths of pictures begin at.
            without: What is taken off the front of the paths of pictures.

        Raises:
            DataError: When the file or the folder is missing.
        """
        self.name = name
        self._image_root, self._without = Path(image_root), without
        for path in (Path(file), self._image_root):
            if not path.exists():
                raise DataError(
                    f"there is no {path}: {name} needs {file}, one JSON object a line, and pictures below {image_root}"
                )
        self._records = JsonRecords.of_lines(Path(file))

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Record:
        tree, where = self._records.read(index), self._records.where(index)
        if "conversations" in tree:
            pairs = exchanges(tree["conversations"], where)
        elif isinstance(tree.get("question"), str) and isinstance(tree.get("answer"), str):
            pairs = [(f"{tree['question'].strip()}\n{SHORT_ANSWER_PROMPT}", tree["answer"].strip())]
        else:
            raise DataError(f"{where}: needs `conversations`, or `question` and `answer` as text")
        record_id = f"{self.name}/{self._records.numbers[index]}"
        return Record(record_id, self._picture(tree, where), (), (words_only(pairs, where),))

    def image_path(self, index: int) -> Path:
        return self._picture(self._records.read(index), self._records.where(index))

    def _picture(self, tree: dict[str, Any], where: str) -> Path:
        return self._image_root / image_name(tree, where).removeprefix(self._without)


class LlavaSource:
    """LLaVA-Instruct-150k: conversations, descriptions and reasoning about COCO pictures, in the order of the file."""

    def __init__(self, root: Path) -> None:
        """Finds the entries.

        Args:
            root: The folder that holds `llava_dataset` and `coco`.

        Raises:
            DataError: When the file or the pictures are missing, or the file is no JSON list.
        """
        self.name = "llava_instruct_150k"
        file = Path(root) / "llava_dataset" / "llava_instruct_150k.json"
        self._pictures = Path(root) / "coco" / "train2017"
        for path in (file, self._pictures):
            if not path.exists():
                raise DataError(
                    f"there is no {path}: LLaVA-Instruct-150k is expected as\n"
                    f"  {root}/\n    llava_dataset/{file.name}\n    coco/train2017/*.jpg\n"
                    f"Get it from {_LLAVA_PAGE}, the pictures from https://cocodataset.org"
                )
        self._records = JsonRecords.of_list(file)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Record:
        tree, where = self._records.read(index), self._records.where(index)
        talk = words_only(exchanges(tree.get("conversations"), where), where)
        image = self._pictures / image_name(tree, where)
        return Record(f"{self.name}/{self._records.numbers[index]}", image, (), (talk,))

    def image_path(self, index: int) -> Path:
        return self._pictures / image_name(self._records.read(index), self._records.where(index))


def vqa_source(root: Path, name: str) -> JsonlSource:
    """One of `VQA_SETS`. The published files write paths like "data/vqav2/train2014/...", where data is the root here.

    Raises:
        DataError: When there is no set of this name, or it is not below `root`.
    """
    if name not in VQA_SETS:
        raise DataError(f"there is no VQA set {name!r}: known are {', '.join(VQA_SETS)}")
    file, pictures = (Path(root) / path for path in VQA_SETS[name])
    for path in (file, pictures):
        if not path.exists():
            raise DataError(
                f"there is no {path}: {name} is expected as\n"
                f"  {root}/\n    {VQA_SETS[name][0]}\n    {VQA_SETS[name][1]}/\n"
                f"Get it from {_VQA_PAGE}"
            )
    return JsonlSource(name, file, Path(root), without="data/")


@dataclass(frozen=True)
class Question:
    """A question of a test, and what people answered: ten of them, or, with `exact`, the one right answer.

    `kind` is the type of the answer where the annotations name it, as VQAv2's do: "yes/no", "number" or "other".
    """

    id: str
    image: Path
    question: str
    given: tuple[str, ...]
    exact: bool
    kind: str = ""


class VqaTest:
    """A test of `VQA_TESTS`: a JSONL file of {"image", "question", "question_id"}, and what people answered.

    That is in a file of the VQA challenge, {"annotations": [{"question_id", "answers": [{"answer"}, ...]}, ...]}, where
    "answer_type" may stand beside the answers; or, as in GQA, the "answer" of the line itself, which is compared word
    for word.
    """

    def __init__(self, root: Path, name: str, split: str) -> None:
        """Finds the lines, and reads the answers.

        Raises:
            DataError: When there is no such test, a file is missing, or the annotations are not of the expected form.
        """
        if (name, split) not in VQA_TESTS:
            known = ", ".join("|".join(each) for each in VQA_TESTS)
            raise DataError(f"there is no VQA test {name}|{split}: known are {known}")
        questions, annotations, pictures = VQA_TESTS[name, split]
        self.name = f"{name}_{split}"
        self._root = Path(root)
        for path in (questions, annotations, pictures):
            if path is not None and not (self._root / path).exists():
                raise DataError(f"there is no {self._root / path}, which {name}|{split} needs: get it from {_VQA_PAGE}")
        self._records = JsonRecords.of_lines(self._root / questions)
        self._annotations = None if annotations is None else self._root / annotations
        self._given = {} if self._annotations is None else _answers_of_people(self._annotations)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Question:
        """A question.

        Raises:
            DataError: When the line is broken, or nobody answered it.
        """
        tree, where = self._records.read(index), self._records.where(index)
        question, number = tree.get("question"), str(tree.get("question_id", self._records.numbers[index]))
        if not isinstance(question, str):
            raise DataError(f"{where}: `question` has to be text")
        kind = ""
        if self._annotations is not None:
            given, kind = self._given.get(number, ((), ""))
            if not given:
                raise DataError(
                    f"{where}: question {number} has no `answer` in {self._annotations}: download both again"
                )
        elif isinstance(tree.get("answer"), str):
            given = (tree["answer"],)
        else:
            raise DataError(f"{where}: question {number} has no `answer`, which has to be text")
        image = self._root / image_name(tree, where).removeprefix("data/")
        asked = question.strip()
        if not asked.endswith(SHORT_ANSWER_PROMPT):
            asked = f"{asked}\n{SHORT_ANSWER_PROMPT}"
        return Question(number, image, asked, given, exact=self._annotations is None, kind=kind)


def _answers_of_people(path: Path) -> dict[str, tuple[tuple[str, ...], str]]:
    """The answers, and their type or "", by question."""
    try:
        tree = json.loads(path.read_text("utf-8"))
        return {
            str(entry["question_id"]): (
                tuple(str(each["answer"]) for each in entry["answers"]),
                str(entry.get("answer_type", "")),
            )
            for entry in tree["annotations"]
        }
    except (OSError, ValueError, TypeError, KeyError) as error:
        form = "the VQA challenge's form (annotations, question_id, answers)"
        raise DataError(f"{path} is not of {form}: {error}") from error


def exchanges(messages: Any, where: str) -> list[tuple[str, str]]:
    """Messages [{"from": "human", "value": ...}, {"from": "gpt", "value": ...}, ...] as (question, answer) pairs.

    The marker `<image>`, which says where the picture goes, is taken out of questions.

    Raises:
        DataError: When they are not question and answer in turn, or are about several pictures.
    """
    if not isinstance(messages, list) or not messages or len(messages) % 2:
        raise DataError(f"{where}: `conversations` should be questions and answers in turn, not {str(messages)[:60]}")
    said = [_value(each, _MODEL if i % 2 else _USER, f"{where}, message {i + 1}") for i, each in enumerate(messages)]
    if sum(text.count("<image>") for text in said[::2]) > 1:
        raise DataError(f"{where}: is about several pictures, of which a record can hold one only")
    questions = [_without_marker(text) for text in said[::2]]
    return list(zip(questions, (text.strip() for text in said[1::2]), strict=True))


def words_only(pairs: Sequence[tuple[str, str]], where: str) -> Talk:
    """A talk, once it is sure that all say something and no answer holds `[SEG]`, which would become the token.

    Raises:
        DataError: When it is not so.
    """
    for number, (question, answer) in enumerate(pairs, start=1):
        if not question or not answer:
            raise DataError(f"{where}: {'answer' if question else 'question'} {number} is empty")
        if SEG in answer:
            raise DataError(f"{where}: answer {number} holds {SEG}, which points at a mask, but there are words only")
    return Talk(tuple(Turn(question, answer) for question, answer in pairs))


def image_name(tree: dict[str, Any], where: str) -> str:
    """The path of the picture as it stands in a record.

    Raises:
        DataError: When there is none.
    """
    name = tree.get("image")
    if not isinstance(name, str) or not name.strip():
        raise DataError(f"{where}: `image` should be the path of one picture, not {str(name)[:60]!r}")
    return name


def _value(message: Any, speakers: Sequence[str], where: str) -> str:
    if not isinstance(message, dict) or message.get("from") not in speakers:
        speaker = message.get("from") if isinstance(message, dict) else message
        raise DataError(f"{where}: should be `from` {speakers[0]!r}, not {str(speaker)[:60]!r}")
    if not isinstance(message.get("value"), str):
        raise DataError(f"{where}: `value` should be text, not {str(message.get('value'))[:60]!r}")
    return message["value"]


def _without_marker(text: str) -> str:
    return _IMAGE_MARKER.sub(lambda found: "\n" if "\n" in found[0] else " ", text).strip()


def _expect(text: str, mark: str, place: int) -> int:
    """The place of the first character after the mark and the white space around it."""
    found = re.compile(rf"\s*{re.escape(mark)}\s*").match(text, place)
    if found is None:
        raise ValueError(f"byte {place} should be {mark!r}")
    return found.end()
