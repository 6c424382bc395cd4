"""Segments what a few words name: `python examples/quickstart.py photo.jpg "the cat"` writes overlay.png."""

import sys

from self1e import Segmenter

segmenter = Segmenter.from_pretrained()
result = segmenter.segment(sys.argv[1], sys.argv[2])
print(result)
result.overlay().save("overlay.png")
