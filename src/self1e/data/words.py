"""Questions and answers in words only: LLaVA-Instruct-150k, and conversations in the form that InternVL trains on.

root/
  llava_dataset/llava_instruct_150k.json   one list of {"id", "image", "conversations"}
  coco/train2017/                          its pictures
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from self1e.data.json_records import JsonRecords, exchanges, image_name, words_only
from self1e.data.records import DataError, Record
from self1e.processing.prompts import SHORT_ANSWER_PROMPT

_PAGE = "https://huggingface.co/datasets/liuhaotian/LLaVA-Instruct-150K"


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
                    f"Get it from {_PAGE}, the pictures from https://cocodataset.org"
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
