"""Label Studio's run lengths for masks of its brush, which are those of thi.ng/rle-pack."""

from __future__ import annotations

import numpy as np

SIZES = np.array([3, 4, 8, 16])
"""Bits that the length of a run may have; it has the fewest of these that hold it."""

LONGEST = 1 << int(SIZES[-1])
CHANNELS = 4
"""A mask is a picture of red, green, blue and alpha there, all 255 inside."""


def brush_rle(mask: np.ndarray) -> list[int]:
    """A mask, bool[H, W], as the bytes that are a region's `rle`.

    In bits: how many values there are (32), how many bits each has, less one (5), the `SIZES`, less one (4 each); then
    of each run 1, the place of its size (2), its length less one (as many as that), and its value (8).

    >>> brush_rle(np.array([[False, True]]))
    [0, 0, 0, 8, 57, 27, 252, 96, 17, 255, 128]
    """
    values = mask.ravel()
    ends = np.append(np.flatnonzero(values[1:] != values[:-1]) + 1, values.size)
    lengths = CHANNELS * np.diff(ends, prepend=0)
    pieces = -(-lengths // LONGEST)  # a run that is too long is several
    inside = np.repeat(values[ends - 1], pieces)
    left = np.full(pieces.sum(), LONGEST)
    left[np.cumsum(pieces) - 1] = lengths - (pieces - 1) * LONGEST
    place = np.searchsorted(1 << SIZES, left)
    bits = SIZES[place]
    codes = (((4 + place) << bits | (left - 1)) << 8) | np.where(inside, 255, 0)
    widths = 3 + bits + 8
    # Each code stands at the left of 32 bits, of which those that it has are taken.
    aligned = (codes << (32 - widths)).astype(">u4").view(np.uint8).reshape(-1, 4)
    runs = np.unpackbits(aligned, axis=1)[np.arange(32) < widths[:, None]]
    head = f"{CHANNELS * values.size:032b}{8 - 1:05b}" + "".join(f"{size - 1:04b}" for size in SIZES)
    return np.packbits(np.concatenate([np.array(list(head), np.uint8), runs])).tolist()
