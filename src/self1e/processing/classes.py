"""The class lists that come with the package, and those in files of one's own: one name a line."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from importlib.resources import files
from typing import Literal

ClassList = Literal["ade20k", "coco_stuff", "pascal_context_59", "pascal_voc_20"]


@cache
def class_names(name: ClassList) -> tuple[str, ...]:
    """A data set's classes in the order of their numbers; `assets/classes/README.md` says where they are from."""
    return names_of_lines(files("self1e").joinpath("assets", "classes", f"{name}.txt").read_text("utf-8"))


def names_of_lines(text: str) -> tuple[str, ...]:
    r"""One name a line. Empty lines count, except at the end, so that the number of a line is that of its class.

    >>> names_of_lines("sky\n\n dog \n\n")
    ('sky', '', 'dog')
    """
    return tuple(line.strip() for line in text.rstrip().splitlines())


def same_class(name: str) -> str:
    """What names of the same class have in common, however they are spelled: case, spaces, "_" and "-" tell none apart.

    >>> {same_class(name) for name in ("Red Box", " red  box", "red_box", "RED-BOX")}
    {'red box'}
    """
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFKC", name).casefold()).strip()
