import pytest
import torch

from self1e.model.batch import Batch, Row, build_batch
from self1e.processing.tokens import EncodedConversation, pack, pack_tightly, single

PREFIX = EncodedConversation([1, 2, 3], [-100, -100, -100])
FIRST = EncodedConversation([4, 5], [-100, 5])
SECOND = EncodedConversation([6, 7, 0], [-100, 7, 0])


def test_a_single_conversation_is_a_row_of_zeros():
    assert single(PREFIX + FIRST, picture=2) == Row([1, 2, 3, 4, 5], [-100] * 4 + [5], [0] * 5, [0, 1, 2, 3, 4], 2)


def test_packed_conversations_continue_the_prefix():
    row = pack(PREFIX, [FIRST, SECOND])
    assert row.input_ids == [1, 2, 3, 4, 5, 6, 7, 0]
    assert row.labels == [-100, -100, -100, -100, 5, -100, 7, 0]
    assert row.conversation_ids == [0, 0, 0, 1, 1, 2, 2, 2]
    assert row.position_ids == [0, 1, 2, 3, 4, 3, 4, 5]


def test_each_packed_conversation_with_its_prefix_is_the_whole():
    row = pack(PREFIX, [FIRST, SECOND])
    for number, continuation in enumerate([FIRST, SECOND], start=1):
        whole = single(PREFIX + continuation)
        own = [i for i, owner in enumerate(row.conversation_ids) if owner in (0, number)]
        assert [row.input_ids[i] for i in own] == whole.input_ids
        assert [row.labels[i] for i in own] == whole.labels
        assert [row.position_ids[i] for i in own] == whole.position_ids


def test_nothing_to_pack_is_refused():
    with pytest.raises(ValueError, match="no conversation to pack"):
        pack(PREFIX, [])


def test_packed_tightly_common_words_are_read_once():
    questions = [EncodedConversation(ids, [-100] * len(ids)) for ids in ([4, 5, 6, 8, 9], [4, 5, 7, 6, 8, 9])]
    row = pack_tightly(PREFIX, questions, 3)
    assert row.input_ids == [1, 2, 3, 4, 5, 6, 8, 9, 7, 6, 8, 9]
    assert row.conversation_ids == [0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2]
    assert row.position_ids == [0, 1, 2, 3, 4, 5, 6, 7, 5, 6, 7, 8]
    assert row.picture == 3


def test_packed_tightly_a_question_asked_twice_keeps_its_own_end():
    question = EncodedConversation([4, 5, 8, 9], [-100] * 4)
    row = pack_tightly(PREFIX, [question, question])
    assert row.input_ids == [1, 2, 3, 4, 5, 8, 9, 8, 9]
    assert row.conversation_ids == [0, 0, 0, 0, 0, 1, 1, 2, 2]


def test_rows_that_are_to_be_bidirectional_or_not():
    assert single(PREFIX).bidirectional is None and pack(PREFIX, [FIRST]).bidirectional is None
    assert single(PREFIX, bidirectional=False).bidirectional is False
    assert pack(PREFIX, [FIRST], bidirectional=True).bidirectional is True


def batch(**options) -> Batch:
    rows = [single(PREFIX, 1), pack(PREFIX, [FIRST, SECOND], 0)]
    tiles = torch.cat([torch.zeros(2, 3, 4, 4), torch.ones(1, 3, 4, 4)])
    ids = {"image_token_id": 100, "seg_token_id": 5, "pad_id": 9}
    return build_batch(rows, [(2, 1), (1, 1)], pixel_values=tiles, **ids, **options)


def test_rows_are_padded_on_the_right():
    inputs = batch(labels=True)
    assert len(inputs) == 2
    assert inputs.pixel_values.shape == (3, 3, 4, 4)
    assert [picture.grid for picture in inputs.pictures] == [(2, 1), (1, 1)]
    assert inputs.picture_index == [1, 0]
    assert inputs.input_ids.tolist() == [[1, 2, 3, 9, 9, 9, 9, 9], [1, 2, 3, 4, 5, 6, 7, 0]]
    # The 0 at the end is a token ("!" in the real vocabulary): only the mask says what padding is.
    assert inputs.attention_mask.tolist() == [[1, 1, 1, 0, 0, 0, 0, 0], [1] * 8]
    assert inputs.targets.tolist() == [5, 7, 0]
    assert inputs.supervised.tolist() == [8 + 3, 8 + 5, 8 + 6]
    assert inputs.position_ids[0].tolist() == [0, 1, 2, 0, 0, 0, 0, 0]
    assert inputs.conversation_ids.tolist() == [[0] * 8, [0, 0, 0, 1, 1, 2, 2, 2]]
    assert inputs.bidirectional.tolist() == [False, True]
    assert inputs.conversations == 3


def test_rows_to_generate_from_are_padded_on_the_left():
    inputs = batch(left_padded=True)
    assert inputs.input_ids[0].tolist() == [9, 9, 9, 9, 9, 1, 2, 3]
    assert inputs.attention_mask[0].tolist() == [0, 0, 0, 0, 0, 1, 1, 1]
    assert inputs.position_ids[0].tolist() == [0, 0, 0, 0, 0, 0, 1, 2]


def test_a_mask_pass_has_no_labels():
    inputs = batch()
    assert inputs.targets is None and inputs.supervised is None
    assert torch.equal(inputs.conversation_ids, batch(labels=True).conversation_ids)
