"""The rival of the benchmarks is what it says: the release's arithmetic, and ours to rounding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from benchmarks.reference import BATCH, Reference
from self1e import SELF1EProcessor
from self1e.checkpoints.convert import convert_checkpoint
from self1e.checkpoints.verify import reference_token_ids, verify
from self1e.conversation import Turn
from self1e.model.batch import Batch
from self1e.model.network import SELF1EForSegmentation
from self1e.segment.segmenter import Segmenter


@pytest.mark.parametrize("name", ["tiny-internvl3-qwen2", "tiny-internvl35-qwen3"])
def test_is_what_the_released_code_computed(
    name: str, golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features, states, logits, masks, losses and the norm of every gradient."""
    recorded = golden / name
    convert_checkpoint(recorded, tmp_path / "model", **reference_token_ids(recorded))
    monkeypatch.setattr(
        SELF1EForSegmentation, "forward", lambda model, batch, **inputs: Reference(model)(batch, **inputs)
    )
    report = verify(tmp_path / "model", recorded, tolerance=3e-5)
    assert report.passed, str(report)
    compared = {each.quantity for each in report.comparisons}
    assert {"uncompressed_features", "last_hidden_state", "logits", "mask_logits.1", "loss", "ce_loss"} <= compared
    assert sum(quantity.startswith("grad") for quantity in compared) > 80


@pytest.fixture
def model(tiny_model_folder: Path) -> SELF1EForSegmentation:
    return SELF1EForSegmentation.from_pretrained(tiny_model_folder).eval()


@pytest.fixture
def processor(tiny_model_folder: Path) -> SELF1EProcessor:
    return SELF1EProcessor.from_pretrained(tiny_model_folder)


TURNS = [[Turn(f"Please segment the {ball} in this image.", "[SEG].")] for ball in ("red ball", "blue ball or ball")]


def batches(processor: SELF1EProcessor, image: Image.Image, **masks: Any) -> tuple[Batch, Batch]:
    """For the reference, with a copy of the picture for each row, and for ours, with the picture once."""
    return processor([image] * 2, [[turns] for turns in TURNS], **masks), processor([image], [TURNS], **masks)


@pytest.mark.parametrize("tiles", [1, 2, 4])
@pytest.mark.parametrize("image_to_segmentation", [True, False])
def test_is_our_forward(
    model: SELF1EForSegmentation, processor: SELF1EProcessor, tiles: int, image_to_segmentation: bool
) -> None:
    model.config.image_to_segmentation = image_to_segmentation
    processor.max_tiles = tiles
    image = Image.effect_noise((128, 64 if tiles == 2 else 128), 90).convert("RGB")
    truths = [torch.zeros(1, *reversed(image.size), dtype=torch.uint8).index_fill(2, torch.arange(40), 1)] * 2
    repeated, once = batches(processor, image, masks=truths)
    theirs, ours = Reference(model)(repeated), model(once, logits_at=torch.arange(once.input_ids.numel()))
    assert ours.mask_logits is not None and theirs.mask_logits is not None
    assert ours.mask_logits[0].std() > 1e-2
    real = once.attention_mask
    assert_close(theirs.last_hidden_state[real], ours.last_hidden_state[real], atol=1e-4, rtol=1e-4)
    assert_close(theirs.logits[real], ours.logits.unflatten(0, real.shape)[real], atol=1e-4, rtol=1e-4)
    assert_close(theirs.mask_logits, ours.mask_logits, atol=1e-4, rtol=1e-4)
    assert_close(theirs.low_resolution_mask_logits, ours.low_resolution_mask_logits, atol=1e-4, rtol=1e-4)
    for name in ("loss", "ce_loss", "mask_bce_loss", "mask_dice_loss"):
        assert_close(theirs[name], ours[name], atol=1e-5, rtol=1e-5)


def test_segments_as_the_segmenter_does(model: SELF1EForSegmentation, processor: SELF1EProcessor) -> None:
    image = Image.effect_noise((80, 60), 90).convert("RGB")
    questions = [f"What is {'red ' * number}ball in this image?" for number in range(BATCH + 1)]
    masks = Reference(model).segment(processor, image, questions)
    results = Segmenter(model, processor).segment(image, questions, template="none", logits=True)
    assert [mask.shape for mask in masks] == [(1, 60, 80)] * len(questions)
    for mask, result in zip(masks, results, strict=True):
        np.testing.assert_allclose(mask, result.logits, atol=1e-4, rtol=1e-4)


def test_keeps_the_parts_it_was_made_of(model: SELF1EForSegmentation, processor: SELF1EProcessor) -> None:
    """A model that is made faster afterwards, by other parts in place of these, leaves the rival as it was."""
    image = Image.effect_noise((64, 64), 90).convert("RGB")
    reference = Reference(model)
    before = reference.segment(processor, image, ["red ball"])
    model.refilling_head = torch.nn.Identity()
    model.model.multi_modal_projector = torch.nn.Identity()
    assert_close(reference.segment(processor, image, ["red ball"]), before, atol=0, rtol=0)


def test_attention_is_eager_only_meanwhile(model: SELF1EForSegmentation, processor: SELF1EProcessor) -> None:
    seen = []
    model.model.language_model.register_forward_hook(lambda tower, *_: seen.append(tower.config._attn_implementation))
    model.model.vision_tower.register_forward_hook(lambda tower, *_: seen.append(tower.config._attn_implementation))
    Reference(model).segment(processor, Image.new("RGB", (64, 64)), ["red ball"])
    assert seen == ["eager", "eager"]
    assert model.config.text_config._attn_implementation == "sdpa"


def test_refuses_what_the_release_cannot_do(model: SELF1EForSegmentation, processor: SELF1EProcessor) -> None:
    image = Image.new("RGB", (64, 64))
    reference = Reference(model)
    with pytest.raises(ValueError, match="repeats the picture"):
        reference(processor([image], [TURNS]))
    with pytest.raises(ValueError, match="packed"):
        reference(processor([image], [TURNS], pack_rows=True))
    model.config.refilling = "rfr"
    with pytest.raises(ValueError, match="'rfr'"):
        Reference(model)
