"""The figures of the docs show what the model computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from self1e import Segmenter
from self1e.conversation import Turn
from self1e.processing.images import load_image

pytest.importorskip("matplotlib", reason="needs the extra `plot`")
from benchmarks.figures import (
    CAUSAL,
    IMAGE_TO_IMAGE,
    IMAGE_TO_SEG,
    NOTHING,
    draw_pathways,
    in_colours,
    refilling_steps,
    visibility,
    without_places,
)

PICTURE = Path(__file__).parents[2] / "examples" / "pictures" / "lakeside.png"


@pytest.fixture(scope="module")
def nano() -> Segmenter:
    return Segmenter.from_pretrained("nano", device="cpu")


@pytest.mark.slow
def test_steps_are_those_of_the_network(nano: Segmenter) -> None:
    steps = refilling_steps(nano, load_image(PICTURE), "the red boat")  # which compares its logits with the network's
    side = len(steps.compressed)
    assert [len(each) for each in (steps.residual, steps.uncompressed, steps.logits)] == [2 * side, 4 * side, 4 * side]
    torch.testing.assert_close(steps.residual, steps.llm_map - steps.vision_map)


@pytest.mark.slow
def test_each_pathway_is_shown_where_it_is_open(nano: Segmenter) -> None:
    batch = nano.processor([load_image(PICTURE)], [[(Turn("Where is the cow?", "[SEG]."),)]], labels=False)
    kinds = visibility(batch)
    image, seg = batch.image_tokens[0].numpy(), batch.seg_tokens[0].numpy()
    assert (kinds[np.ix_(image, seg)] == IMAGE_TO_SEG).all()
    assert set(np.unique(kinds[np.ix_(image, image)])) == {CAUSAL, IMAGE_TO_IMAGE}
    assert set(np.unique(kinds[~image])) == {NOTHING, CAUSAL}
    assert len(draw_pathways().axes) == 3


def test_what_every_square_has_is_left_out() -> None:
    generator = torch.Generator().manual_seed(0)
    same, own = torch.randn(4, 4, 5, generator=generator), torch.randn(8, 12, 5, generator=generator)
    left = without_places(own + same.repeat(2, 3, 1))
    torch.testing.assert_close(left, without_places(own))
    assert [each.shape for each in in_colours([left, left[:4]])] == [(8, 12, 3), (4, 12, 3)]
