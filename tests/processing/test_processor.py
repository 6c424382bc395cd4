import json

import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, PreTrainedTokenizerFast

from self1e.conversation import IMG_CONTEXT, SEG, Turn, add_seg_token
from self1e.processing.processor import SELF1EProcessor
from self1e.processing.tokens import encode_continuation, encode_conversation, single

WIDE, SQUARE = Image.new("RGB", (80, 40)), Image.new("RGB", (20, 20))
TALKS = [[[Turn("a", f"{SEG}.")], [Turn("bb cc", "No!")]], [[Turn("a", f"{SEG}."), Turn("d", "e")]]]


@pytest.fixture
def processor(small_tokenizer: PreTrainedTokenizerFast) -> SELF1EProcessor:
    return SELF1EProcessor(small_tokenizer, image_size=28, tokens_per_tile=1, max_tiles=4)


def rows_of(inputs) -> list[list[int]]:
    return [row[mask.bool()].tolist() for row, mask in zip(inputs.input_ids, inputs.attention_mask, strict=True)]


def test_each_conversation_is_a_row_and_each_picture_is_there_once(processor):
    inputs = processor([WIDE, SQUARE], TALKS)
    assert [picture.grid for picture in inputs.pictures] == [(2, 1), (1, 1)]
    assert inputs.pixel_values.shape == (3, 3, 28, 28)
    assert inputs.picture_index == [0, 0, 1]
    assert not inputs.conversation_ids.any()
    tokenizer = processor.tokenizer
    encoded = [
        encode_conversation(tokenizer, turns, tiles) for of, tiles in zip(TALKS, (2, 1), strict=True) for turns in of
    ]
    assert rows_of(inputs) == [conversation.input_ids for conversation in encoded]
    assert inputs.targets.tolist() == [
        label for conversation in encoded for label in conversation.labels if label != -100
    ]
    assert torch.equal(inputs.input_ids.flatten()[inputs.supervised + 1], inputs.targets)
    assert processor([WIDE, SQUARE], TALKS, labels=False).targets is None


def test_packing_makes_one_row_of_a_picture(processor):
    inputs = processor([WIDE, SQUARE], TALKS, pack_rows=True)
    assert inputs.picture_index == [0, 1]
    assert inputs.conversation_ids.amax(dim=1).tolist() == [2, 0]
    image_token = processor.tokenizer.convert_tokens_to_ids(IMG_CONTEXT)
    assert (inputs.input_ids == image_token).sum(dim=1).tolist() == inputs.image_token_counts == [2, 1]


def test_auto_classes_give_the_processor_and_not_its_tokenizer(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    read = AutoProcessor.from_pretrained(tmp_path, local_files_only=True)
    assert type(read) is SELF1EProcessor and (read.image_size, read.max_tiles) == (28, 4)


def test_masks_go_with_the_rows(processor):
    masks = [torch.ones(1, 40, 80), torch.zeros(0, 40, 80), torch.ones(1, 20, 20)]
    inputs = processor([WIDE, SQUARE], TALKS, masks=masks)
    assert all(ours is given for ours, given in zip(inputs.masks, masks, strict=True))
    assert [(each.rows, each.segs) for each in inputs.asked] == [([0], [1]), ([2], [1])]


def test_questions_end_together_where_the_answer_starts(processor):
    tokenizer, grid = processor.tokenizer, (2, 1)
    rows = [
        single(processor.prefix(grid) + encode_continuation(tokenizer, (), question)) for question in ("a", "a b c")
    ]
    inputs = processor.batch(rows, [grid], left_padded=True)
    assert inputs.attention_mask[:, -1].all() and inputs.targets is None and inputs.pixel_values is None
    assert len(rows[0].input_ids) < inputs.input_ids.shape[1]
    for ids, row in zip(rows_of(inputs), rows, strict=True):
        assert ids == row.input_ids and tokenizer.decode(ids).endswith("<|im_start|>assistant\n")
    whole = encode_conversation(tokenizer, TALKS[0][0], 2).input_ids
    assert whole[: len(rows[0].input_ids)] == rows[0].input_ids


def test_mistakes_are_explained(processor, small_tokenizer):
    with pytest.raises(ValueError, match="2 pictures, but 1 lists"):
        processor([WIDE, SQUARE], TALKS[:1])
    with pytest.raises(ValueError, match="nothing to do"):
        processor([WIDE], [[]])
    with pytest.raises(ValueError, match=r"max_tiles must be at least 1 .* got 0"):
        SELF1EProcessor(small_tokenizer, max_tiles=0)
    with pytest.raises(ValueError, match="image_size=0"):
        SELF1EProcessor(small_tokenizer, image_size=0)


def test_saving_and_loading(processor, tmp_path):
    processor.save_pretrained(tmp_path / "model")
    loaded = SELF1EProcessor.from_pretrained(tmp_path / "model")
    assert (loaded.image_size, loaded.tokens_per_tile, loaded.max_tiles) == (28, 1, 4)
    assert torch.equal(loaded([WIDE, SQUARE], TALKS).input_ids, processor([WIDE, SQUARE], TALKS).input_ids)


@pytest.mark.parametrize(
    ("files", "sizes"),
    [
        ({}, (448, 256)),
        ({"preprocessor_config.json": {"size": 448, "crop_size": 448}}, (448, 256)),
        ({"preprocessor_config.json": {"size": {"height": 224, "width": 224}}}, (224, 64)),
        # the original form, which is trained at another size than its vision tower is declared with
        (
            {
                "config.json": {
                    "model_type": "internvl_chat",
                    "force_image_size": 112,
                    "downsample_ratio": 0.5,
                    "vision_config": {"image_size": 448, "patch_size": 14},
                }
            },
            (112, 16),
        ),
        # transformers' own form, with the configuration of its processor
        (
            {
                "config.json": {
                    "vision_config": {"image_size": [56, 56], "patch_size": [14, 14]},
                    "downsample_ratio": 0.5,
                },
                "processor_config.json": {"processor_class": "InternVLProcessor", "image_seq_length": 256},
            },
            (56, 4),
        ),
    ],
)
def test_internvl_folders(files, sizes, small_tokenizer, tmp_path):
    small_tokenizer.save_pretrained(tmp_path)
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    processor = SELF1EProcessor.from_pretrained(tmp_path)
    assert (processor.image_size, processor.tokens_per_tile) == sizes
    assert processor.max_tiles == 1


def test_internvl_folder(internvl_folder):
    processor = SELF1EProcessor.from_pretrained(internvl_folder)
    assert add_seg_token(processor.tokenizer) == 151674
    assert (processor.image_size, processor.tokens_per_tile) == (448, 256)
