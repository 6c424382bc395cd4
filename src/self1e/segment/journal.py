"""What runs over many pictures have done, written down as they go, so that the same command goes on from there.

`done.jsonl`, in the folder of results, is only ever added to. A line is on the disk before its picture counts as done:

    {"run": ID, "settings": {...}}                                     a run begins, or begins anew
    {"run": ID, "picture": "a.jpg", "stamp": ..., "files": {...}, ...}   a picture is done, and its files are whole
    {"run": ID, "picture": "b.jpg", "failed": "b.jpg is empty: ..."}     it cannot be done
    {"run": ID, "files": {...}}                                        files of all pictures together

A run is known by its settings. Others may write into the same folder, even at the same time: each file belongs to the
line that named it last. A stamp is the size and time of a file, by which a change is noticed.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from self1e.files import locked

JOURNAL_NAME = "done.jsonl"

ENDS = {".json": b"}", ".parquet": b"PAR1", ".png": b"\0\0\0\0IEND\xaeB`\x82"}
"""How files end that are not cut short."""

LARGEST_PARSED = 2**26
"""Bytes. Of a larger JSON file only the end is looked at: what is read of it takes several times its size in memory."""

Stamp = list[Any]


class Journal:
    """The lines about one run, and what can be said of files by all lines.

    Attributes:
        run: Its id, made of its settings.
        begun: Whether it was started before.
        done: What is known of pictures that are done, by name; what is large of it, `whole` reads again.
        failed: Why others could not be done, by run and name: of all runs.
        prompts: What each run asked for.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], anew: bool = False) -> None:
        """Reads what is there, and writes nothing yet.

        Args:
            folder: Of results.
            settings: Ready for JSON; all that results depend on but the pictures.
            anew: Whether what the run did before does not count.

        Raises:
            ValueError: When the file is not one of ours.
            OSError: When it cannot be read.
        """
        self.folder = folder
        self._path = folder / JOURNAL_NAME
        self._settings = json.loads(json.dumps(settings))
        self.run = hashlib.sha256(json.dumps(self._settings, sort_keys=True).encode()).hexdigest()[:16]
        self.read()
        self._to_begin = anew or not self.begun
        if anew:
            self.done.clear()

    def read(self) -> None:
        """Reads what is there by now; see `__init__`."""
        self.begun = False
        self.done: dict[str, dict[str, Any]] = {}
        self.failed: dict[tuple[str, str], str] = {}
        self.prompts: dict[str, list[str]] = {}
        self._owners: dict[str, tuple[str, Stamp]] = {}
        self._places: dict[str, int] = {}
        for place, line in self._lines():
            try:
                entry = json.loads(line)
                run = sys.intern(entry["run"])
            except (ValueError, TypeError, KeyError):
                if not place:
                    raise ValueError(f"{self._path} is no list of what self1e has done: move it away") from None
                continue  # cut short when the power failed
            if "settings" in entry:
                self.prompts[run] = entry["settings"].get("prompts", [])
            for file, stamp in entry.get("files", {}).items():
                self._owners[file] = (run, stamp)
            if "picture" in entry:
                self.failed.pop((run, entry["picture"]), None)
            if "failed" in entry:
                self.failed[run, entry["picture"]] = entry["failed"]
            if run == self.run:
                self._take(entry, place)

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """Each line, and where it begins. There may be a million, and more of them than the memory holds."""
        place = 0
        with suppress(FileNotFoundError), self._path.open("rb") as file:
            for line in file:
                yield place, line
                place += len(line)

    def _take(self, entry: dict[str, Any], place: int) -> None:
        if "settings" in entry:
            self.begun = True
            self.done.clear()
        elif "picture" in entry:
            self.done.pop(entry["picture"], None)
            if "failed" not in entry:
                self._places[entry["picture"]] = place
                small = entry.keys() - {"run", "picture", "whole"}
                self.done[entry["picture"]] = {sys.intern(key): entry[key] for key in small}

    # --------------------------------------------------------------------------------------------------- looking

    def whole(self, pictures: Iterable[str]) -> Iterator[dict[str, Any]]:
        """What files of the whole set need of pictures that are done, one after the other, by form."""
        with self._path.open("rb") as file:
            for picture in pictures:
                file.seek(self._places[picture])
                yield json.loads(file.readline())["whole"]

    def stands(self, picture: str, stamp: Stamp | None) -> bool:
        """Whether a picture is done: it has not changed, and neither is one of its files missing nor cut short."""
        entry = self.done.get(picture)
        return (
            entry is not None
            and entry["stamp"] == stamp
            and all(self.is_ours(self.folder / file) and is_whole(self.folder / file) for file in entry["files"])
        )

    def is_ours(self, file: Path) -> bool:
        """Whether this run may have written a file, and no other run has since."""
        owner = self._owners.get(self._key(file))
        return self.begun if owner is None else owner[0] == self.run

    def changed(self, file: Path) -> bool:
        """Whether someone else has changed a file that this run wrote; one that is cut short is none that counts."""
        owner = self._owners.get(self._key(file))
        now = stamp_of(file)
        return owner is not None and None is not now != owner[1] and is_whole(file)

    def _key(self, file: Path) -> str:
        return file.relative_to(self.folder).as_posix()

    # --------------------------------------------------------------------------------------------------- writing

    @property
    def exists(self) -> bool:
        """Whether anything is written down, by this run or another."""
        return self._path.exists()

    def begin(self) -> None:
        """Writes down that the run begins, if it does not go on: from now on it may write its files."""
        if self._to_begin:
            self._to_begin = False
            self._add({"settings": self._settings})

    def add_done(
        self, picture: str, stamp: Stamp | None, files: Mapping[Path, Stamp | None], about: Mapping[str, Any]
    ) -> None:
        """Writes down that a picture is done. Its files are written, and have these stamps."""
        own = {self._key(file): of_file for file, of_file in files.items()}
        self._add({"picture": picture, "stamp": stamp, "files": own, **about})

    def add_failed(self, picture: str, reason: str) -> None:
        """Writes down why a picture could not be done."""
        self._add({"picture": picture, "failed": reason})

    def add_whole(self, files: Iterable[Path]) -> None:
        """Writes down that files of all pictures together are written."""
        self._add({"files": {self._key(file): stamp_of(file) for file in files}})

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps other runs from writing files of all pictures together at the same time."""
        with self._path.open("ab") as file, locked(file):
            yield

    def _add(self, entry: dict[str, Any]) -> None:
        self.begin()
        line = json.dumps({"run": self.run, **entry}).encode() + b"\n"
        with self._path.open("ab+", buffering=0) as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                line = line if file.read(1) == b"\n" else b"\n" + line  # the last one was cut short
            file.write(line)  # in one piece: lines of runs side by side do not mix
            os.fsync(file.fileno())


def stamp_of(file: Path) -> Stamp | None:
    """Size and time of a file; None if there is none."""
    try:
        status = file.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def is_whole(file: Path) -> bool:
    """Whether a file is there and not cut short, as far as its form tells."""
    try:
        if file.suffix == ".json" and file.stat().st_size <= LARGEST_PARSED:
            json.loads(file.read_bytes())
        elif end := ENDS.get(file.suffix):
            with file.open("rb") as content:
                content.seek(-len(end) - 1, os.SEEK_END)
                return content.read().rstrip(b"\n").endswith(end)
        return file.is_file()
    except (OSError, ValueError):
        return False
