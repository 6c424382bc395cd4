"""JSON as the field's files hold it: whole files, files of many records, and what records of conversations say.

Files of records hold up to half a million of them: where each begins is found once, and each is read when it is asked
for.
"""

from __future__ import annotations

import codecs
import json
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from self1e.conversation import SEG, Turn
from self1e.data.records import DataError, Talk

_IMAGE_MARKER = re.compile(r"\s*<image>\s*")
_BYTE_ORDER_MARK = codecs.BOM_UTF8
_BLANK = b" \t\r\n\0" + codecs.BOM_UTF8 + codecs.BOM_UTF16_LE
"""Bytes of which empty lines consist."""

_USER, _MODEL = ("human", "user"), ("gpt", "assistant")


def read_json(path: Path, fault: str = "cannot read {path} ({error}): download it again, it may be cut short") -> Any:
    """The content of a JSON file in Unicode or, as some of the published ones are, in Windows-1252.

    Args:
        path: The file.
        fault: What to say of one that cannot be read.

    Raises:
        DataError: When it is neither, no JSON, or cannot be read.
    """
    try:
        content = path.read_bytes()
        try:
            return json.loads(content)
        except UnicodeDecodeError:
            return json.loads(content.decode("cp1252"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(fault.format(path=path, error=error)) from error


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
        """One object a line, in UTF-8, or in UTF-16 with its mark; empty lines are passed over.

        Raises:
            DataError: When the file cannot be read.
        """
        starts, ends, numbers = array("q"), array("q"), array("q")
        try:
            with path.open("rb") as file:
                place = 0
                for number, line in enumerate(_lines(file), start=1):
                    if line.strip(_BLANK):
                        starts.append(place)
                        ends.append(place + len(line))
                        numbers.append(number)
                    place += len(line)
        except OSError as error:
            raise DataError(f"cannot read {path} ({error.strerror or error}): check the path") from error
        except UnicodeDecodeError as error:
            raise DataError(f"cannot read {path}, which begins as UTF-16 ({error}): save it as UTF-8") from error
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


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines of a file as they are encoded there."""
    mark = file.read(2)
    file.seek(0)
    encoding = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}.get(mark)
    if encoding is None:
        yield from file
    else:  # PowerShell's; the mark stays in front of the first line
        yield from (line.encode(encoding) for line in re.findall(r"[^\n]*\n|[^\n]+", file.read().decode(encoding)))


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
