"""What a picture more takes of the memory of `self1e segment`: of the process that gives out the work and writes lists.

    python -m benchmarks.big_jobs --pictures 100000

The pictures are empty files, and that they are done is written down here; planning, going on and writing the
files of all pictures are the command's own. Two prompts a picture, with masks of a thing with a ragged rim.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.machine import machine_facts, peak_gib
from self1e.cli.segment import check_formats, make_plan
from self1e.cli.segment_plan import Kept, Wanted
from self1e.cli.segment_report import Report
from self1e.cli.segment_resume import going_on, identity, model_here
from self1e.segment.journal import JOURNAL_NAME, Journal
from self1e.segment.options import LoadOptions
from self1e.segment.results import Segmentation

PROMPTS = ["a dog", "a cat"]


def ragged(height: int = 480, width: int = 640) -> np.ndarray:
    """bool[1, H, W], with several hundred runs."""
    y, x = np.mgrid[:height, :width]
    return ((x - 300) ** 2 + (y - 200) ** 2 < 100**2 + 20 * x * np.sin(y / 5))[None]


def write_down(journal: Journal, kept: Kept, names: list[str]) -> None:
    """Has all pictures done as the first one is, without waiting for the disk each time."""
    about = {"found": kept.found, "model": kept.model, "whole": kept.whole, "stem": "NAME", "source": ""}
    journal.add_done("NAME.png", None, kept.files, about)
    file = journal.folder / JOURNAL_NAME
    line = file.read_text().splitlines()[-1].replace(names[0], "NAME.png")
    with file.open("a") as lines:
        lines.writelines(line.replace("NAME", Path(name).stem) + "\n" for name in names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--format", default="coco,parquet")
    chosen = parser.parse_args()
    print(json.dumps(machine_facts()))
    with tempfile.TemporaryDirectory() as folder:
        pictures, out = Path(folder, "pictures"), Path(folder, "out")
        pictures.mkdir()
        out.mkdir()
        for number in range(chosen.pictures):
            (pictures / f"{number:07}.png").touch()
        results = [Segmentation(ragged(), [0.9], prompt, model="mini") for prompt in PROMPTS]  # type: ignore[arg-type]
        start, before = time.perf_counter(), peak_gib()

        def say(what: str) -> None:
            kib = (peak_gib() - before) * 2**20 / chosen.pictures
            print(f"{time.perf_counter() - start:7.1f} s, {kib:5.2f} KiB a picture at most: {what}", flush=True)

        wanted = Wanted(PROMPTS, check_formats(chosen.format), instances=False, tolerance=0.0, template="auto")
        plan = make_plan([str(pictures)], wanted, out, recursive=False, allow_urls=False)
        say("the pictures are known")
        journal = Journal(out, identity(plan, model_here("mini", LoadOptions())))
        write_down(journal, plan.common.keep(plan.pictures[0], results), [picture.name for picture in plan.pictures])
        size = (out / JOURNAL_NAME).stat().st_size / 2**10 / chosen.pictures
        journal.read()
        say(f"so is what is done, of which the list has {size:.1f} KiB a picture")
        plan, done = going_on(plan, journal, overwrite=False)
        Report(plan, journal, done).write_whole()
        say(f"the files of all pictures are written: {', '.join(path.name for path in plan.whole_files)}")


if __name__ == "__main__":
    main()
