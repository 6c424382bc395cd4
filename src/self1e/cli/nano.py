"""What must be said when the bundled model is asked about pictures that it knows nothing of."""

from __future__ import annotations

from pathlib import Path

from self1e.cli.terminal import notice

PUBLISHED = "UltraDoughnut/SELF1E"

#: A text chunk of the PNG files that `self1e toyland draw` writes: nano is at home in them.
TEXT_KEY, TEXT = "self1e", "toyland"


def is_toyland(path: Path) -> bool:
    """Whether a picture file was drawn by `self1e toyland draw`."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.info.get(TEXT_KEY) == TEXT
    except Exception:  # whatever is wrong with the file, it is none of ours
        return False


def notice_about_nano(path: Path, command: str) -> bool:
    """Says so when nano is asked about a picture that is not of its world; returns whether it was."""
    if is_toyland(path):
        return False
    notice(
        "the bundled model nano knows a generated cartoon world only: its answers about other pictures mean little. "
        f"For photographs take the published model, downloaded once: self1e {command} ... --model {PUBLISHED}"
    )
    return True
