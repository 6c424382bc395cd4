"""The tokens before the picture: read once, and the masks are the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from self1e import Segmenter
from self1e.conversation import Turn
from self1e.fast.prefix_cache import Opening
from self1e.segment.quantise import quantize

PICTURE = Path(__file__).parents[2] / "examples" / "pictures" / "lakeside.png"
PROMPTS = ["the red car", "what is behind the house, and has no roof?"]


def tokens_read(segmenter: Segmenter) -> list[int]:
    """Notes the tokens that go through the language model."""
    seen: list[int] = []
    model = segmenter.model.model.language_model
    model.register_forward_pre_hook(
        lambda _, __, given: seen.append(given["inputs_embeds"].shape[:2].numel()), with_kwargs=True
    )
    return seen


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"image_to_image": False},
        {"image_to_segmentation": False},
        {"image_to_segmentation_from": 1},
        {"attention": "eager"},
        {"attention": "by_head"},
    ],
    ids=str,
)
def test_masks_are_the_same(tiny_model_folder: Path, settings: dict[str, Any]) -> None:
    segmenter = Segmenter.from_pretrained(tiny_model_folder, device="cpu", dtype="float32")
    settings = dict(settings)
    segmenter.model.set_attn_implementation(settings.pop("attention", "sdpa"))
    segmenter.model.config.update(settings)
    kept = segmenter.model.openings
    assert kept == {}
    with_opening = [segmenter.segment(PICTURE, PROMPTS, logits=True) for _ in range(2)]
    assert len(kept) == 1  # both times the same
    segmenter.model.openings = None
    without = segmenter.segment(PICTURE, PROMPTS, logits=True)
    for results in with_opening:
        for one, other in zip(results, without, strict=True):
            np.testing.assert_allclose(one.logits, other.logits, rtol=1e-4, atol=1e-4)
            assert other.logits.std() > 1e-3


def test_it_is_read_once(tiny_model_folder: Path) -> None:
    segmenter = Segmenter.from_pretrained(tiny_model_folder, device="cpu", dtype="float32")
    seen = tokens_read(segmenter)
    segmenter.segment(PICTURE, PROMPTS[0])
    segmenter.segment(PICTURE, PROMPTS[0])
    (opening,) = segmenter.model.openings.values()
    segmenter.model.openings = None
    segmenter.segment(PICTURE, PROMPTS[0])
    assert len(opening) > 5
    assert seen == [len(opening), seen[3] - len(opening), seen[3] - len(opening), seen[3]]


def test_weights_that_may_change_are_read_again(tiny_model_folder: Path) -> None:
    from self1e.segment.load import load_model
    from self1e.segment.options import LoadOptions

    loaded = load_model(tiny_model_folder, LoadOptions(device="cpu"))
    segmenter = Segmenter(loaded.model, loaded.processor)
    before = segmenter.segment(PICTURE, PROMPTS[0], logits=True).logits
    assert loaded.model.openings is None
    system = segmenter.processor.prefix((1, 1)).input_ids[1]
    with torch.no_grad():
        loaded.model.get_input_embeddings().weight[system] += 1
    assert not np.allclose(before, segmenter.segment(PICTURE, PROMPTS[0], logits=True).logits, atol=1e-3)


def test_another_type_has_its_own(tiny_model_folder: Path) -> None:
    segmenter = Segmenter.from_pretrained(tiny_model_folder, device="cpu", dtype="float32")
    segmenter.segment(PICTURE, PROMPTS[0])
    segmenter.model.to(torch.float64)
    segmenter.segment(PICTURE, PROMPTS[0])
    assert [opening.keys[0].dtype for opening in segmenter.model.openings.values()] == [torch.float64]


def test_quantising_forgets_it(tiny_model_folder: Path) -> None:
    segmenter = Segmenter.from_pretrained(tiny_model_folder, device="cpu", dtype="float32")
    segmenter.segment(PICTURE, PROMPTS[0])
    quantize(segmenter.model, "int8")
    assert segmenter.model.openings == {}
    again = segmenter.segment(PICTURE, PROMPTS[0], logits=True).logits
    segmenter.model.openings = None
    np.testing.assert_allclose(segmenter.segment(PICTURE, PROMPTS[0], logits=True).logits, again, rtol=1e-4, atol=1e-4)


def test_default_positions_begin_behind_it(tiny_model_folder: Path) -> None:
    segmenter = Segmenter.from_pretrained(tiny_model_folder, device="cpu", dtype="float32")
    model, processor = segmenter.model, segmenter.processor
    inputs = processor([Image.open(PICTURE)], [[[Turn("Where is it?", "It is [SEG].")]]]).as_kwargs()
    ids = inputs["input_ids"]
    beginning = ids[0].tolist().index(model.config.image_token_id)
    with torch.inference_mode():
        opening = Opening.read(model.model.language_model, model.get_input_embeddings()(ids[0, :beginning]))
        pictures = {"pixel_values": inputs["pixel_values"]}
        whole = model(input_ids=ids, **pictures).mask_logits[0]
        behind = model(input_ids=ids[:, beginning:], opening=opening, **pictures).mask_logits[0]
        padded = torch.cat([ids.new_zeros(1, 3), ids[:, beginning:]], dim=1)
        real = torch.arange(padded.shape[1])[None] >= 3
        left = model(input_ids=padded, attention_mask=real, opening=opening, **pictures).mask_logits[0]
        with pytest.raises(ValueError, match="openings need the mask pass"):
            model(input_ids=ids, opening=opening, use_cache=False)
    torch.testing.assert_close(behind, whole, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(left, whole, rtol=1e-4, atol=1e-4)


def test_it_stands_before_every_row() -> None:
    keys, values = torch.randn(1, 2, 3, 4), torch.randn(1, 2, 3, 4)
    opening = Opening([keys], [values])
    more = torch.randn(5, 2, 6, 4)
    grown, others = opening.update(more, more, 0)
    assert grown.shape == others.shape == (5, 2, 9, 4) and len(opening) == opening.get_seq_length() == 3
    assert torch.equal(grown[4, :, :3], keys[0]) and torch.equal(others[2, :, 3:], more[2])
