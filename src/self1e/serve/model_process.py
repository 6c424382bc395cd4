"""A process with the model: takes what has come together while it was busy, and answers it in shared passes.

    listening   takes jobs from the pipe, and has threads read pictures that are not known
    model       takes all jobs that are there: each picture is encoded once, prompts share passes
    threads     pack answers and send them

Nobody waits for more jobs to come: an idle model begins at once, and under load batches grow by themselves.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import queue
import threading
import time
import traceback
import warnings
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import groupby, islice
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from self1e.processing.images import ImageError
from self1e.processing.prompts import PromptError
from self1e.segment.contours import mask_to_polygons
from self1e.segment.results import Segmentation
from self1e.segment.runner import EncodedPicture, NumbersError, TiledPicture
from self1e.serve.messages import (
    Answer,
    Asked,
    Cancelled,
    ChatJob,
    Failure,
    Forms,
    ImageJob,
    Kind,
    NotLoaded,
    Pass,
    Ready,
    SegmentJob,
    SentPicture,
    Text,
    Told,
)

if TYPE_CHECKING:
    from self1e.segment.segmenter import Segmenter

log = logging.getLogger(__name__)

AT_ONCE = 64
"""Most prompts that are taken together."""

MEMORY_AT_ONCE = 2**30
"""Bytes that jobs may take together, see `SegmentJob.memory`."""

READ_AHEAD = 100_000_000
"""Pixels of pictures that are read before their turn comes."""

THREADS = 2
"""That read pictures, and as many that pack answers."""

LARGEST_ANSWER = 64 * 2**20
"""Bytes of logits in one answer."""

STRETCH = 2
"""Rows of a pass are padded to the longest: they differ in pictures' tiles by no more than this factor."""


class CancelledError(Exception):
    """Nobody waits for the answer any more."""


class TooMuchError(Exception):
    """The answer would be too large."""


FAULTS: dict[type[Exception], Kind] = {
    ImageError: "picture",
    PromptError: "prompt",
    TooMuchError: "too_much",
    CancelledError: "cancelled",
    NumbersError: "internal",
}
"""Errors whose words are for the one who asked. All others are faults of ours, or of the machine."""


def run(pipe: Connection, load: Callable[[], Segmenter], known_bytes: int) -> None:
    """The main function of the process, which ends when the pipe does.

    Args:
        pipe: To the server.
        load: Loads the model.
        known_bytes: Memory for pictures that were encoded.
    """
    try:
        segmenter = load()
    except Exception as error:  # whatever it is, the server says it
        pipe.send(NotLoaded(str(error) or type(error).__name__))
        return
    warnings.simplefilter("ignore")  # they may hold prompts, which belong into no log: answers have them
    ModelProcess(pipe, segmenter, known_bytes).serve()


class SentFile(io.BytesIO):
    """A picture's bytes as an open file."""

    name = "the picture"  # in errors


class KnownPictures:
    """Pictures that were encoded, by key; those that were asked about longest ago go first.

    Args:
        most: Bytes to keep, of pixels and features; of one picture even if it has more.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.bytes = 0
        self._kept: OrderedDict[str, tuple[EncodedPicture, int]] = OrderedDict()

    def __contains__(self, key: str) -> bool:
        return key in self._kept

    def get(self, key: str) -> EncodedPicture | None:
        """The picture, if it is known."""
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key][0]

    def put(self, key: str, picture: EncodedPicture) -> None:
        """Keeps a picture."""
        size = picture.nbytes
        self._kept[key] = picture, size
        self.bytes += size
        while self.bytes > self.most and len(self._kept) > 1:
            self.bytes -= self._kept.popitem(last=False)[1][1]


class ModelProcess:
    """The process as an object. See the head of this file."""

    def __init__(self, pipe: Connection, segmenter: Segmenter, known_bytes: int) -> None:
        self.pipe, self.segmenter = pipe, segmenter
        self.known = KnownPictures(known_bytes)
        self.reading: dict[str, tuple[Future[TiledPicture], int]] = {}  # and how many pixels that is
        self.inbox: queue.SimpleQueue[Asked | None] = queue.SimpleQueue()
        self.held: deque[Asked] = deque()
        self.cancelled: set[int] = set()
        self.encoded = 0
        self.readers = ThreadPoolExecutor(THREADS, thread_name_prefix="self1e-read")
        self.packers = ThreadPoolExecutor(THREADS, thread_name_prefix="self1e-pack")
        self.sending = threading.Lock()

    def serve(self) -> None:
        """Answers jobs until the pipe ends."""
        threading.Thread(target=self._listen, name="self1e-listen", daemon=True).start()
        with suppress(BrokenPipeError):  # the server is gone
            self.send(Ready(facts_of(self.segmenter)))
            while jobs := self._next():
                self._answer(jobs)
        self.packers.shutdown()

    def send(self, told: Told) -> None:
        """Tells the server something; from any thread."""
        with self.sending:
            self.pipe.send(told)

    def _fail(self, asked: Asked, error: Exception) -> None:
        kind = next((kind for errors, kind in FAULTS.items() if isinstance(error, errors)), None)
        if kind is not None:
            self.send(Failure(asked.number, kind, str(error)))
            return
        where = "".join(traceback.format_tb(error.__traceback__))
        log.error("unexpected %s (its words may hold a prompt):\n%s", type(error).__name__, where)
        message = f"unexpected {type(error).__name__}: the server's log has more"
        self.send(Failure(asked.number, "internal", message))

    # -------------------------------------------------------------------------------------------- what is to be done

    def _listen(self) -> None:
        with suppress(EOFError, OSError):  # the server is gone
            while True:
                message = self.pipe.recv()
                if isinstance(message, Cancelled):
                    self.cancelled.add(message.number)
                    continue
                self._read_ahead(message.job.picture)
                self.inbox.put(message)
        self.inbox.put(None)

    def _read_ahead(self, picture: SentPicture) -> None:
        """Has a picture read while others are in work, unless enough are: they are large."""
        if picture.key in self.known or picture.key in self.reading:
            return
        if sum(pixels for _, pixels in tuple(self.reading.values())) + picture.pixels <= READ_AHEAD:
            future = self.readers.submit(self.segmenter.read, SentFile(picture.content))
            self.reading[picture.key] = future, picture.pixels

    def _next(self) -> list[Asked]:
        """The jobs to do next, all of one kind; none at the end. Waits for the first."""
        if not self.held and self.inbox.empty():
            self.cancelled.clear()  # whatever they were, they are answered
            first = self.inbox.get()
            if first is None:
                return []
            self.held.append(first)
        while not self.inbox.empty():
            more = self.inbox.get()
            if more is None:
                self.inbox.put(None)  # what was taken before is answered first
                break
            self.held.append(more)
        if not self.held:
            return []
        asked = self.held.popleft()
        jobs = [asked]
        if isinstance(asked.job, SegmentJob):
            prompts, memory = len(asked.job.prompts), asked.job.memory
            while self.held and isinstance(also := self.held[0].job, SegmentJob):
                prompts, memory = prompts + len(also.prompts), memory + also.memory
                if prompts > AT_ONCE or memory > MEMORY_AT_ONCE:
                    break
                jobs.append(self.held.popleft())
        return jobs

    def _answer(self, jobs: list[Asked]) -> None:
        start, self.encoded = time.perf_counter(), 0
        pictures = {asked.number: picture for asked in jobs if (picture := self._picture(asked)) is not None}
        ready = [asked for asked in jobs if asked.number in pictures]
        for alike in alike_jobs([asked for asked in ready if isinstance(asked.job, SegmentJob)], pictures):
            self._segment(alike, pictures)
        for asked in ready:
            if isinstance(asked.job, ChatJob):
                self._chat(asked, asked.job, pictures[asked.number])
            elif isinstance(asked.job, ImageJob):
                width, height = pictures[asked.number].image.size
                self.send(Answer(asked.number, {"width": width, "height": height}))
        prompts = sum(len(asked.job.prompts) if isinstance(asked.job, SegmentJob) else 1 for asked in ready)
        self.send(Pass(len(ready), prompts, self.encoded, time.perf_counter() - start))

    def _picture(self, asked: Asked) -> EncodedPicture | None:
        """The picture of a job, encoded. None if that fails or nobody waits for it, which the server is told."""
        # Whatever becomes of the job: what nobody takes from there would stay in memory.
        reading = self.reading.pop(asked.job.picture.key, None)
        if asked.number in self.cancelled:
            self.cancelled.discard(asked.number)
            self.send(Failure(asked.number, "cancelled", "nobody waits for it"))
            return None
        sent = asked.job.picture
        picture = self.known.get(sent.key)
        if picture is not None:
            return picture
        try:
            tiled = self.segmenter.read(SentFile(sent.content)) if reading is None else reading[0].result()
            picture = self.segmenter.encode(tiled)
        except Exception as error:  # whatever it is, the other jobs are done
            self._fail(asked, error)
            return None
        self.encoded += 1
        self.known.put(sent.key, picture)
        return picture

    # ---------------------------------------------------------------------------------------------------- doing it

    def _segment(self, alike: list[Asked], pictures: dict[int, EncodedPicture]) -> None:
        """Prompts about one picture share a row, where the model reads them so, and all of them passes."""
        jobs = [asked.job for asked in alike]
        requests: dict[str, tuple[EncodedPicture, list[str]]] = {}
        for asked, job in zip(alike, jobs, strict=True):
            assert isinstance(job, SegmentJob)
            requests.setdefault(job.picture.key, (pictures[asked.number], []))[1].extend(job.prompts)
        first = jobs[0]
        assert isinstance(first, SegmentJob)
        try:
            results = self.segmenter.segment(
                list(requests.values()), template=first.template, logits=first.forms.need_logits
            )
        except Exception as error:  # whatever it is; it may concern one of them only
            if len(alike) == 1:
                self._fail(alike[0], error)
            else:
                for asked in alike:
                    self._segment([asked], pictures)
            return
        of_picture = {key: iter(found) for key, found in zip(requests, results, strict=True)}
        for asked, job in zip(alike, jobs, strict=True):
            assert isinstance(job, SegmentJob)
            found = list(islice(of_picture[job.picture.key], len(job.prompts)))
            remarks = [self.segmenter.remark(prompt, job.template) for prompt in job.prompts]
            self.packers.submit(self._pack, asked, found, job.forms, remarks)

    def _chat(self, asked: Asked, job: ChatJob, picture: EncodedPicture) -> None:
        def tell(piece: str) -> None:
            if asked.number in self.cancelled:
                raise CancelledError("nobody waits for it")
            self.send(Text(asked.number, piece))

        try:
            if job.seed is not None:
                torch.manual_seed(job.seed)
            result = self.segmenter.chat(
                picture,
                job.question,
                job.history,
                max_new_tokens=job.max_new_tokens,
                temperature=job.temperature,
                logits=job.forms.need_logits,
                on_text=tell,
            )
        except Exception as error:  # whatever it is
            self._fail(asked, error)
            return
        self.packers.submit(self._pack, asked, [result], job.forms, [None])

    def _pack(self, asked: Asked, results: Sequence[Segmentation], forms: Forms, remarks: Sequence[str | None]) -> None:
        with suppress(BrokenPipeError):  # the server is gone
            try:
                packed = pack(results, forms)
                for entry, remark in zip(packed, remarks, strict=True):
                    if remark is not None:
                        entry["remark"] = remark
                # As text: to make it of many megabytes would keep the server from others.
                answer = packed if isinstance(asked.job, SegmentJob) else packed[0]
                self.send(Answer(asked.number, json.dumps(answer, ensure_ascii=False, allow_nan=False).encode()))
            except Exception as error:  # whatever it is
                self._fail(asked, error)


def alike_jobs(jobs: Sequence[Asked], pictures: dict[int, EncodedPicture]) -> Iterator[list[Asked]]:
    """Jobs that can share calls and passes: asked in the same way, about pictures of about as many tiles."""

    def way(asked: Asked) -> tuple[str, bool]:
        assert isinstance(asked.job, SegmentJob)
        return asked.job.template, asked.job.forms.need_logits

    def tiles(asked: Asked) -> int:
        columns, rows = pictures[asked.number].grid
        return columns * rows

    for _, same_way in groupby(sorted(jobs, key=way), key=way):
        alike: list[Asked] = []
        for asked in sorted(same_way, key=tiles):
            if alike and tiles(asked) > STRETCH * tiles(alike[0]):
                yield alike
                alike = []
            alike.append(asked)
        yield alike


def pack(results: Sequence[Segmentation], forms: Forms) -> list[dict[str, Any]]:
    """Results as JSON carries them: `Segmentation.to_dict`, with each mask in the forms that are wanted.

    Raises:
        TooMuchError: If the logits would be more than `LARGEST_ANSWER`.
    """
    numbers = sum(2 * result.masks.size for result in results)
    if "logits" in forms.masks and numbers > LARGEST_ANSWER:
        raise TooMuchError(f"the logits are {numbers:,} bytes, more than {LARGEST_ANSWER:,}: ask for fewer at a time")
    return [_packed(result.at(forms.threshold), forms) for result in results]


def _packed(result: Segmentation, forms: Forms) -> dict[str, Any]:
    wanted = result.instances() if forms.instances else result
    entry = wanted.to_dict("rle" if "rle" in forms.masks else "none")
    for of_mask, mask in zip(entry["masks"], wanted.masks, strict=True):
        if "polygons" in forms.masks:
            of_mask["polygons"] = mask_to_polygons(mask, forms.tolerance)
        if "png" in forms.masks:
            file = io.BytesIO()
            Image.fromarray(mask.astype(np.uint8) * 255).save(file, "PNG")
            of_mask["png"] = base64.b64encode(file.getvalue()).decode("ascii")
    if "logits" in forms.masks:
        assert result.logits is not None  # they were kept for that
        halves = result.logits.astype("<f2")
        data = base64.b64encode(halves.tobytes()).decode("ascii")
        entry["logits"] = {"dtype": "float16", "shape": list(halves.shape), "data": data}
    return entry


def facts_of(segmenter: Segmenter) -> dict[str, Any]:
    """What can be said of a model."""
    runner = segmenter.runner
    facts = runner.facts()
    return {
        "name": segmenter.model_name,
        "engine": facts["engine"],
        "device": runner.device,
        "dtype": runner.dtype,
        "quantization": segmenter.quantization.scheme if segmenter.quantization else None,
        "parameters": facts["parameters"],
        "context": runner.context,
        "calibrated": segmenter.calibration is not None,
        "nouns": segmenter.nouns.found if segmenter.nouns is not None else None,
    }
