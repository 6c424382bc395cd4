"""Sets of visual question answering, in the form that InternVL trains and tests on.

root/
  vqav2/vqav2_train.jsonl                  one object a line
  vqav2/train2014/                         its pictures; and so on: see VQA_SETS
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from self1e.data.json_records import JsonRecords, image_name, read_json
from self1e.data.records import DataError
from self1e.data.words import JsonlSource
from self1e.processing.prompts import SHORT_ANSWER_PROMPT

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

_PAGE = "https://internvl.readthedocs.io/en/latest/get_started/eval_data_preparation.html"


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
                f"Get it from {_PAGE}"
            )
    return JsonlSource(name, file, Path(root), without="data/")


@dataclass(frozen=True)
class Question:
    """A question of a test, and what people answered: ten of them, or, with `exact`, the one right answer.

    `kind` is what figures are sorted by, "" if nothing: the type of the answer where annotations name it, as VQAv2's do
    ("yes/no", "number" or "other").
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
                raise DataError(f"there is no {self._root / path}, which {name}|{split} needs: get it from {_PAGE}")
        self._records = JsonRecords.of_lines(self._root / questions)
        self._annotations = None if annotations is None else self._root / annotations
        self._given = {} if self._annotations is None else _answers_of_people(self._annotations)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> tuple[Question]:
        """The question of a line.

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
        return (Question(number, image, asked, given, exact=self._annotations is None, kind=kind),)


def _answers_of_people(path: Path) -> dict[str, tuple[tuple[str, ...], str]]:
    """The answers, and their type or "", by question."""
    fault = "{path} is not of the VQA challenge's form (annotations, question_id, answers): {error}"
    tree = read_json(path, fault)
    try:
        return {
            str(entry["question_id"]): (
                tuple(str(each["answer"]) for each in entry["answers"]),
                str(entry.get("answer_type", "")),
            )
            for entry in tree["annotations"]
        }
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(fault.format(path=path, error=error)) from error
