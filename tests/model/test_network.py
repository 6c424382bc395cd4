"""The model as a whole: what rows, padding, packing and pathways may and may not change."""

import pytest
import torch
from builders import IMAGE, SEG, VOCABULARY, batch_of, conversation, pixels, tiny_config, tiny_model
from torch.testing import assert_close
from transformers import AutoConfig, AutoModelForImageTextToText, DynamicCache, InternVLForConditionalGeneration

from self1e.model.batch import Row, build_batch
from self1e.model.config import SELF1EConfig
from self1e.model.network import SELF1EForSegmentation

RUNGS = ("baseline", "uncompressed", "rfr", "rfa")
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def supervised(rows, tiles, **options):
    """A batch of rows with labels at every second token, and its masks."""
    labels = [[token if place % 2 else -100 for place, token in enumerate(row)] for row in rows]
    generator = torch.Generator().manual_seed(0)
    masks = [torch.randint(0, 2, (row.count(SEG), 20, 30), generator=generator) for row in rows]
    return batch_of(rows, pixels(tiles) if tiles else None, labels=labels, masks=masks, **options)


def causal_states(model, ids, pixel_values=None):
    """What InternVL's own forward makes of token ids."""
    output = InternVLForConditionalGeneration.forward(model, ids, pixel_values, output_hidden_states=True)
    return output.hidden_states[-1]


@pytest.mark.parametrize("text_model", ["qwen2", "qwen3"])
def test_eager_and_sdpa_agree(text_model):
    batch = supervised([conversation(1, 1), conversation(1, 2, words=6), conversation(1, 0)], tiles=3)
    outputs = []
    for implementation in ("eager", "sdpa"):
        model = tiny_model(text_model)
        model.set_attn_implementation(implementation)
        outputs.append(model(batch))
    eager, sdpa = outputs
    real = batch.attention_mask
    assert_close(eager.last_hidden_state[real], sdpa.last_hidden_state[real], **CLOSE)
    assert_close(eager.loss, sdpa.loss, **CLOSE)


def test_other_attention_is_refused():
    model = tiny_model()
    model.config.text_config._attn_implementation = "flash_attention_2"
    with pytest.raises(ValueError, match="sdpa"):
        model(batch_of([conversation(1, 1)], pixels(1)))


@pytest.mark.parametrize(
    "more",
    [
        {"pixel_value": pixels(1), "output_attentions": True},
        {"input_ids": torch.tensor([[1]])},
        {"use_cache": False},
        {"use_cache": True},
        {"labels": torch.tensor([[1]])},
        {"position_ids": torch.tensor([[0]])},
        {"attention_mask": torch.tensor([[1]])},
        {"logits_to_keep": 1},
        {"masks": [torch.zeros(1, 4, 4)]},
    ],
    ids=lambda more: next(iter(more)),
)
def test_the_mask_pass_takes_nothing_that_it_would_ignore(model, more):
    with pytest.raises(TypeError, match=f"the mask pass takes no {', '.join(sorted(more))}: "):
        model(batch_of([conversation(1, 1)], pixels(1)), **more)


@pytest.mark.parametrize("use_cache", [{}, {"use_cache": False}, {"use_cache": True}], ids=str)
@pytest.mark.parametrize(
    "ours",
    [
        {"masks": [torch.zeros(1, 4, 4)]},
        {"masks": [None], "grids": [(1, 1)]},
        {"picture_index": torch.tensor([0]), "conversation_ids": torch.tensor([[0]])},
    ],
    ids=lambda ours: next(iter(ours)),
)
def test_the_causal_forward_does_not_pass_over_what_is_for_masks(model, use_cache, ours):
    ids = torch.tensor([conversation(1, 1)])
    with pytest.raises(TypeError, match=f"the causal forward takes no {', '.join(sorted(ours))}: make a Batch"):
        model(input_ids=ids, pixel_values=pixels(1), **ours, **use_cache)


@pytest.mark.parametrize("name", ["image_features", "prefix", "logits_at"])
def test_the_causal_forward_does_not_pass_over_arguments_of_the_mask_pass(model, name):
    given = {"image_features": model.encode_images(pixels(1)), "logits_at": torch.tensor([0])}
    given["prefix"] = DynamicCache()
    with pytest.raises(TypeError, match=name):
        model(input_ids=torch.tensor([conversation(1, 1)]), pixel_values=pixels(1), **{name: given[name]})


@torch.no_grad()
def test_without_a_batch_it_is_the_forward_of_internvl(model):
    ids = torch.tensor([conversation(1, 1)])
    ours = model(input_ids=ids, pixel_values=pixels(1), labels=ids, output_hidden_states=True)
    theirs = InternVLForConditionalGeneration.forward(model, ids, pixels(1), labels=ids)
    assert torch.equal(ours.logits, theirs.logits) and torch.equal(ours.loss, theirs.loss)
    assert torch.equal(ours.hidden_states[-1], causal_states(model, ids, pixels(1)))
    assert not hasattr(ours, "mask_logits")


@torch.no_grad()
def test_pathways_change_what_they_should(model):
    """States before the picture never change; a pathway that is closed makes the image states those of causal LLMs."""
    batch = batch_of([conversation(1, 1)], pixels(1))
    states = {}
    for to_image in (True, False):
        for to_segmentation in (True, False):
            model.config.image_to_image, model.config.image_to_segmentation = to_image, to_segmentation
            states[to_image, to_segmentation] = model(batch).last_hidden_state[0]
    model.config.image_to_image = model.config.image_to_segmentation = True
    image = batch.image_tokens[0].nonzero().flatten()
    first, last = image[0].item(), image[-1].item()
    for one, other in ((a, b) for a in states for b in states if a != b):
        assert_close(states[one][:first], states[other][:first], **CLOSE)
        assert (states[one][first:last] - states[other][first:last]).abs().max() > 1e-3
    assert_close(states[False, False], causal_states(model, batch.input_ids, pixels(1))[0], **CLOSE)


@torch.no_grad()
def test_later_seg_reaches_the_picture_by_its_pathway_only(model):
    """Change the embedding of `[SEG]`: image states follow if image-to-segmentation is on, and not if it is off."""
    batch = batch_of([conversation(1, 1)], pixels(1))
    image = batch.image_tokens[0]
    embeddings = model.get_input_embeddings().weight
    kept = embeddings[SEG].clone()
    for pathway in (True, False):
        model.config.image_to_segmentation = pathway
        before = model(batch).last_hidden_state[0][image]
        embeddings[SEG] += 1
        after = model(batch).last_hidden_state[0][image]
        embeddings[SEG] = kept
        assert torch.equal(before, after) != pathway
    model.config.image_to_segmentation = True


@pytest.mark.parametrize("refilling", RUNGS)
def test_every_rung_trains_saves_and_loads(refilling, tmp_path):
    model = tiny_model(refilling=refilling)
    batch = supervised([conversation(2, 1), conversation(2, 2)], tiles=4, grids=[(2, 1), (1, 2)])
    output = model(batch)
    output.loss.backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == []
    model.save_pretrained(tmp_path)
    loaded = SELF1EForSegmentation.from_pretrained(tmp_path)
    assert loaded.config.refilling == refilling
    again = loaded(batch)
    for one, other in zip(output.mask_logits, again.mask_logits, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("text_model", ["qwen2", "qwen3"])
def test_gradient_reaches_every_parameter(text_model):
    model = tiny_model(text_model)
    model(supervised([conversation(1, 1), conversation(1, 2)], tiles=2)).loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_tied_embeddings_save_and_load(tmp_path):
    model = tiny_model(tie_word_embeddings=True)
    assert model.lm_head.weight is model.get_input_embeddings().weight
    model.save_pretrained(tmp_path)
    loaded = SELF1EForSegmentation.from_pretrained(tmp_path)
    assert loaded.lm_head.weight is loaded.get_input_embeddings().weight


@torch.no_grad()
def test_one_picture_shared_by_rows(model):
    """A picture that is encoded once for three rows, of other tile counts than its neighbour, gives the same masks."""
    rows = [conversation(2, 1, seed=1), conversation(1, 1, seed=2), conversation(2, 2, seed=3), conversation(0, 0)]
    first, second = pixels(2, seed=1), pixels(1, seed=2)
    both = torch.cat([first, second])
    shared = model(batch_of(rows, both, grids=[(2, 1), (1, 1)], pictures=[0, 1, 0, -1]))
    assert shared.image_features.compressed.shape[0] == 3
    for index, (row, tiles, grid) in enumerate(
        zip(rows[:3], (first, second, first), ((2, 1), (1, 1), (2, 1)), strict=True)
    ):
        alone = model(batch_of([row], tiles, grids=[grid]))
        assert_close(shared.mask_logits[index], alone.mask_logits[0], **CLOSE)
        assert_close(shared.last_hidden_state[index, : len(row)], alone.last_hidden_state[0], **CLOSE)
    text = model(batch_of([rows[3]]))
    assert_close(shared.last_hidden_state[3, : len(rows[3])], text.last_hidden_state[0], **CLOSE)
    assert shared.mask_logits[3].shape[0] == 0


@torch.no_grad()
def test_encoded_pictures_in_place_of_pixels(model):
    row = conversation(2, 1)
    features = model.encode_images(pixels(2))
    assert torch.equal(
        model(batch_of([row], grids=[(1, 2)]), image_features=features).mask_logits[0],
        model(batch_of([row], pixels(2), grids=[(1, 2)])).mask_logits[0],
    )


def packed(prefix, tails):
    """One row with a shared prefix and conversations behind it, each with positions as if it stood there alone."""
    ids, conversations, positions = list(prefix), [0] * len(prefix), list(range(len(prefix)))
    # Each tail's first token is predicted by the prefix's last in separate rows, which packing cannot do.
    labels = [-100] * len(prefix) + [label for tail in tails for label in (-100, *tail[1:])]
    for number, tail in enumerate(tails, start=1):
        ids += tail
        conversations += [number] * len(tail)
        positions += range(len(prefix), len(prefix) + len(tail))
    return Row(ids, labels, conversations, positions)


@pytest.mark.parametrize("text_model", ["qwen2", "qwen3"])
def test_packed_conversations_equal_separate_rows(text_model):
    model = tiny_model(text_model, image_to_segmentation=False)
    prefix, tails = [3, 4] + [IMAGE] * 8 + [5], [[6, 7, SEG, 8], [9, SEG, 10, SEG], [11, 12, 13]]
    row = packed(prefix, tails)
    masks = [torch.randint(0, 2, (tail.count(SEG), 9, 17)) for tail in tails]
    together = model(batch_of([row], pixels(2), labels=[row.labels], masks=[torch.cat(masks)]))
    together.loss.backward()
    gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    apart = model(
        batch_of(
            [prefix + tail for tail in tails],
            pixels(2),
            grids=[(2, 1)],
            pictures=[0, 0, 0],
            labels=[[-100] * (len(prefix) + 1) + tail[1:] for tail in tails],
            masks=masks,
            bidirectional=[True] * 3,
        )
    )
    apart.loss.backward()
    assert_close(together.mask_logits[0], torch.cat(apart.mask_logits[:2]), rtol=1e-4, atol=3e-5)
    start = len(prefix)
    for index, tail in enumerate(tails):
        states = together.last_hidden_state[0, start : start + len(tail)]
        assert_close(
            states, apart.last_hidden_state[index, len(prefix) : len(prefix) + len(tail)], rtol=1e-4, atol=3e-5
        )
        start += len(tail)
    for name in ("loss", "ce_loss", "mask_bce_loss", "mask_dice_loss"):
        assert_close(together[name], apart[name], rtol=1e-4, atol=3e-5)
    for name, parameter in model.named_parameters():
        assert_close(gradients[name], parameter.grad, rtol=1e-4, atol=1e-5)


def test_text_only_rows(model):
    row = conversation(0, 0, words=5)
    output = model(batch_of([row], labels=True), logits_at=torch.arange(len(row)))
    assert output.mask_logits is None and output.mask_bce_loss is None
    assert output.logits.shape == (len(row), VOCABULARY)
    expected = torch.nn.functional.cross_entropy(output.logits[:-1], torch.tensor(row[1:]))
    assert_close(output.ce_loss, expected)
    assert_close(output.loss, output.ce_loss)


@pytest.mark.parametrize("segs", [0, 1, 2, 5])
def test_any_number_of_segs(model, segs):
    output = model(supervised([conversation(1, segs)], tiles=1))
    assert output.mask_logits[0].shape[0] == output.low_resolution_mask_logits[0].shape[0] == segs
    assert output.loss.isfinite()
    if segs == 0:
        assert output.mask_bce_loss == output.mask_dice_loss == 0


@torch.no_grad()
def test_each_seg_has_its_own_mask(model):
    output = model(batch_of([conversation(1, 2)], pixels(1)))
    assert (output.mask_logits[0][0] - output.mask_logits[0][1]).abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_changes_nothing(model, side):
    rows = [conversation(1, 1), conversation(1, 2, words=7)]
    masks = [torch.randint(0, 2, (row.count(SEG), 20, 30)) for row in rows]
    labels = [[-100, *row[1:]] for row in rows]  # the first token is not predicted

    def given(*chosen, **options):
        own = {"labels": [labels[row] for row in chosen], "masks": [masks[row] for row in chosen]}
        return batch_of([rows[row] for row in chosen], pixels(2)[list(chosen)], **own, **options)

    alone = [model(given(row)) for row in (0, 1)]
    batch = given(0, 1, side=side)
    padded = model(batch)
    for row, one in enumerate(alone):
        assert_close(padded.last_hidden_state[row][batch.attention_mask[row]], one.last_hidden_state[0], **CLOSE)
        assert_close(padded.mask_logits[row], one.mask_logits[0], **CLOSE)
    for name in ("mask_bce_loss", "mask_dice_loss"):
        assert_close(padded[name], sum(one[name] for one in alone) / 2, **CLOSE)
    counts = [len(row) - 1 for row in rows]
    mean = sum(one.ce_loss * count for one, count in zip(alone, counts, strict=True)) / sum(counts)
    assert_close(padded.ce_loss, mean, **CLOSE)


def test_gradient_checkpointing_changes_nothing():
    batch = supervised([conversation(1, 1), conversation(1, 2)], tiles=2)
    gradients = []
    for checkpointing in (False, True):
        other = tiny_model().train()
        if checkpointing:
            other.gradient_checkpointing_enable()
        other(batch).loss.backward()
        gradients.append({name: parameter.grad for name, parameter in other.named_parameters()})
    for name, gradient in gradients[0].items():
        assert_close(gradient, gradients[1][name])


@torch.no_grad()
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_half_precision(implementation):
    model = tiny_model().to(torch.bfloat16)
    model.set_attn_implementation(implementation)
    batch = supervised([conversation(1, 1), conversation(1, 1, words=6)], tiles=2)
    output = model(batch)
    assert output.mask_logits[0].dtype == torch.bfloat16
    assert output.loss.dtype == torch.float32 and output.loss.isfinite()
    expected = tiny_model()(batch).loss
    assert output.loss.item() == pytest.approx(expected.item(), rel=0.1)


@torch.no_grad()
def test_the_padding_id_is_a_token_like_any_other(model):
    """Id 0 is "!" in the real vocabulary: inside a conversation it is read, not masked out."""
    row = conversation(1, 1)
    zero, seven = [[*row[:-4], token, *row[-4:]] for token in (0, 7)]
    states = [model(batch_of([each], pixels(1))).last_hidden_state[0] for each in (zero, seven)]
    assert (states[0][-1] - states[1][-1]).abs().max() > 1e-3


@torch.no_grad()
def test_image_and_seg_ids_under_padding_do_not_count(model):
    """Padding may hold any id."""
    row, longer = conversation(1, 1), conversation(0, 0, words=20)
    expected = model(batch_of([row], pixels(1)))
    for pad in (IMAGE, SEG):
        for side in ("left", "right"):
            output = model(batch_of([row, longer], pixels(1), pad=pad, side=side))
            assert_close(output.mask_logits[0], expected.mask_logits[0], **CLOSE)
            assert output.mask_logits[1].shape[0] == 0


@torch.no_grad()
def test_rows_that_are_not_bidirectional_are_causal(model):
    batch = batch_of([conversation(1, 1), conversation(1, 1)], pixels(2), bidirectional=[True, False])
    output = model(batch)
    assert [logits.shape[0] for logits in output.mask_logits] == [1, 0]
    assert_close(output.last_hidden_state[1], causal_states(model, batch.input_ids, pixels(2))[1], **CLOSE)


def test_losses_add_up(model):
    output = model(supervised([conversation(1, 2)], tiles=1))
    config = model.config
    expected = config.ce_weight * output.ce_loss
    expected = expected + config.bce_weight * output.mask_bce_loss + config.dice_weight * output.mask_dice_loss
    assert_close(output.loss, expected)


def test_output_reads_like_a_dictionary(model):
    output = model(supervised([conversation(1, 1)], tiles=1))
    assert output["loss"] is output.loss is output[0]
    assert "logits" not in output


def test_no_supervised_token(model):
    row = conversation(1, 1)
    output = model(batch_of([row], pixels(1), labels=[[-100] * len(row)]))
    assert output.loss == 0 and output.loss.requires_grad


@torch.no_grad()
def test_logits_are_those_of_chosen_places(model):
    batch = batch_of([conversation(1, 1), conversation(1, 2, words=6)], pixels(2))
    output = model(batch, logits_at=batch.before_seg)
    states = output.last_hidden_state.flatten(0, 1)[batch.before_seg]
    assert output.logits.shape == (3, VOCABULARY)
    assert torch.equal(output.logits, model.lm_head(states))


class TestInputsThatDoNotFit:
    def test_no_rows(self, model):
        empty = build_batch([], image_token_id=IMAGE, seg_token_id=SEG)
        with pytest.raises(ValueError, match="no rows"):
            model(empty)

    def test_image_tokens_without_a_picture(self, model):
        with pytest.raises(ValueError, match="row 0 holds 4 image tokens"):
            model(batch_of([conversation(1, 1)], grids=[], pictures=[-1]))

    def test_a_picture_without_pixels_or_features(self, model):
        with pytest.raises(ValueError, match="row 0 holds 4 image tokens"):
            model(batch_of([conversation(1, 1)]))

    def test_swapped_pictures(self, model):
        """As many image tokens as tiles in all, but not in each row."""
        with pytest.raises(ValueError, match="row 0 holds 4 image tokens; its picture has 2 tiles"):
            model(batch_of([conversation(1, 1), conversation(2, 1)], pixels(3), grids=[(2, 1), (1, 1)]))

    @pytest.mark.parametrize("tiles", [1, 3])
    def test_features_of_other_pictures(self, model, tiles):
        batch = batch_of([conversation(2, 1)])
        with pytest.raises(ValueError, match="tiles"):
            model(batch, image_features=model.encode_images(pixels(tiles)))

    def test_masks_of_another_number(self, model):
        with pytest.raises(ValueError, match="row 0 has 1 mask maps but 2 masks"):
            model(batch_of([conversation(1, 1)], pixels(1), masks=[torch.zeros(2, 4, 4)]))

    def test_masks_without_a_picture(self, model):
        with pytest.raises(ValueError, match="no picture"):
            model(batch_of([conversation(0, 1)], masks=[torch.zeros(1, 4, 4)]))


class TestConfig:
    def test_unknown_rung(self):
        with pytest.raises(ValueError, match="refilling"):
            tiny_config(refilling="all")

    def test_other_downsampling(self):
        with pytest.raises(ValueError, match="downsample_ratio"):
            tiny_config(downsample_ratio=0.25)

    @pytest.mark.parametrize("layer", [0, 1])
    def test_a_pathway_from_some_layer_on(self, layer):
        """What 0.1 could do and this cannot. Its folders say 0 where it was not used."""
        if layer:
            with pytest.raises(ValueError, match="image_to_segmentation_from above 0 is no longer known"):
                tiny_config(image_to_segmentation_from=layer)
        else:
            config = tiny_config(image_to_segmentation_from=layer)
            assert config.image_to_segmentation and "image_to_segmentation_from" not in config.to_dict()

    def test_round_trip(self, tmp_path):
        config = tiny_config(refilling="rfr", image_to_segmentation=False, dice_weight=2.0, mask_loss_side=64)
        config.save_pretrained(tmp_path)
        assert SELF1EConfig.from_pretrained(tmp_path).to_dict() == config.to_dict()


def test_auto_classes(tmp_path):
    tiny_model().save_pretrained(tmp_path)
    assert type(AutoConfig.from_pretrained(tmp_path)) is SELF1EConfig
    assert type(AutoModelForImageTextToText.from_pretrained(tmp_path)) is SELF1EForSegmentation
