"""Has the site show the doctests of docstrings as code (an extension of griffe; see mkdocs.yml)."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

DOCTEST = re.compile(r"^(?P<indent>[ ]*)>>> .*(?:\n(?P=indent)\S.*)*", re.M)


class Doctests(Extension):
    """Fences what stands behind `>>>` up to the next empty line: Markdown would take it for a quotation."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Is called for each module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = DOCTEST.sub(r"\g<indent>```pycon\n\g<0>\n\g<indent>```", obj.docstring.value)
