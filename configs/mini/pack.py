"""Copies folders of photographs in a few MiB, to carry them to another machine: small, as AVIF, without the test part.

    python configs/mini/pack.py data/photos data/coco data/clothing data/ade20k --out data/packed

Training reads the copies as it reads the folders (`folders: [data/packed/photos, ...]`). Masks lose nothing but size.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from PIL import Image

from self1e.photos.index import photographs
from self1e.processing.images import load_image

PICTURE, MAP = "photo", ("mask", "instances")


def main() -> None:
    parser = argparse.ArgumentParser(description="Copies folders of photographs in a few MiB.")
    parser.add_argument("folders", type=Path, nargs="+", help="folders of photographs")
    parser.add_argument("--out", type=Path, required=True, help="folder to write them to, each by its name")
    parser.add_argument("--side", type=int, default=224, help="longest of the shorter sides, pixels")
    parser.add_argument("--quality", type=int, default=40, help="of AVIF, 0 to 100")
    options = parser.parse_args()
    if options.out.exists():
        parser.error(f"{options.out} exists: choose another folder, or delete it first")
    if len({folder.name for folder in options.folders}) < len(options.folders):
        parser.error("two folders have the same name: rename one, as copies are called by these")
    for folder in options.folders:
        pack(folder, options.out / folder.name, options.side, options.quality)
    size = sum(file.stat().st_size for file in options.out.rglob("*") if file.is_file())
    print(f"{options.out}: {size / 2**20:.1f} MiB")


def pack(folder: Path, out: Path, side: int, quality: int) -> None:
    """Writes the copy of one folder: what can be learnt from, and its validation part."""
    wanted = {photo.picture for photo in photographs(folder, ("train", "validation"))}
    lines = []
    for text in (folder / "pictures.jsonl").read_text("utf-8").splitlines():
        line = json.loads(text)
        if folder / line[PICTURE] not in wanted:
            continue
        picture = load_image(folder / line[PICTURE])
        scale = min(1.0, side / min(picture.size))
        size = (round(picture.width * scale), round(picture.height * scale))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
        line[PICTURE] = _save(picture, out, Path(line[PICTURE]).with_suffix(".avif"), quality=quality)
        for kind in (name for name in MAP if name in line):
            with Image.open(folder / line[kind]) as image:
                labels = image.resize(size, Image.Resampling.NEAREST)
            line[kind] = _save(labels, out, Path(line[kind]), optimize=True)
        lines.append(json.dumps(line))
    (out / "classes.txt").write_text((folder / "classes.txt").read_text("utf-8"), "utf-8")
    (out / "pictures.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


def _save(image: Image.Image, out: Path, name: Path, **options: object) -> str:
    file = out / name
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file, **options)
    return str(name)


if __name__ == "__main__":
    main()
