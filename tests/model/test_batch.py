"""What is found among the tokens of a batch, on batches small enough to count by hand."""

from dataclasses import fields

import pytest
import torch
from builders import IMAGE, SEG, TOKENS_PER_TILE, batch_of, conversation, pixels, row_of, tiny_model
from torch import Tensor

from self1e.fast.transfers import moved
from self1e.model.batch import PictureTiles, Row, build_batch

PICTURE = [IMAGE] * TOKENS_PER_TILE
ROWS = [
    [3, *PICTURE, 4, SEG, 5],
    [3, 4],
    [*PICTURE, *PICTURE, 6, SEG, 7, SEG],
    [3, *PICTURE, SEG],
    [*PICTURE, *PICTURE, 8],
]
LENGTH = len(ROWS[2])
GIVEN = {"grids": [(2, 1), (1, 1)], "pictures": [1, -1, 0, 1, 0]}


def test_rows_about_a_picture_go_together():
    batch = batch_of(ROWS, pixels(3), **GIVEN)
    wide, small = PictureTiles(range(2), (2, 1)), PictureTiles(range(2, 3), (1, 1))
    assert batch.pictures == [wide, small] and batch.picture_index == [1, -1, 0, 1, 0]
    assert batch.image_token_counts == [4, 0, 8, 4, 8]
    assert batch.tiles.tolist() == [2, 0, 1, 2, 0, 1]
    first, third, fourth = (row * LENGTH for row in (0, 2, 3))
    image = [range(first + 1, first + 5), range(third, third + 8), range(fourth + 1, fourth + 5)]
    last = range(4 * LENGTH, 4 * LENGTH + 8)
    assert batch.image_places.tolist() == [place for each in (*image, last) for place in each]
    # The first picture that is asked about has the rows 0 and 3; row 4 asks for nothing.
    assert [(each.picture, each.rows, each.segs) for each in batch.asked] == [
        (small, [0, 3], [1, 1]),
        (wide, [2], [2]),
    ]
    assert batch.asked_image_places.tolist() == [place for each in (0, 2, 1) for place in image[each]]
    assert batch.before_seg.tolist() == [first + 5, fourth + 4, third + 8, third + 10]
    assert (batch.supervised, batch.targets, batch.masks, batch.conversations) == (None, None, None, 5)
    assert batch.bidirectional.tolist() == [True, False, True, True, False] and len(batch) == 5


def test_rows_that_are_not_bidirectional_ask_for_nothing():
    batch = batch_of(ROWS, **GIVEN, bidirectional=[False, True, False, True, None])
    assert [(each.rows, each.segs) for each in batch.asked] == [([3], [1])]
    assert batch.bidirectional.tolist() == [False, True, False, True, False]
    assert batch.before_seg.tolist() == [3 * LENGTH + 4]


def test_nobody_asks():
    """One row still goes through the head, so that processes that share a model do the same."""
    batch = batch_of(ROWS, **GIVEN, bidirectional=[False] * 5)
    assert [(each.rows, each.segs) for each in batch.asked] == [([0], [0])]
    assert len(batch.asked_image_places) == TOKENS_PER_TILE and len(batch.before_seg) == 0
    words = batch_of([[3, SEG]])
    assert words.asked == [] and len(words.before_seg) == 0


def test_the_head_gets_gradients_though_nobody_asks():
    model, rows = tiny_model(), [conversation(1, 1), conversation(1, 0)]
    masks = [torch.zeros(0, 8, 8)] * 2
    batch = batch_of(rows, pixels(2), labels=True, masks=masks, bidirectional=[False, False])
    model(batch).loss.backward()
    assert all(weight.grad is not None and not weight.grad.any() for weight in model.refilling_head.parameters())


def test_labels_are_predicted_from_the_place_before():
    labels = [[-100] * len(row) for row in ROWS]
    labels[0][0] = 9  # nothing predicts the first token of a row
    labels[1][1], labels[2][-1] = 7, 8
    batch = batch_of(ROWS, **GIVEN, labels=labels)
    assert batch.supervised.tolist() == [LENGTH, 3 * LENGTH - 2]
    assert batch.targets.tolist() == [7, 8]


def test_conversations_of_a_row_are_counted():
    ids = [3, *PICTURE, 4, SEG, 5, 6, SEG]
    row = Row(ids, [-100] * len(ids), [0] * 5 + [1] * 2 + [2] * 3, [*range(7), 5, 6, 7])
    batch = batch_of([row, row_of([3, 4])], grids=[(1, 1)], pictures=[0, -1])
    assert batch.conversations == 3
    assert batch.before_seg.tolist() == [5, 8]
    assert batch.conversation_ids.tolist() == [row.conversation_ids, [0] * 10]
    assert batch.position_ids.tolist() == [row.position_ids, [0, 1] + [0] * 8]


@pytest.mark.parametrize("side", ["right", "left"])
def test_only_the_mask_says_what_padding_is(side):
    """Padding may hold any id, and a row may hold the id of padding."""
    rows = [[0, 3], [3, *PICTURE, SEG, 0]]
    for pad in (0, IMAGE, SEG):
        batch = batch_of(rows, pixels(1), pad=pad, side=side)
        padding = [pad] * 5
        assert batch.input_ids.tolist() == [[*rows[0], *padding] if side == "right" else [*padding, *rows[0]], rows[1]]
        assert batch.attention_mask.tolist() == [([1, 1] + [0] * 5)[:: 1 if side == "right" else -1], [1] * 7]
        assert batch.image_token_counts == [0, 4] and batch.bidirectional.tolist() == [False, True]
        assert batch.before_seg.tolist() == [7 + 4]


def test_a_row_without_its_first_tokens():
    row = row_of([5, 6, 7, 8]).after(2)
    assert (row.input_ids, row.labels, row.conversation_ids, row.position_ids) == ([7, 8], [-100] * 2, [0] * 2, [2, 3])


def test_to_a_device_go_all_tensors():
    batch = batch_of(ROWS, pixels(3), **GIVEN, labels=True, masks=[torch.zeros(1, 2, 2, dtype=torch.uint8)] * 5)
    assert moved(batch, torch.device("cpu")) is batch
    there = batch.to("meta")
    for field in fields(batch):
        ours, theirs = getattr(batch, field.name), getattr(there, field.name)
        if isinstance(ours, Tensor):
            assert theirs.device.type == "meta" and theirs.dtype == ours.dtype and theirs.shape == ours.shape
        elif field.name != "masks":
            assert theirs == ours
    assert all(mask.device.type == "meta" and mask.shape == (1, 2, 2) for mask in there.masks)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="have 2 tiles, but 1 were given"):
        batch_of([conversation(1, 1)], pixels(1), grids=[(2, 1)])
    with pytest.raises(ValueError, match=r"about pictures \[1, 4\], but the batch has only 1"):
        batch_of([conversation(1, 1)] * 3, pixels(1), grids=[(1, 1)], pictures=[4, 1, 0])
    with pytest.raises(ValueError, match=r"about pictures \[-2\]"):
        batch_of([conversation(1, 1)], pixels(1), pictures=[-2])
    with pytest.raises(ValueError, match="have 1 tiles, but 2 were given"):
        build_batch([row_of(ROWS[0])], [(1, 1)], image_token_id=IMAGE, seg_token_id=SEG, pixel_values=pixels(2))


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_row_that_starts_with_seg(side):
    rows = [conversation(1, 1, words=9), [SEG, *conversation(1, 0)]]
    with pytest.raises(ValueError, match=r"row 1 starts with \[SEG\]"):
        batch_of(rows, pixels(2), side=side)
    assert len(batch_of(rows, pixels(2), side=side, bidirectional=[None, False]).before_seg) == 1
