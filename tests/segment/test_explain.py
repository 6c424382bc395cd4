"""The steps to a mask, against plain forward passes and the equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from self1e import Segmenter
from self1e.conversation import Turn
from self1e.model.attention_mask import DualPerception, as_attention_bias
from self1e.model.config import RUNGS, SELF1EConfig
from self1e.model.network import SELF1EForSegmentation
from self1e.model.refilling import stitch
from self1e.processing.prompts import EVAL_ANSWER, PromptError, question_for

PROMPT = "the red ball"
CLOSE = {"rtol": 0, "atol": 1e-4}


def picture(width: int = 180, height: int = 90) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture
def segmenter(tiny_model_folder) -> Segmenter:
    """Two tiles side by side for the picture."""
    return Segmenter.from_pretrained(tiny_model_folder, device="cpu", max_tiles=2)


@torch.no_grad()
def plain_pass(segmenter: Segmenter):
    """A batch of the conversation, the plain network, and what it makes of it."""
    plain = SELF1EForSegmentation.from_pretrained(segmenter.model_name).eval()
    turns = [Turn(question_for(PROMPT), EVAL_ANSWER)]
    batch = segmenter.processor([picture()], [[turns]], labels=False)
    return batch, plain, plain(batch)


def test_maps_are_those_of_the_method(segmenter):
    explained = segmenter.explain(picture(), PROMPT)
    batch, plain, made = plain_pass(segmenter)
    head, vision = plain.refilling_head, made.image_features.vision
    with torch.no_grad():
        embedding = head.segmentation_embedding(made.last_hidden_state.flatten(0, 1)[batch.before_seg])[0]
        given = stitch(vision.compressed, 2, 1) @ embedding * head.scale
        alone = head.fuse(stitch(vision.uncompressed, 2, 1)) @ embedding * head.scale
    assert (explained.prompt, explained.grid) == (PROMPT, (2, 1))
    assert_close(torch.from_numpy(explained.refilled), made.mask_logits[0][0], **CLOSE)
    assert_close(torch.from_numpy(explained.llm), made.low_resolution_mask_logits[0][0], **CLOSE)
    assert_close(torch.from_numpy(explained.residual), made.low_resolution_mask_logits[0][0] - given, **CLOSE)
    assert_close(torch.from_numpy(explained.uncompressed), alone, **CLOSE)
    assert explained.llm.shape == (8, 16) and explained.refilled.shape == (16, 32)
    assert explained.refilled.std() > 0.1  # or the comparison would mean little


def test_attention_is_what_transformers_says(segmenter):
    explained = segmenter.explain(picture(), PROMPT)
    batch, plain, made = plain_pass(segmenter)
    plain.set_attn_implementation("eager")
    with torch.no_grad():
        embeddings = plain.embed(batch, made.image_features)
        visible = DualPerception(batch.attention_mask, batch.image_tokens, batch.seg_tokens).mask()
        seen = plain.model.language_model(
            inputs_embeds=embeddings,
            attention_mask=as_attention_bias(visible, embeddings.dtype),
            position_ids=batch.position_ids,
            output_attentions=True,
        ).attentions
    place = int(batch.before_seg)
    assert explained.attention.shape == (len(seen), 4, 8)
    for ours, theirs in zip(explained.attention, seen, strict=True):
        tiles = theirs[0, :, place, batch.image_places].mean(dim=0).view(2, 4, 4)
        assert_close(torch.from_numpy(ours), torch.cat(list(tiles), dim=1), **CLOSE)
        assert 0 < ours.sum() < 1  # the rest goes to words


def test_the_model_stays_as_it_was(segmenter):
    before = segmenter.segment(picture(), PROMPT, logits=True)
    encoded = segmenter.encode(picture())
    assert np.array_equal(segmenter.explain(encoded, PROMPT).refilled, segmenter.explain(picture(), PROMPT).refilled)
    after = segmenter.segment(encoded, PROMPT, logits=True)  # an encoded picture is as good as before
    assert np.array_equal(before.logits, after.logits)
    assert segmenter.model.config.text_config._attn_implementation == "sdpa"
    assert not any(layer.self_attn._forward_hooks for layer in segmenter.model.model.language_model.layers)


@pytest.mark.parametrize("rung", RUNGS)
def test_lower_rungs_have_fewer_steps(segmenter, rung):
    config = SELF1EConfig.from_pretrained(segmenter.model_name, refilling=rung)
    lower = Segmenter(SELF1EForSegmentation(config), segmenter.processor)
    explained = lower.explain(picture(), PROMPT)
    assert (explained.residual is not None) == RUNGS[rung].residual
    assert (explained.uncompressed is not None) == RUNGS[rung].uncompressed
    side = lower.runner.map_side
    assert explained.refilled.shape == (side, 2 * side) == (4 * RUNGS[rung].scale, 8 * RUNGS[rung].scale)


def test_what_cannot_be_explained(segmenter):
    with pytest.raises(PromptError, match="empty"):
        segmenter.explain(picture(), " ")
    with pytest.raises(ValueError, match="set_image"):
        segmenter.explain(None, PROMPT)
    segmenter.set_image(picture())
    assert segmenter.explain(None, PROMPT).prompt == PROMPT
