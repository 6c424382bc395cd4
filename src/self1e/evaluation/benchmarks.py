"""The field's benchmarks by name, each with its protocol (method, section 9).

refcoco|unc|val  refcoco+|unc|testA  refcocog|umd|test  one sentence, one mask
grefcoco|unc|val  ...|testA  ...|testB                  several targets or none; fewer than 50 pixels count as none
reasonseg|val  reasonseg|test                           the first sentence of a picture; pixels of 255 ignored
ade20k-150  pascal-context-59  pascal-voc-20            every class that is in a picture; mIoU
vqav2|val  okvqa|val  textvqa|val  vizwiz|val           answers in words, the VQA soft score
gqa|testdev                                             answers in words, word for word
FILE.jsonl                                              your own, see `self1e.data.own`
FILE.yaml                                               your own in any form, see `self1e.data.own_entries`
NAME  NAME|ARGUMENT|...                                 of a plugin (`self1e.plugins`), which knows its arguments
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import cast

from self1e.data.open_vocabulary import Ade20k150Source, PascalContext59Source, PascalVoc20Source
from self1e.data.own_entries import Joined, open_own, read_entries
from self1e.data.reason import ReasonSource
from self1e.data.records import DataError, Source
from self1e.data.refer import REFER_SETS, ReferSource
from self1e.data.vqa import VQA_TESTS, VqaTest
from self1e.evaluation.base import Answer, Benchmark
from self1e.evaluation.field import OWN_FILES, MaskBenchmark, WordBenchmark
from self1e.metrics import GREFCOCO_MIN_AREA
from self1e.plugins import BENCHMARKS, installed, load

OPEN_VOCABULARY: dict[str, Callable[[Path], Source]] = {
    "ade20k-150": Ade20k150Source,
    "pascal-context-59": PascalContext59Source,
    "pascal-voc-20": PascalVoc20Source,
}

OpenBenchmark = Callable[[Sequence[str], Path, Answer], Benchmark]
"""What the entry point of a benchmark names: makes it of its arguments (what stands behind "|" in its name), the folder
of the data, and whose answer masks are read behind. Raises DataError when it cannot."""


def open_benchmark(name: str, root: Path, answer: Answer = "given") -> Benchmark:
    """The benchmark of a name.

    Args:
        name: One of those above.
        root: Folder of the data.
        answer: Whose answer masks are read behind; words are always the model's own.

    Raises:
        DataError: When there is none of this name, or its data are not there.
        PluginError: When a plugin is broken.
    """
    data = str(root.resolve())
    if name in OPEN_VOCABULARY:
        return MaskBenchmark(name, data, OPEN_VOCABULARY[name](root), answer, classes=True)
    if name.endswith(OWN_FILES):
        return _own(name, answer)
    match name.split("|"):
        case ["reasonseg", split]:
            return MaskBenchmark(name, data, ReasonSource(root, split, explained=False, first_text_only=True), answer)
        case [dataset, split] if (dataset, split) in VQA_TESTS:
            return WordBenchmark(name, data, VqaTest(root, dataset, split))
        case [dataset, split_by, split] if (dataset, split_by) in REFER_SETS:
            min_area = GREFCOCO_MIN_AREA if dataset == "grefcoco" else 1
            return MaskBenchmark(name, data, ReferSource(root, dataset, split_by, split), answer, min_area)
        case [plugin, *arguments] if plugin in installed(BENCHMARKS):
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
        contents.update(Path(path).read_bytes())
    return MaskBenchmark(
        name,
        f"{file.resolve()} {contents.hexdigest()}",
        sources[0] if len(sources) == 1 else Joined(file.stem, sources),
        answer,
        classes=not any("jsonl" in entry for entry in entries),
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
    refer = [f"{dataset}|{by}|{split}" for (dataset, by), splits in REFER_SETS.items() for split in splits]
    tests = [f"{dataset}|{split}" for dataset, split in VQA_TESTS]
    splits = [split for split in refer if not split.endswith("|train")]
    return [*installed(BENCHMARKS), *splits, "reasonseg|val", "reasonseg|test", *OPEN_VOCABULARY, *tests]
