"""Copies folders of photographs in a few MiB, to carry them to another machine: small, as AVIF, without the test part.

    python configs/mini/pack.py data/photos data/coco data/clothing data/ade20k --out data/packed

Training reads the copies as it reads the folders (`folders: [data/packed/photos-1, ...]`). Masks lose nothing but size.
As it is by default, with 320 pixels, the 7,277 photographs of docs/mini.md that are not for testing take 42 MiB, by an
estimate from every sixtieth of them. Where less can be carried at a time, `--most 15` makes more and smaller folders.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from self1e.photos.index import photographs
from self1e.processing.images import load_image

PICTURE, MAPS = "photo", ("mask", "instances")
NAMES, LIST = "classes.txt", "pictures.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(description="Copies folders of photographs in a few MiB.")
    parser.add_argument("folders", type=Path, nargs="+", help="folders of photographs")
    parser.add_argument("--out", type=Path, required=True, help="folder to write them to, each by its name")
    parser.add_argument("--side", type=int, default=320, help="longest of the shorter sides, pixels")
    parser.add_argument("--quality", type=int, default=22, help="of AVIF, 0 to 100")
    parser.add_argument("--most", type=float, default=44, help="MiB of a folder; the rest goes into another")
    options = parser.parse_args()
    if options.out.exists():
        parser.error(f"{options.out} exists: choose another folder, or delete it first")
    if len({folder.name for folder in options.folders}) < len(options.folders):
        parser.error("two folders have the same name: rename one, as copies are called by these")
    for folder in options.folders:
        for copy in pack(folder, options.out, options.side, options.quality, int(options.most * 2**20)):
            size = sum(file.stat().st_size for file in copy.rglob("*") if file.is_file())
            print(f"{copy}: {len(_lines(copy))} photographs, {size / 2**20:.1f} MiB")


def pack(folder: Path, out: Path, side: int, quality: int, most: int) -> list[Path]:
    """Writes what can be learnt from of a folder, and its validation part.

    Args:
        folder: Of photographs.
        out: Folder for the copies.
        side: Longest of the shorter sides, pixels.
        quality: Of AVIF.
        most: Bytes of a copy, at least those of one photograph.

    Returns:
        The copies, called by the folder and their numbers.
    """
    wanted = {photo.picture for photo in photographs(folder, ("train", "validation"))}
    copies: list[Path] = []
    lines: list[str] = []
    size = most
    names = (folder / NAMES).read_text("utf-8").splitlines()
    for line in _lines(folder):
        if folder / line[PICTURE] not in wanted:
            continue
        files, packed = _packed(folder, names, line, side, quality)
        text = json.dumps(packed)
        added = len(text) + sum(map(len, files.values()))
        if size + added > most:
            _write_list(folder, copies, lines)
            copies.append(out / f"{folder.name}-{len(copies) + 1}")
            lines, size = [], len((folder / NAMES).read_bytes())
        for name, contents in files.items():
            (copies[-1] / name).parent.mkdir(parents=True, exist_ok=True)
            (copies[-1] / name).write_bytes(contents)
        lines.append(text)
        size += added + 1
    _write_list(folder, copies, lines)
    return copies


def _packed(
    folder: Path, names: Sequence[str], line: dict[str, Any], side: int, quality: int
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The files of a photograph by their names, and its line in the list."""
    picture = load_image(folder / line[PICTURE])
    scale = min(1.0, side / min(picture.size))
    size = (round(picture.width * scale), round(picture.height * scale))
    packed = line | {PICTURE: str(Path(line[PICTURE]).with_suffix(".avif"))}
    small = picture.resize(size, Image.Resampling.LANCZOS)
    files = {packed[PICTURE]: _encoded(small, "AVIF", quality=quality)}
    for kind in (name for name in MAPS if name in line):
        with Image.open(folder / line[kind]) as image:
            map_ = image.resize(size, Image.Resampling.NEAREST)
            files[line[kind]] = _encoded(map_, "PNG", optimize=True)
            if kind == "mask":
                lost = _names_in(image, names) - _names_in(map_, names)  # but there: must not be called absent
                packed |= {key: [name for name in line[key] if name not in lost] for key in ("annotated", "present")}
    return files, packed


def _names_in(mask: Image.Image, names: Sequence[str]) -> set[str]:
    return {names[value] for value in np.unique(np.asarray(mask)) if 0 < value < len(names)}


def _encoded(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def _lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in (folder / LIST).read_text("utf-8").splitlines()]


def _write_list(folder: Path, copies: list[Path], lines: list[str]) -> None:
    """Ends the last copy."""
    if copies:
        (copies[-1] / NAMES).write_bytes((folder / NAMES).read_bytes())
        (copies[-1] / LIST).write_text("".join(f"{line}\n" for line in lines), "utf-8")


if __name__ == "__main__":
    main()
