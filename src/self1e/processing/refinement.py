"""Names of the ways from the model's map to the picture's size. Importing this is cheap; `refine` does the work."""

from __future__ import annotations

from typing import Literal, get_args

Refinement = Literal["none", "guided"]
REFINEMENTS: tuple[Refinement, ...] = get_args(Refinement)


def check_refinement(refine: str) -> None:
    """Raises ValueError if it is not one of `Refinement`."""
    if refine not in REFINEMENTS:
        raise ValueError(f"refine is one of {', '.join(REFINEMENTS)}, not {refine!r}")
