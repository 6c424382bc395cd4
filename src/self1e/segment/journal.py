"""What runs over many pictures have done, written down as they go, so that the same command goes on from there.

`done.jsonl`, in the folder of results, is only ever added to. A line is on the disk before its picture counts as done:

    {"run": ID, "settings": {...}, "labels": [...]}    a run begins, or begins anew
    {"run": ID, "labels": [...]}                        more is to be segmented than before
    {"run": ID, "plans": [FILE, ...]}                   these files are going to be written
    {"run": ID, "picture": "a.jpg", "stamp": ..., "files": {FILE: STAMP, ...}, ...}    it is done, its files are whole
    {"run": ID, "picture": "b.jpg", "failed": "b.jpg is empty: ...", ...}               it cannot be done
    {"run": ID, "files": {FILE: STAMP, ...}, "holds": ...}    files of all pictures together, and of which

A run is known by its settings. Others may write into the same folder, even at the same time: each file belongs to the
line that named it last, and one that no line names to somebody else. A stamp is the size and time of a file, by which a
change is noticed; it is empty where there was none.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import contextmanager, suppress
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from self1e.files import locked

JOURNAL_NAME = "done.jsonl"

ENDS = {".json": b"}", ".parquet": b"PAR1", ".png": b"\0\0\0\0IEND\xaeB`\x82"}
"""How files end that are not cut short."""

LARGEST_PARSED = 2**26
"""Bytes. Of a larger JSON file only the end is looked at: what is read of it takes several times its size in memory."""

Stamp = list[Any]

_OF_DONE, _OF_FAILED = ("stamp", "files", "found", "model", "stem", "source"), ("failed", "prompts", "source")

State = Literal["free", "ours", "corrected", "foreign"]
"""Of a file: not there; written by this run; the same, and changed since by someone else; written by anyone else."""


class Journal:
    """The lines about one run, and what can be said of files by all lines.

    Attributes:
        run: Its id, made of its settings.
        labels: All that it was ever asked for, in the order of their numbers in its results.
        done: What is known of pictures that are done, by name; what is large of it, `whole` reads again.
        failed: What is known of others, by run and name: of all runs.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], anew: bool = False) -> None:
        """Reads what is there, and writes nothing yet.

        Args:
            folder: Of results.
            settings: Ready for JSON; all that results depend on but the pictures, and what is asked of each. The
                "folder" is that below which pictures are named.
            anew: Whether what the run did before does not count.

        Raises:
            ValueError: When the file is not one of ours.
            OSError: When it cannot be read.
        """
        self.folder = folder
        self._path = folder / JOURNAL_NAME
        self._settings = json.loads(json.dumps(settings))
        self.run = hashlib.sha256(json.dumps(self._settings, sort_keys=True).encode()).hexdigest()[:16]
        self.failed: dict[tuple[str, str], dict[str, Any]] = {}
        self._folders = {self.run: Path(settings["folder"])}
        self._owners: dict[str, tuple[str, Stamp | None]] = {}
        self._end = 0
        self._forget()
        self.read()
        self._anew = anew
        self._opening: Iterable[dict[str, Any]] | None = None
        if anew:
            self._forget()

    def _forget(self) -> None:
        self.begun, self.holds = False, ""
        self.labels: list[str] = []
        self.done: dict[str, dict[str, Any]] = {}
        self._places: dict[str, int] = {}

    def read(self) -> None:
        """Reads what has come since it was read; see `__init__`."""
        for place, end, entry in _entries(self._path, self._end):
            try:
                self._take(entry, place)
            except (TypeError, KeyError, AttributeError):
                if not place:
                    raise ValueError(f"{self._path} is no list of what self1e has done: move it away") from None
            self._end = end  # what is no line of ours was cut short when the power failed

    def _take(self, entry: dict[str, Any], place: int) -> None:
        """Raises one of some errors, and does nothing, if it is no line of ours."""
        run, picture = sys.intern(entry["run"]), entry.get("picture")
        if not isinstance(picture, str | None):
            raise TypeError(f"{picture!r} is no name of a picture")
        files: dict[str, Stamp | None] = {**dict.fromkeys(entry.get("plans", ())), **entry.get("files", {})}
        keys = _OF_FAILED if "failed" in entry else _OF_DONE
        about = {key: entry[key] for key in keys} if picture else {}
        if "settings" in entry:
            self._folders[run] = Path(entry["settings"]["folder"])
            self.failed = {key: failure for key, failure in self.failed.items() if key[0] != run}
            if run == self.run:
                self._forget()
                self.begun = True
        self._owners.update((file, (run, stamp)) for file, stamp in files.items())
        if picture:
            self.failed.pop((run, picture), None)
            if "failed" in entry:
                self.failed[run, picture] = about
        if run != self.run:
            return
        self.labels = entry.get("labels", self.labels)
        self.holds = entry.get("holds", self.holds)
        if picture:
            self.done.pop(picture, None)
            if "failed" not in entry:
                self.done[picture], self._places[picture] = about, place

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
        if entry is None or entry["stamp"] != stamp:
            return False
        files = [self.folder / file for file in entry["files"]]
        return all(is_whole(file) and self.state(file) in ("ours", "corrected") for file in files)

    def state(self, file: Path, of_any: bool = False) -> State:
        """Whose a file is. One that is cut short was changed by nobody.

        Args:
            file: Below the folder of results.
            of_any: Whether what any run wrote is "ours".
        """
        run, stamp = self._owners.get(self._key(file), ("", None))
        if not os.path.lexists(file):
            return "free"
        if not run or stamp == [] or not (of_any or run == self.run):
            return "foreign"
        return "corrected" if stamp not in (None, stamp_of(file, link=True)) and is_whole(file) else "ours"

    def in_order(self, planned: Set[str]) -> list[str]:
        """Names of what is done of these pictures, and of others that are still there."""
        there = (name for name, entry in self.done.items() if name in planned or self._is_there(self.run, name, entry))
        return sorted(there, key=PurePosixPath)

    def failures(self, planned: Set[str]) -> list[tuple[str, str, str]]:
        """Name, prompts and reason of what failed of these pictures, and of others, of all runs, still there."""
        return [
            (name, "; ".join(entry["prompts"]), entry["failed"])
            for (run, name), entry in self.failed.items()
            if (run == self.run and name in planned) or self._is_there(run, name, entry)
        ]

    def _is_there(self, run: str, picture: str, entry: dict[str, Any]) -> bool:
        """Whether there is still a file; where there was none, that cannot be known."""
        return bool(entry["source"]) or (self._folders[run] / picture).exists()

    def digest(self, pictures: Iterable[str]) -> str:
        """What tells files of these pictures together from others: names, and where the lines of these are."""
        found = hashlib.sha256()
        for name in pictures:
            found.update(f"{name!a} {self._places[name]}\n".encode())
        return found.hexdigest()[:16]

    def _key(self, file: Path) -> str:
        return file.relative_to(self.folder).as_posix()

    # --------------------------------------------------------------------------------------------------- writing

    @property
    def exists(self) -> bool:
        """Whether anything is written down, by this run or another."""
        return self._path.exists()

    def prepare(self, labels: list[str], files: Iterable[Iterable[Path]]) -> None:
        """Says what `begin` writes down: the order of labels, and what files are going to be written."""
        self._labels = labels
        self._opening = ({"plans": [self._key(file) for file in some]} for some in files)

    def begin(self) -> None:
        """Writes down that the run begins, or goes on: from now on it may write its files.

        Raises:
            ValueError: When another one has meanwhile begun with other labels.
        """
        if self._opening is None:
            return
        opening, self._opening = self._opening, None
        with self.alone():
            self.read()
            if self._anew or not self.begun:
                self._add(chain([{"settings": self._settings, "labels": self._labels}], opening))
            elif self.labels == self._labels[: len(self.labels)]:
                self._add(chain([{"labels": self._labels}] if self.labels != self._labels else [], opening))
            else:
                raise ValueError(f"another run into {self.folder} has just begun with other prompts: start again")

    def add_done(
        self, picture: str, stamp: Stamp | None, files: Mapping[Path, Stamp | None], about: Mapping[str, Any]
    ) -> None:
        """Writes down that a picture is done. Its files are written, and have these stamps; None: that of before."""
        self.begin()
        self._add([{"picture": picture, "stamp": stamp, "files": self._stamps(files), **about}])

    def add_failed(
        self, picture: str, reason: str, files: Mapping[Path, Stamp | None], about: Mapping[str, Any]
    ) -> None:
        """Writes down why a picture could not be done, and which of its files are there; see `add_done`."""
        self.begin()
        self._add([{"picture": picture, "failed": reason, "files": self._stamps(files), **about}])

    def add_plan(self, files: Iterable[Path]) -> None:
        """Writes down that files are going to be written."""
        self._add([{"plans": [self._key(file) for file in files]}])

    def add_whole(self, files: Iterable[Path], holds: str | None = None) -> None:
        """Writes down that files of all pictures together are written, or are gone; see `digest`."""
        stamps = self._stamps({file: stamp_of(file, link=True) or [] for file in files})
        self._add([{"files": stamps} | ({} if holds is None else {"holds": holds})])

    def _stamps(self, files: Mapping[Path, Stamp | None]) -> dict[str, Stamp | None]:
        """By name; None: that of before."""
        named = ((self._key(file), stamp) for file, stamp in files.items())
        return {name: self._owners[name][1] if stamp is None else stamp for name, stamp in named}

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps other runs from writing files of all pictures together at the same time."""
        with self._path.open("ab") as file, locked(file):
            yield

    def _add(self, entries: Iterable[dict[str, Any]]) -> None:
        lines = (json.dumps({"run": self.run, **entry}).encode() + b"\n" for entry in entries)
        with self._path.open("ab+", buffering=0) as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")  # the last one was cut short
            while some := b"".join(islice(lines, 1000)):
                file.write(some)  # in one piece: lines of runs side by side do not mix
            os.fsync(file.fileno())


def written_in(folder: Path) -> Set[str]:
    """The files that runs into a folder have written or were going to, relative to it."""
    found: set[str] = set()
    for _, _, entry in _entries(folder / JOURNAL_NAME):
        with suppress(TypeError, AttributeError):  # no line of ours
            found.update(entry.get("plans", ()), entry.get("files", ()))
    return found


def _entries(path: Path, start: int = 0) -> Iterator[tuple[int, int, Any]]:
    """Each line from a place on: where it begins, where the next one does, and what it holds; None if it is cut short.

    There may be a million, and more of them than the memory holds.
    """
    with suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(start)
        for line in file:
            try:
                entry = json.loads(line)
            except ValueError:
                entry = None
            end = start + len(line)
            # One without an end may be being written.
            yield start, end if entry is not None or line.endswith(b"\n") else start, entry
            start = end


def stamp_of(file: Path, link: bool = False) -> Stamp | None:
    """Size and time of a file, or of the `link` to it itself; None if there is none."""
    try:
        status = file.stat(follow_symlinks=not link)
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def is_whole(file: Path) -> bool:
    """Whether a file is there and not cut short, as far as its form tells."""
    try:
        if file.is_symlink():  # to what somebody else made
            return file.exists()
        if file.suffix == ".json" and file.stat().st_size <= LARGEST_PARSED:
            json.loads(file.read_bytes())
        elif end := ENDS.get(file.suffix):
            with file.open("rb") as content:
                content.seek(-len(end) - 1, os.SEEK_END)
                return content.read().rstrip(b"\n").endswith(end)
        return file.is_file()
    except (OSError, ValueError):
        return False
