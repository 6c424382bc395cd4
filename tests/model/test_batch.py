"""What is found among the tokens of a batch, on batches small enough to count by hand; and that the model uses it."""

import pytest
import torch
from builders import IMAGE, SEG, TOKENS_PER_TILE, batch_of, conversation, pixels, tiny_config, tiny_model
from torch.testing import assert_close

from self1e.model.batch import Picture, TokenLayout

PICTURE = [IMAGE] * TOKENS_PER_TILE
ROWS = [
    [3, *PICTURE, 4, SEG, 5],
    [3, 4],
    [*PICTURE, *PICTURE, 6, SEG, 7, SEG],
    [3, *PICTURE, SEG],
    [*PICTURE, *PICTURE, 8],
]
GRIDS = [(2, 1), (1, 1)]
INDEX = torch.tensor([1, -1, 0, 1, 0])


def layout_of(config=None, **arguments) -> TokenLayout:
    given = batch_of(ROWS) | {"tiles": 3, "tile_grids": GRIDS, "picture_index": INDEX}
    return TokenLayout.of(config or tiny_config(), **(given | arguments))


def test_rows_about_a_picture_go_together():
    layout = layout_of()
    wide, small = Picture(range(2), (2, 1)), Picture(range(2, 3), (1, 1))
    assert layout.pictures == [small, None, wide, small, wide]
    assert layout.image_token_counts == [4, 0, 8, 4, 8]
    assert layout.tiles.tolist() == [2, 0, 1, 2, 0, 1]
    length = len(ROWS[2])
    first, third, fourth = (row * length for row in (0, 2, 3))
    image = [range(first + 1, first + 5), range(third, third + 8), range(fourth + 1, fourth + 5)]
    last = range(4 * length, 4 * length + 8)
    assert layout.image_tokens.tolist() == [place for each in (*image, last) for place in each]
    # The first picture that is asked about has the rows 0 and 3; row 4 asks for nothing.
    assert [(each.picture, each.rows, each.segs) for each in layout.asked] == [
        (small, [0, 3], [1, 1]),
        (wide, [2], [2]),
    ]
    assert layout.asked_image_tokens.tolist() == [place for each in (0, 2, 1) for place in image[each]]
    assert layout.before_seg.tolist() == [first + 5, fourth + 4, third + 8, third + 10]
    assert torch.equal(layout.seg_due, layout.before_seg)
    assert (layout.supervised, layout.conversations) == (None, 5)


def test_rows_that_do_not_perceive_ask_for_nothing():
    layout = layout_of(perceiving=torch.tensor([False, True, False, True, True]))
    assert [(each.rows, each.segs) for each in layout.asked] == [([3], [1])]


def test_nobody_asks():
    """One row still goes through the head, so that processes that share a model do the same."""
    layout = layout_of(perceiving=torch.zeros(5, dtype=torch.bool))
    assert [(each.rows, each.segs) for each in layout.asked] == [([0], [0])]
    assert len(layout.asked_image_tokens) == TOKENS_PER_TILE and len(layout.before_seg) == 0
    words = TokenLayout.of(tiny_config(), **batch_of([[3, SEG]]), tiles=None)
    assert words.asked == [] and len(words.before_seg) == 0


def test_labels_are_predicted_from_the_place_before():
    labels = torch.full((5, len(ROWS[2])), -100)
    labels[0, 0] = labels[1, 1] = labels[2, -1] = 9  # nothing predicts the first token of a row
    assert layout_of(labels=labels).supervised.tolist() == [len(ROWS[2]), 3 * len(ROWS[2]) - 2]


def test_conversations_are_counted_and_unpacked():
    ids = [3, *PICTURE, 4, SEG, 5, 6, SEG]
    conversations = torch.tensor([[0] * 5 + [1] * 2 + [2] * 3])
    arguments = {"input_ids": torch.tensor([ids]), "conversation_ids": conversations, "tiles": 1}
    packed = TokenLayout.of(tiny_config(image_to_segmentation=False), **arguments)
    assert (packed.conversations, packed.unpacked) == (2, None)
    assert packed.before_seg.tolist() == [5, 8]
    layout = TokenLayout.of(tiny_config(image_to_segmentation_from=1), **arguments)
    assert layout.unpacked.index.tolist() == [[*range(7), 0], [*range(5), 7, 8, 9]]
    assert layout.unpacked.real.sum(dim=1).tolist() == layout.unpacked.lengths.tolist() == [7, 8]
    assert layout.unpacked.own.tolist() == [5, 6, 13, 14, 15]
    assert [(each.rows, each.segs) for each in layout.asked] == [([0, 1], [1, 1])]
    assert layout.before_seg.tolist() == [5, 14]
    assert layout.seg_due.tolist() == [5, 8]


@pytest.mark.parametrize("late", [0, 1])
def test_made_before_or_by_the_model(late):
    model = tiny_model(image_to_segmentation_from=late)
    rows = [conversation(1, 1), conversation(2, 2), conversation(1, 1, seed=3), conversation(2, 0)]
    batch = batch_of(rows)
    batch |= {"labels": batch["input_ids"].masked_fill(~batch["attention_mask"], -100)}
    batch |= {"tile_grids": GRIDS[::-1], "picture_index": torch.tensor([0, 1, 0, 1])}
    masks = [torch.randint(0, 2, (row.count(SEG), 20, 30)) for row in rows]
    layout = TokenLayout.of(model.config, **batch, tiles=3)
    due = torch.zeros_like(batch["attention_mask"]).flatten().index_fill(0, layout.seg_due, True).view(4, -1)
    found = []
    for given in ({"layout": layout, "output_logits": layout.seg_due}, {"output_logits": due}):
        model.zero_grad()
        output = model(**batch, **given, masks=masks, pixel_values=pixels(3))
        output.loss.backward()
        found.append((output, {name: weight.grad for name, weight in model.named_parameters()}))
    (one, gradients), (other, expected) = found
    assert torch.equal(one.loss, other.loss)
    assert_close(one.logits.sum(dim=0), other.logits.sum(dim=0))  # by picture, and by row
    for name, gradient in gradients.items():
        assert torch.equal(gradient, expected[name]), name


def test_labels_that_the_layout_does_not_know():
    batch = batch_of([conversation(1, 1)])
    layout = TokenLayout.of(tiny_config(), **batch, tiles=1)
    with pytest.raises(ValueError, match=r"the layout was made without them: give them to TokenLayout\.of"):
        tiny_model()(**batch, layout=layout, labels=batch["input_ids"], pixel_values=pixels(1))
