"""Generation: causal, cached, and the same as InternVL's."""

import pytest
import torch
from builders import batch_of, conversation, pixels, tiny_model
from torch.testing import assert_close
from transformers import InternVLForConditionalGeneration

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def greedy_without_cache(model, batch, pixel_values, steps):
    """Token ids by the plain definition: the likeliest next token of a causal forward, again and again."""
    ids = batch["input_ids"]
    for _ in range(steps):
        logits = InternVLForConditionalGeneration.forward(model, ids, pixel_values).logits
        ids = torch.cat([ids, logits[:, -1:].argmax(dim=-1)], dim=1)
    return ids


@torch.no_grad()
@pytest.mark.parametrize("segs", [0, 1])
def test_first_logits_are_those_of_a_causal_forward(model, segs):
    """Also behind a `[SEG]`: generation never sees ahead."""
    batch = batch_of([conversation(1, segs)])
    generated = model.generate(
        **batch,
        pixel_values=pixels(1),
        max_new_tokens=1,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
    )
    causal = InternVLForConditionalGeneration.forward(model, batch["input_ids"], pixels(1))
    assert_close(generated.logits[0], causal.logits[:, -1], **CLOSE)
    ours = model(**batch, pixel_values=pixels(1), use_cache=False)
    assert_close(ours.logits, causal.logits, **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("use_cache", [True, False])
def test_greedy(model, use_cache):
    batch = batch_of([conversation(2, 0)])
    expected = greedy_without_cache(model, batch, pixels(2), steps=5)
    generated = model.generate(
        **batch,
        pixel_values=pixels(2),
        tile_grids=[(2, 1)],
        max_new_tokens=5,
        do_sample=False,
        use_cache=use_cache,
    )
    assert torch.equal(generated, expected)


@torch.no_grad()
def test_rows_padded_on_the_left_share_a_picture(model):
    rows = [conversation(1, 0), conversation(1, 0, words=6)]
    features = model.encode_images(pixels(1))
    generated = model.generate(
        **batch_of(rows, side="left"),
        image_features=features,
        picture_index=torch.tensor([0, 0]),
        max_new_tokens=4,
        do_sample=False,
    )
    for row, ids in zip(rows, generated, strict=True):
        alone = greedy_without_cache(model, batch_of([row]), pixels(1), steps=4)
        assert torch.equal(ids[-4:], alone[0, -4:])


@torch.no_grad()
@pytest.mark.parametrize("options", [{"num_beams": 3, "num_return_sequences": 2}, {"num_beams": 2}])
def test_beams_keep_to_their_pictures(model, options):
    """Two rows with pictures of different tile counts, against each row alone."""
    rows = [conversation(1, 0, words=8), conversation(2, 0)]
    assert len(rows[0]) != len(rows[1])
    one, two = pixels(1, seed=1), pixels(2, seed=2)
    settings = {**options, "max_new_tokens": 3, "do_sample": False}
    together = model.generate(
        **batch_of(rows, side="left"),
        pixel_values=torch.cat([one, two]),
        tile_grids=[(1, 1), (2, 1)],
        **settings,
    )
    first = model.generate(**batch_of([rows[0]]), pixel_values=one, **settings)
    second = model.generate(**batch_of([rows[1]]), pixel_values=two, tile_grids=[(2, 1)], **settings)
    assert torch.equal(together[:, -3:], torch.cat([first[:, -3:], second[:, -3:]]))


@torch.no_grad()
def test_text_only(model):
    batch = batch_of([conversation(0, 0)])
    expected = greedy_without_cache(model, batch, None, steps=3)
    assert torch.equal(model.generate(**batch, max_new_tokens=3, do_sample=False), expected)


def test_masks_do_not_come_out_of_a_cached_pass(model):
    with pytest.raises(ValueError, match="mask pass"):
        model(**batch_of([conversation(1, 1)]), pixel_values=pixels(1), masks=[torch.zeros(1, 4, 4)], use_cache=True)
