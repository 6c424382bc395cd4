"""Reads the pickled files of the RefCOCO family without running anything that stands in them.

A pickle is a program: loading one may import and call what it names. The `refs(...).p` files, written by Python 2, hold
lists, dictionaries, strings and numbers only, for which nothing has to be imported; so nothing may be.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any, NoReturn

from self1e.data.records import DataError

#: Several times the size of the largest published file; more is no file of this kind.
MAX_BYTES = 512 * 2**20
MAX_REFS = 2_000_000

_REMEDY = "download it again from https://github.com/lichengunc/refer"


def load_refs(path: Path) -> list[dict[str, Any]]:
    """The references of a `refs(<split_by>).p` file, of any pickle protocol, from Python 2 or 3.

    Returns:
        One dictionary a reference, with text keys. `image_id` (int) and `split` (str) are checked; the rest may be
        broken in single references and is for the loader to check.

    Raises:
        DataError: When the file cannot be read, is no list of references, or names anything to import.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DataError(f"{path} has {size} bytes, more than {MAX_BYTES}: it is no file of references; {_REMEDY}")
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path} ({error.strerror or error}): check the path") from error
    try:
        # Text of Python 2 is bytes here, and latin-1 is the encoding that fails for none.
        tree = _PlainUnpickler(path, content).load()
    except DataError:
        raise
    except Exception as error:  # a broken pickle can make the machine that runs it fail in any way
        raise DataError(f"{path} is no pickle, or is cut short ({error!r}): {_REMEDY}") from error
    return check_refs(tree, path)


def check_refs(tree: Any, path: Path) -> list[dict[str, Any]]:
    """The tree, if it is a list of references that say their picture and split.

    Raises:
        DataError: When it is not; the message names the file and the position in the list.
    """
    if not isinstance(tree, list):
        raise DataError(f"{path} should hold a list of references, but holds {type(tree).__name__}: {_REMEDY}")
    if len(tree) > MAX_REFS:
        raise DataError(f"{path} holds {len(tree)} references, more than {MAX_REFS}: {_REMEDY}")
    for position, ref in enumerate(tree):
        if not isinstance(ref, dict) or not all(isinstance(key, str) for key in ref):
            raise DataError(f"{path}: reference {position} of the list is no dictionary with text keys: {_REMEDY}")
        image_id, split = ref.get("image_id"), ref.get("split")
        if not isinstance(image_id, int) or isinstance(image_id, bool) or not isinstance(split, str):
            raise DataError(
                f"{path}: reference {position} of the list needs a whole number `image_id` and a text `split`, but has "
                f"{str(image_id)[:40]!r} and {str(split)[:40]!r}: {_REMEDY}"
            )
    return tree


class _PlainUnpickler(pickle.Unpickler):
    """Makes containers, text and numbers, and refuses all else."""

    def __init__(self, path: Path, content: bytes) -> None:
        # From memory: a length in the pickle can then not ask for more than the file has.
        super().__init__(io.BytesIO(content), encoding="latin-1")
        self._path = path

    def find_class(self, module: str, name: str) -> NoReturn:
        raise DataError(
            f"{self._path} asks for {module}.{name}, which may run code: refused. A file of references needs only "
            f"lists, dictionaries, text and numbers; {_REMEDY}, or write it again with plain values"
        )

    def persistent_load(self, reference: Any) -> NoReturn:
        raise DataError(f"{self._path} refers to an object outside of it ({str(reference)[:40]!r}): refused; {_REMEDY}")
