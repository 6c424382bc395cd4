"""FlexAttention in place of SDPA: compiled on a GPU, as it is written on a CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from self1e import Segmenter

PICTURE = Path(__file__).parents[2] / "examples" / "pictures" / "lakeside.png"
PROMPTS = ["the red car", "what is behind the house, and has no roof?"]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("image_to_segmentation", [True, False], ids=["row each", "packed"])
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_masks_and_words_are_those_of_sdpa(tiny_model_folder: Path, device: str, image_to_segmentation: bool) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    segmenter = Segmenter.from_pretrained(tiny_model_folder, device=device, dtype="float32", max_tiles=2)
    segmenter.model.config.image_to_segmentation = image_to_segmentation
    found = []
    for attention in ("sdpa", "flex_attention"):
        segmenter.model.set_attn_implementation({"text_config": attention})
        segmenter.fast.forget()
        encoded = segmenter.encode(PICTURE)
        with torch.compiler.set_stance("force_eager" if device == "cpu" else "default"):
            masks = [segmenter.segment(encoded, PROMPTS, logits=True) for _ in range(2)]
            found.append(([each.logits for of_call in masks for each in of_call], segmenter.chat(encoded, "A cat?")))
    (sdpa, words), (flex, same_words) = found
    assert segmenter.model.config.text_config._attn_implementation == "flex_attention"
    assert words.text == same_words.text
    for one, other in zip(sdpa, flex, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
        assert one.std() > 1e-3
