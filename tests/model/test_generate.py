"""Generation: causal, cached, and the same as InternVL's."""

import pytest
import torch
from builders import IMAGE, TOKENS_PER_TILE, batch_of, conversation, pixels, tiny_model
from torch.testing import assert_close
from transformers import InternVLForConditionalGeneration

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def greedy_without_cache(model, row, pixel_values, steps):
    """New ids by the plain definition: the likeliest next token of a causal forward, again and again."""
    ids = torch.tensor([row])
    for _ in range(steps):
        logits = InternVLForConditionalGeneration.forward(model, ids, pixel_values).logits
        ids = torch.cat([ids, logits[:, -1:].argmax(dim=-1)], dim=1)
    return ids[:, len(row) :]


@torch.no_grad()
@pytest.mark.parametrize("segs", [0, 1])
def test_first_logits_are_those_of_a_causal_forward(model, segs):
    """Also behind a `[SEG]`: generation never sees ahead."""
    batch = batch_of([conversation(1, segs)], pixels(1))
    generated = model.generate(
        batch, max_new_tokens=1, do_sample=False, output_logits=True, return_dict_in_generate=True
    )
    causal = InternVLForConditionalGeneration.forward(model, batch.input_ids, pixels(1))
    assert_close(generated.logits[0], causal.logits[:, -1], **CLOSE)
    ours = model(input_ids=batch.input_ids, pixel_values=pixels(1), use_cache=False)
    assert_close(ours.logits, causal.logits, **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("use_cache", [True, False])
def test_greedy(model, use_cache):
    row = conversation(2, 0)
    expected = greedy_without_cache(model, row, pixels(2), steps=5)
    settings = {"max_new_tokens": 5, "do_sample": False, "use_cache": use_cache}
    assert torch.equal(model.generate(batch_of([row], pixels(2), grids=[(2, 1)]), **settings), expected)
    as_internvl = model.generate(input_ids=torch.tensor([row]), pixel_values=pixels(2), **settings)
    assert torch.equal(as_internvl[:, -5:], expected)


@torch.no_grad()
def test_the_lm_head_runs_on_one_position_a_step(model):
    row, seen = conversation(1, 0), []
    hook = model.lm_head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    try:
        model.generate(batch_of([row], pixels(1)), max_new_tokens=3, do_sample=False)
        model.generate(input_ids=torch.tensor([row]), pixel_values=pixels(1), max_new_tokens=2, do_sample=False)
    finally:
        hook.remove()
    assert seen == [1] * 5


@torch.no_grad()
def test_rows_padded_on_the_left_share_a_picture(model):
    rows = [conversation(1, 0), conversation(1, 0, words=6)]
    generated = model.generate(
        batch_of(rows, side="left", grids=[(1, 1)], pictures=[0, 0]),
        image_features=model.encode_images(pixels(1)),
        max_new_tokens=4,
        do_sample=False,
    )
    assert generated.shape == (2, 4)
    for row, ids in zip(rows, generated, strict=True):
        assert torch.equal(ids, greedy_without_cache(model, row, pixels(1), steps=4)[0])


@torch.no_grad()
def test_positions_count_from_the_first_token_behind_the_padding(model):
    """Attention depends on distances alone, but rope that scales with length does not."""
    seen = []
    hook = model.model.language_model.rotary_emb.register_forward_pre_hook(
        lambda _, inputs, named: seen.append(named.get("position_ids", inputs[-1])), with_kwargs=True
    )
    rows = [conversation(1, 0), conversation(1, 0, words=6)]
    try:
        model.generate(batch_of(rows, pixels(2), side="left"), max_new_tokens=2, do_sample=False)
    finally:
        hook.remove()
    asked, written = seen
    for row, ids in enumerate(rows):
        assert asked[row, -len(ids) :].tolist() == list(range(len(ids)))
        assert written[row].tolist() == [len(ids)]


@torch.no_grad()
@pytest.mark.parametrize("options", [{"num_beams": 3, "num_return_sequences": 2}, {"num_beams": 2}])
def test_beams_keep_to_their_pictures(model, options):
    """Two rows with pictures of different tile counts, against each row alone."""
    rows = [conversation(1, 0, words=8), conversation(2, 0)]
    assert len(rows[0]) != len(rows[1])
    one, two = pixels(1, seed=1), pixels(2, seed=2)
    settings = {**options, "max_new_tokens": 3, "do_sample": False}
    together = model.generate(batch_of(rows, torch.cat([one, two]), side="left"), **settings)
    first = model.generate(batch_of([rows[0]], one), **settings)
    second = model.generate(batch_of([rows[1]], two), **settings)
    assert torch.equal(together[:, -3:], torch.cat([first[:, -3:], second[:, -3:]]))


@torch.no_grad()
def test_text_only(model):
    row = conversation(0, 0)
    expected = greedy_without_cache(model, row, None, steps=3)
    assert torch.equal(model.generate(batch_of([row]), max_new_tokens=3, do_sample=False), expected)


def test_a_picture_is_not_forgotten(model):
    with pytest.raises(ValueError, match=f"row 0 holds {TOKENS_PER_TILE} image tokens"):
        model.generate(batch_of([[1, *[IMAGE] * TOKENS_PER_TILE, 2]]), max_new_tokens=1)


def test_masks_do_not_come_out_of_a_cached_pass(model):
    with pytest.raises(TypeError, match="takes no masks"):
        model(
            input_ids=torch.tensor([conversation(1, 1)]),
            pixel_values=pixels(1),
            masks=[torch.zeros(1, 4, 4)],
            use_cache=True,
        )
