"""The field's benchmarks by name, each with its protocol (method, section 9): `KNOWN`. Beside these, by their names:

FILE.jsonl              your own, see `self1e.data.own`
FILE.yaml               your own in any form, see `self1e.data.own_entries`
NAME  NAME|ARGUMENT|... of a plugin (`self1e.plugins`), which knows its arguments
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple, cast

from self1e.data.open_vocabulary import Ade20k150Source, PascalContext59Source, PascalVoc20Source
from self1e.data.own_entries import Joined, open_own, read_entries
from self1e.data.reason import ReasonSource
from self1e.data.records import DataError, Source
from self1e.data.refer import REFER_SETS, ReferSource
from self1e.data.vqa import VQA_TESTS, VqaTest
from self1e.evaluation.base import Answer, Benchmark
from self1e.evaluation.record_benchmarks import OWN_FILES, MaskBenchmark, WordBenchmark
from self1e.files import expand_name, expand_user
from self1e.metrics import GREFCOCO_MIN_AREA
from self1e.plugins import BENCHMARKS, installed, load


class Known(NamedTuple):
    """A benchmark, or those of several splits.

    Attributes:
        source: Makes the records of the folder of the data, and of a `split` where there are splits.
        splits: What stands behind the last "|" of a name. Sources may know others, such as "train". (): there are none.
        min_area: See `MaskBenchmark`.
        classes: See `MaskBenchmark`.
    """

    source: Callable[..., Source | VqaTest]
    splits: tuple[str, ...] = ()
    min_area: int = 1
    classes: bool = False


#: What stands in a name before the split -> the benchmark.
KNOWN = {
    # One sentence, one mask; of gRefCOCO several targets or none, and fewer than 50 pixels count as none.
    **{
        f"{dataset}|{split_by}": Known(
            partial(ReferSource, dataset=dataset, split_by=split_by),
            tuple(split for split in splits if split != "train"),
            min_area=GREFCOCO_MIN_AREA if dataset == "grefcoco" else 1,
        )
        for (dataset, split_by), splits in REFER_SETS.items()
    },
    # The first sentence of a picture; pixels of 255 are ignored.
    "reasonseg": Known(partial(ReasonSource, explained=False, first_text_only=True), ("val", "test")),
    # Every class that is in a picture; mIoU.
    "ade20k-150": Known(Ade20k150Source, classes=True),
    "pascal-context-59": Known(PascalContext59Source, classes=True),
    "pascal-voc-20": Known(PascalVoc20Source, classes=True),
    # Answers in words: the VQA soft score; of GQA word for word.
    **{
        dataset: Known(partial(VqaTest, name=dataset), tuple(split for name, split in VQA_TESTS if name == dataset))
        for dataset, _ in VQA_TESTS
    },
}

OpenBenchmark = Callable[[Sequence[str], Path, Answer], Benchmark]
"""What the entry point of a benchmark names: makes it of its arguments (what stands behind "|" in its name), the folder
of the data, and whose answer masks are read behind. Raises DataError when it cannot."""


def open_benchmark(name: str, root: Path, answer: Answer = "given") -> Benchmark:
    """The benchmark of a name.

    Args:
        name: One of `names()`, or a file.
        root: Folder of the data.
        answer: Whose answer masks are read behind; words are always the model's own.

    Raises:
        DataError: When there is none of this name, or its data are not there.
        PluginError: When a plugin is broken.
    """
    if name.endswith(OWN_FILES):
        return _own(expand_name(name), answer)
    before, bar, split = name.rpartition("|")
    known = KNOWN.get(before if bar else name)
    if known is not None and bool(known.splits) == bool(bar):
        data, source = str(root.resolve()), known.source(root, **({"split": split} if bar else {}))
        if isinstance(source, VqaTest):
            return WordBenchmark(name, data, source)
        return MaskBenchmark(name, data, source, answer, known.min_area, known.classes)
    plugin, *arguments = name.split("|")
    if plugin in installed(BENCHMARKS):
        return cast(OpenBenchmark, load(BENCHMARKS, plugin))(arguments, root, answer)
    raise DataError(
        f"there is no benchmark {name!r}: known are {', '.join(names())}, and files FILE.jsonl or FILE.yaml of your own"
    )


def _own(name: str, answer: Answer) -> MaskBenchmark:
    """Data of one's own: a JSONL file, or the entries of a YAML file one after the other."""
    file = Path(name)
    entries = [{"jsonl": name}] if file.suffix == ".jsonl" else read_entries(file)
    sources = [open_own(entry) for entry in entries]
    for source, entry in zip(sources, entries, strict=True):
        if "jsonl" in entry:
            _tell_words(entry["jsonl"], source)
    named = (entry[key] for entry in entries for key in ("jsonl", "coco", "classes") if key in entry)
    contents = hashlib.sha256()
    for path in dict.fromkeys([name, *named]):  # a JSONL file once
        contents.update(expand_user(path).read_bytes())
    for path in chain.from_iterable(source.files() for source in sources):
        with suppress(OSError, ValueError):  # a file that is missing may be there the next time
            state = path.stat()
            contents.update(f"{state.st_size} {state.st_mtime_ns}".encode())
        contents.update(b"\n")
    return MaskBenchmark(
        name,
        f"{file.resolve()} {contents.hexdigest()}",
        sources[0] if len(sources) == 1 else Joined(file.stem, sources),
        answer,
        classes=not any(key in entry for entry in entries for key in ("jsonl", "results")),
    )


def _tell_words(file: str, source: Source) -> None:
    """Warns of how much in a file cannot be scored."""
    scored = words = 0
    for index in range(len(source)):
        with suppress(DataError):  # the evaluation tells of these
            record = source[index]
            scored, words = scored + len(record.queries), words + len(record.talks)
    if words:
        warnings.warn(
            f"{file}: {words:,} conversations and answers in words are left out, which cannot be scored; "
            f"{scored:,} prompts with `masks` can",
            stacklevel=2,
        )


def names() -> list[str]:
    """All names, without the arguments that some take."""
    return [
        *installed(BENCHMARKS),
        *(f"{name}|{split}" if split else name for name, known in KNOWN.items() for split in known.splits or ("",)),
    ]
