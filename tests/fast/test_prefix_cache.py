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
from self1e.fast.prefix_cache import PrefixCache
from self1e.processing.tokens import encode_conversation, single

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


def without_prefix(segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are read whole from now on."""
    monkeypatch.setattr(segmenter.fast, "prefix", lambda rows: None)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"image_to_image": False},
        {"image_to_segmentation": False},
        {"attention": "eager"},
        {"attention": "by_head"},
    ],
    ids=str,
)
def test_masks_are_the_same(tiny_model_folder: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter = Segmenter.from_pretrained(tiny_model_folder, device="cpu", dtype="float32")
    settings = dict(settings)
    segmenter.model.set_attn_implementation(settings.pop("attention", "sdpa"))
    segmenter.model.config.update(settings)
    with_prefix = [segmenter.segment(PICTURE, PROMPTS, logits=True) for _ in range(2)]
    without_prefix(segmenter, monkeypatch)
    without = segmenter.segment(PICTURE, PROMPTS, logits=True)
    for results in with_prefix:
        for one, other in zip(results, without, strict=True):
            np.testing.assert_allclose(one.logits, other.logits, rtol=1e-4, atol=1e-4)
            assert other.logits.std() > 1e-3


def test_it_is_read_once(tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter = Segmenter.from_pretrained(tiny_model_folder, device="cpu", dtype="float32")
    seen = tokens_read(segmenter)
    segmenter.segment(PICTURE, PROMPTS[0])
    segmenter.segment(PICTURE, PROMPTS[0])
    prefix = segmenter.fast.prefix([single(segmenter.processor.prefix((1, 1)))])
    without_prefix(segmenter, monkeypatch)
    segmenter.segment(PICTURE, PROMPTS[0])
    assert prefix is not None and len(prefix) > 5
    assert seen == [len(prefix), seen[3] - len(prefix), seen[3] - len(prefix), seen[3]]


def test_weights_that_change_are_read_again(tiny_model_folder: Path) -> None:
    segmenter = Segmenter.from_pretrained(tiny_model_folder, device="cpu", dtype="float32")
    before = segmenter.segment(PICTURE, PROMPTS[0], logits=True).logits
    system = segmenter.processor.prefix((1, 1)).input_ids[1]
    with torch.no_grad():
        segmenter.model.get_input_embeddings().weight[system] += 1
    assert not np.allclose(before, segmenter.segment(PICTURE, PROMPTS[0], logits=True).logits, atol=1e-3)


def test_left_padding_behind_it(tiny_model_folder: Path) -> None:
    segmenter = Segmenter.from_pretrained(tiny_model_folder, device="cpu", dtype="float32")
    model, processor = segmenter.model, segmenter.processor
    batch = processor([Image.open(PICTURE)], [[[Turn("Where is it?", "It is [SEG].")]]])
    talks = [[Turn("Where is it?", answer)] for answer in ("It is [SEG].", "It is somewhere else, I should say.")]
    rows = [single(encode_conversation(processor.tokenizer, turns, processor.tokens_per_tile)) for turns in talks]
    with torch.inference_mode():
        features = model.encode_images(batch.pixel_values)
        prefix = segmenter.fast.prefix(rows)
        whole = model(batch).mask_logits[0]
        for left_padded in (False, True):
            behind = processor.batch([each.after(len(prefix)) for each in rows], [(1, 1)], left_padded=left_padded)
            ours = model(behind, image_features=features, prefix=prefix).mask_logits[0]
            torch.testing.assert_close(ours, whole, rtol=1e-4, atol=1e-4)


def test_it_stands_before_every_row() -> None:
    keys, values = torch.randn(1, 2, 3, 4), torch.randn(1, 2, 3, 4)
    prefix = PrefixCache([keys], [values])
    more = torch.randn(5, 2, 6, 4)
    grown, others = prefix.update(more, more, 0)
    assert grown.shape == others.shape == (5, 2, 9, 4) and len(prefix) == prefix.get_seq_length() == 3
    assert torch.equal(grown[4, :, :3], keys[0]) and torch.equal(others[2, :, 3:], more[2])
