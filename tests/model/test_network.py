"""The model as a whole: what rows, padding, packing and pathways may and may not change."""

import pytest
import torch
from builders import IMAGE, SEG, VOCABULARY, batch_of, conversation, pixels, tiny_config, tiny_model
from torch.testing import assert_close
from transformers import AutoConfig, AutoModelForImageTextToText, InternVLForConditionalGeneration

from self1e.model.config import SELF1EConfig
from self1e.model.network import SELF1EForSegmentation

RUNGS = ("baseline", "uncompressed", "rfr", "rfa")
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def supervised(rows, **options):
    """A batch of rows with labels at every second token, and its masks."""
    batch = batch_of(rows, **options)
    labels = batch["input_ids"].clone()
    labels[:, ::2] = -100
    labels[~batch["attention_mask"]] = -100
    masks = [torch.randint(0, 2, (row.count(SEG), 20, 30)) for row in rows]
    return {**batch, "labels": labels, "masks": masks}


@pytest.mark.parametrize("text_model", ["qwen2", "qwen3"])
def test_eager_and_sdpa_agree(text_model):
    batch = supervised([conversation(1, 1), conversation(1, 2, words=6), conversation(1, 0)])
    outputs = []
    for implementation in ("eager", "sdpa"):
        model = tiny_model(text_model)
        model.set_attn_implementation(implementation)
        outputs.append(model(**batch, pixel_values=pixels(3)))
    eager, sdpa = outputs
    real = batch["attention_mask"]
    assert_close(eager.last_hidden_state[real], sdpa.last_hidden_state[real], **CLOSE)
    assert_close(eager.loss, sdpa.loss, **CLOSE)


def test_other_attention_is_refused():
    model = tiny_model()
    model.config.text_config._attn_implementation = "flash_attention_2"
    with pytest.raises(ValueError, match="sdpa"):
        model(**batch_of([conversation(1, 1)]), pixel_values=pixels(1))


def test_the_mask_pass_takes_nothing_that_it_would_ignore(model):
    with pytest.raises(TypeError, match="takes no output_attentions, pixel_value;"):
        model(**batch_of([conversation(1, 1)]), pixel_value=pixels(1), output_attentions=True)


@torch.no_grad()
def test_pathways_change_what_they_should(model):
    """States before the picture never change; a pathway that is closed makes the image states those of causal LLMs."""
    batch = batch_of([conversation(1, 1)])
    states = {}
    for to_image in (True, False):
        for to_segmentation in (True, False):
            model.config.image_to_image, model.config.image_to_segmentation = to_image, to_segmentation
            states[to_image, to_segmentation] = model(**batch, pixel_values=pixels(1)).last_hidden_state[0]
    model.config.image_to_image = model.config.image_to_segmentation = True
    image = (batch["input_ids"][0] == IMAGE).nonzero().flatten()
    first, last = image[0].item(), image[-1].item()
    for one, other in ((a, b) for a in states for b in states if a != b):
        assert_close(states[one][:first], states[other][:first], **CLOSE)
        assert (states[one][first:last] - states[other][first:last]).abs().max() > 1e-3
    causal = InternVLForConditionalGeneration.forward(model, batch["input_ids"], pixels(1), output_hidden_states=True)
    assert_close(states[False, False], causal.hidden_states[-1][0], **CLOSE)


@torch.no_grad()
def test_later_seg_reaches_the_picture_by_its_pathway_only(model):
    """Change the embedding of `[SEG]`: image states follow if image-to-segmentation is on, and not if it is off."""
    batch = batch_of([conversation(1, 1)])
    image = batch["input_ids"][0] == IMAGE
    embeddings = model.get_input_embeddings().weight
    kept = embeddings[SEG].clone()
    for pathway in (True, False):
        model.config.image_to_segmentation = pathway
        before = model(**batch, pixel_values=pixels(1)).last_hidden_state[0][image]
        embeddings[SEG] += 1
        after = model(**batch, pixel_values=pixels(1)).last_hidden_state[0][image]
        embeddings[SEG] = kept
        assert torch.equal(before, after) != pathway
    model.config.image_to_segmentation = True


@pytest.mark.parametrize("refilling", RUNGS)
def test_every_rung_trains_saves_and_loads(refilling, tmp_path):
    model = tiny_model(refilling=refilling)
    batch = supervised([conversation(2, 1), conversation(2, 2)])
    output = model(**batch, pixel_values=pixels(4), tile_grids=[(2, 1), (1, 2)])
    output.loss.backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == []
    model.save_pretrained(tmp_path)
    loaded = SELF1EForSegmentation.from_pretrained(tmp_path)
    assert loaded.config.refilling == refilling
    again = loaded(**batch, pixel_values=pixels(4), tile_grids=[(2, 1), (1, 2)])
    for one, other in zip(output.mask_logits, again.mask_logits, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("text_model", ["qwen2", "qwen3"])
def test_gradient_reaches_every_parameter(text_model):
    model = tiny_model(text_model)
    model(**supervised([conversation(1, 1), conversation(1, 2)]), pixel_values=pixels(2)).loss.backward()
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
    batch = supervised(rows)
    first, second = pixels(2, seed=1), pixels(1, seed=2)
    shared = model(
        **batch,
        pixel_values=torch.cat([first, second]),
        tile_grids=[(2, 1), (1, 1)],
        picture_index=torch.tensor([0, 1, 0, -1]),
    )
    assert shared.image_features.compressed.shape[0] == 3
    for index, (row, tiles, grid) in enumerate(
        zip(rows[:3], (first, second, first), ((2, 1), (1, 1), (2, 1)), strict=True)
    ):
        alone = model(**batch_of([row]), pixel_values=tiles, tile_grids=[grid])
        assert_close(shared.mask_logits[index], alone.mask_logits[0], **CLOSE)
        assert_close(shared.last_hidden_state[index, : len(row)], alone.last_hidden_state[0], **CLOSE)
    text = model(**batch_of([rows[3]]))
    assert_close(shared.last_hidden_state[3, : len(rows[3])], text.last_hidden_state[0], **CLOSE)
    assert shared.mask_logits[3].shape[0] == 0


@torch.no_grad()
def test_encoded_pictures_in_place_of_pixels(model):
    batch = batch_of([conversation(2, 1)])
    features = model.encode_images(pixels(2))
    assert torch.equal(
        model(**batch, image_features=features, tile_grids=[(1, 2)]).mask_logits[0],
        model(**batch, pixel_values=pixels(2), tile_grids=[(1, 2)]).mask_logits[0],
    )


def packed(prefix, tails):
    """One row with a shared prefix and conversations behind it, each with positions as if it stood there alone."""
    ids, conversations, positions = list(prefix), [0] * len(prefix), list(range(len(prefix)))
    for number, tail in enumerate(tails, start=1):
        ids += tail
        conversations += [number] * len(tail)
        positions += range(len(prefix), len(prefix) + len(tail))
    return {
        "input_ids": torch.tensor([ids]),
        "conversation_ids": torch.tensor([conversations]),
        "position_ids": torch.tensor([positions]),
    }


@pytest.mark.parametrize("text_model", ["qwen2", "qwen3"])
@pytest.mark.parametrize("pathway", [{"image_to_segmentation": False}, {"image_to_segmentation_from": 1}])
def test_packed_conversations_equal_separate_rows(pathway, text_model):
    model = tiny_model(text_model, **pathway)
    prefix, tails = [3, 4] + [IMAGE] * 8 + [5], [[6, 7, SEG, 8], [9, SEG, 10, SEG], [11, 12, 13]]
    packed_batch = packed(prefix, tails)
    labels = torch.tensor([[-100] * len(prefix) + [token for tail in tails for token in tail]])
    # Each tail's first token is predicted by the prefix's last in separate rows, which packing cannot do.
    starts = [len(prefix) + sum(len(tail) for tail in tails[:index]) for index in range(3)]
    labels[0, starts] = -100
    masks = [torch.randint(0, 2, (tail.count(SEG), 9, 17)) for tail in tails]
    together = model(
        **packed_batch, labels=labels, masks=[torch.cat(masks)], pixel_values=pixels(2), tile_grids=[(2, 1)]
    )
    together.loss.backward()
    gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    batch = batch_of([prefix + tail for tail in tails])
    row_labels = batch["input_ids"].clone()
    row_labels[:, : len(prefix) + 1] = -100
    row_labels[~batch["attention_mask"]] = -100
    apart = model(
        **batch,
        labels=row_labels,
        masks=masks,
        pixel_values=pixels(2),
        tile_grids=[(2, 1)],
        picture_index=torch.zeros(3, dtype=torch.long),
        perceiving=torch.ones(3, dtype=torch.bool),
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


@torch.no_grad()
def test_late_pathway_lies_between_always_and_never(model):
    """From the first layer on it is the method, behind the last it is off; between, early layers are causal still."""
    batch = batch_of([conversation(1, 1), conversation(1, 2, words=6), conversation(1, 0)]) | {
        "pixel_values": pixels(3)
    }
    outputs = {}
    for layer in (0, 1, 2):
        model.config.image_to_segmentation_from = layer
        outputs[layer] = model(**batch)
    model.config.image_to_segmentation_from = 0
    model.config.image_to_segmentation = False
    never = model(**batch)
    model.config.image_to_segmentation = True
    real = batch["attention_mask"]
    assert_close(outputs[2].last_hidden_state[real], never.last_hidden_state[real], **CLOSE)
    for ours, theirs in zip(outputs[2].mask_logits, never.mask_logits, strict=True):
        assert_close(ours, theirs, **CLOSE)
    for one, other in ((0, 1), (1, 2)):
        image = batch["input_ids"] == IMAGE
        change = (outputs[one].last_hidden_state - outputs[other].last_hidden_state)[image].abs().amax(dim=-1)
        asked = image.nonzero()[:, 0] < 2  # the third conversation has no [SEG]
        assert change[asked].min() > 1e-3 and change[~asked].max() < 1e-5


@torch.no_grad()
def test_early_layers_read_a_shared_picture_once():
    """With the pathway in the last layer alone, the layer before has one row, and the last has one a conversation."""
    model = tiny_model(image_to_segmentation_from=1)
    seen = []
    for layer in model.model.language_model.layers:
        layer.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape[:2])))
    prefix = [3, 4] + [IMAGE] * 4 + [5]
    model(**packed(prefix, [[6, 7, SEG], [9, 8, 7, SEG]]), pixel_values=pixels(1))
    assert seen == [(1, len(prefix) + 7), (2, len(prefix) + 4)]


def test_text_only_rows(model):
    batch = supervised([conversation(0, 0, words=5)])
    del batch["masks"]
    output = model(**batch, output_logits=True)
    assert output.mask_logits is None and output.mask_bce_loss is None
    assert output.logits.shape == (1, batch["input_ids"].shape[1], VOCABULARY)
    assert_close(output.loss, output.ce_loss)


@pytest.mark.parametrize("segs", [0, 1, 2, 5])
def test_any_number_of_segs(model, segs):
    batch = supervised([conversation(1, segs)])
    output = model(**batch, pixel_values=pixels(1))
    assert output.mask_logits[0].shape[0] == output.low_resolution_mask_logits[0].shape[0] == segs
    assert output.loss.isfinite()
    if segs == 0:
        assert output.mask_bce_loss == output.mask_dice_loss == 0


@torch.no_grad()
def test_each_seg_has_its_own_mask(model):
    output = model(**batch_of([conversation(1, 2)]), pixel_values=pixels(1))
    assert (output.mask_logits[0][0] - output.mask_logits[0][1]).abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize(("side", "extra"), [("right", 3), ("left", 0), ("left", 4)])
def test_padding_changes_nothing(model, side, extra):
    rows = [conversation(1, 1), conversation(1, 2, words=7)]
    tight = supervised(rows)
    padded = supervised(rows, side=side, extra=extra)
    padded["masks"] = tight["masks"]
    for batch in (tight, padded):
        batch["labels"] = batch["input_ids"].where(batch["attention_mask"], -100)
    one = model(**tight, pixel_values=pixels(2))
    other = model(**padded, pixel_values=pixels(2))
    assert_close(one.last_hidden_state[tight["attention_mask"]], other.last_hidden_state[padded["attention_mask"]])
    for a, b in zip(one.mask_logits, other.mask_logits, strict=True):
        assert_close(a, b, **CLOSE)
    if side == "right":  # on the left, padding predicts the first token
        assert_close(one.loss, other.loss, **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
def test_positions_count_from_the_first_real_token(side):
    """Attention depends on distances alone, but rope that scales with length does not."""
    model = tiny_model()
    seen = {}
    model.model.language_model.register_forward_pre_hook(lambda *call: seen.update(call[-1]), with_kwargs=True)
    rows = [conversation(1, 1), conversation(1, 1, words=6)]
    batch = batch_of(rows, side=side)
    model(**batch, pixel_values=pixels(2))
    for row, ids in enumerate(rows):
        positions = seen["position_ids"][row][batch["attention_mask"][row]]
        assert positions.tolist() == list(range(len(ids)))


def test_gradient_checkpointing_changes_nothing():
    batch = supervised([conversation(1, 1), conversation(1, 2)])
    gradients = []
    for checkpointing in (False, True):
        other = tiny_model().train()
        if checkpointing:
            other.gradient_checkpointing_enable()
        other(**batch, pixel_values=pixels(2)).loss.backward()
        gradients.append({name: parameter.grad for name, parameter in other.named_parameters()})
    for name, gradient in gradients[0].items():
        assert_close(gradient, gradients[1][name])


@torch.no_grad()
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_half_precision(implementation):
    model = tiny_model().to(torch.bfloat16)
    model.set_attn_implementation(implementation)
    batch = supervised([conversation(1, 1), conversation(1, 1, words=6)])
    output = model(**batch, pixel_values=pixels(2).to(torch.bfloat16))
    assert output.mask_logits[0].dtype == torch.bfloat16
    assert output.loss.dtype == torch.float32 and output.loss.isfinite()
    expected = tiny_model()(**batch, pixel_values=pixels(2)).loss
    assert output.loss.item() == pytest.approx(expected.item(), rel=0.1)


@torch.no_grad()
def test_the_padding_id_is_a_token_like_any_other(model):
    """Id 0 is "!" in the real vocabulary: inside a conversation it is read, not masked out."""
    row = conversation(1, 1)
    zero, seven = [[*row[:-4], token, *row[-4:]] for token in (0, 7)]
    states = [model(**batch_of([each]), pixel_values=pixels(1)).last_hidden_state[0] for each in (zero, seven)]
    assert (states[0][-1] - states[1][-1]).abs().max() > 1e-3
    by_default = model(input_ids=torch.tensor([zero]), pixel_values=pixels(1)).last_hidden_state[0]
    assert torch.equal(states[0], by_default)


@torch.no_grad()
def test_image_and_seg_ids_under_padding_do_not_count(model):
    """Padding may hold any id."""
    row = conversation(1, 1)
    for pad in (IMAGE, SEG):
        output = model(**batch_of([row], extra=2, pad=pad), pixel_values=pixels(1))
        expected = model(**batch_of([row]), pixel_values=pixels(1))
        assert_close(output.mask_logits[0], expected.mask_logits[0], **CLOSE)


@torch.no_grad()
def test_rows_that_do_not_perceive_are_causal(model):
    batch = batch_of([conversation(1, 1), conversation(1, 1)])
    output = model(**batch, pixel_values=pixels(2), perceiving=torch.tensor([True, False]))
    assert [logits.shape[0] for logits in output.mask_logits] == [1, 0]
    causal = InternVLForConditionalGeneration.forward(model, batch["input_ids"], pixels(2), output_hidden_states=True)
    assert_close(output.last_hidden_state[1], causal.hidden_states[-1][1], **CLOSE)


def test_losses_add_up(model):
    output = model(**supervised([conversation(1, 2)]), pixel_values=pixels(1))
    config = model.config
    expected = config.ce_weight * output.ce_loss
    expected = expected + config.bce_weight * output.mask_bce_loss + config.dice_weight * output.mask_dice_loss
    assert_close(output.loss, expected)


def test_output_reads_like_a_dictionary(model):
    output = model(**supervised([conversation(1, 1)]), pixel_values=pixels(1))
    assert output["loss"] is output.loss is output[0]
    assert "logits" not in output


def test_no_supervised_token(model):
    batch = batch_of([conversation(1, 1)])
    output = model(**batch, pixel_values=pixels(1), labels=torch.full_like(batch["input_ids"], -100))
    assert output.loss == 0


class TestInputsThatDoNotFit:
    def test_image_tokens_without_a_picture(self, model):
        with pytest.raises(ValueError, match="row 0 holds 4 image tokens"):
            model(**batch_of([conversation(1, 1)]))

    def test_swapped_pictures(self, model):
        """As many image tokens as tiles in all, but not in each row."""
        batch = batch_of([conversation(1, 1), conversation(2, 1)])
        with pytest.raises(ValueError, match="row 0 holds 4 image tokens; its picture has 2 tiles"):
            model(**batch, pixel_values=pixels(3), tile_grids=[(2, 1), (1, 1)])

    def test_grids_without_enough_tiles(self, model):
        with pytest.raises(ValueError, match="have 2 tiles, but 1 were given"):
            model(**batch_of([conversation(1, 1)]), pixel_values=pixels(1), tile_grids=[(2, 1)])

    def test_rows_without_a_picture_of_their_own(self, model):
        with pytest.raises(ValueError, match="picture_index"):
            model(**batch_of([conversation(1, 1)] * 2), pixel_values=pixels(1))

    def test_masks_of_another_number(self, model):
        with pytest.raises(ValueError, match="row 0 has 1 mask maps but 2 masks"):
            model(**batch_of([conversation(1, 1)]), pixel_values=pixels(1), masks=[torch.zeros(2, 4, 4)])

    def test_masks_without_a_picture(self, model):
        with pytest.raises(ValueError, match="no picture"):
            model(**batch_of([conversation(0, 1)]), masks=[torch.zeros(1, 4, 4)])

    def test_seg_first(self, model):
        with pytest.raises(ValueError, match="starts with"):
            model(**batch_of([[SEG, *conversation(1, 0)]]), pixel_values=pixels(1))

    def test_no_input_ids(self, model):
        with pytest.raises(ValueError, match="input_ids"):
            model(pixel_values=pixels(1))


class TestConfig:
    def test_unknown_rung(self):
        with pytest.raises(ValueError, match="refilling"):
            tiny_config(refilling="all")

    def test_other_downsampling(self):
        with pytest.raises(ValueError, match="downsample_ratio"):
            tiny_config(downsample_ratio=0.25)

    def test_round_trip(self, tmp_path):
        config = tiny_config(refilling="rfr", image_to_segmentation=False, dice_weight=2.0, mask_loss_side=64)
        config.save_pretrained(tmp_path)
        assert SELF1EConfig.from_pretrained(tmp_path).to_dict() == config.to_dict()


def test_auto_classes(tmp_path):
    tiny_model().save_pretrained(tmp_path)
    assert type(AutoConfig.from_pretrained(tmp_path)) is SELF1EConfig
    assert type(AutoModelForImageTextToText.from_pretrained(tmp_path)) is SELF1EForSegmentation
