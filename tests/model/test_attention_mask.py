"""The mask against drawings of it, and against its rules spelt out token by token."""

import itertools

import pytest
import torch

from self1e.model.attention_mask import DualPerception, as_attention_bias


def drawn(picture: str) -> torch.Tensor:
    """bool[N, N] from a drawing with one row per query; anything but a dot is visible."""
    return torch.tensor([[mark != "." for mark in line.split()] for line in picture.strip().splitlines()])


def mask_of(kinds: str, **options) -> torch.Tensor:
    """The mask of one row of `t`ext, `I`mage, `S`eg and `_` padding tokens."""
    kinds = kinds.replace(" ", "")
    real, image, seg = (torch.tensor([[test(kind) for kind in kinds]]) for test in ("_".__ne__, "I".__eq__, "S".__eq__))
    return DualPerception(real, image, seg, **options).mask()[0, 0]


def test_with_seg():
    expected = drawn("""
        # . . . . .
        # # i . s .
        # # # . s .
        # # # # . .
        # # # # # .
        # # # # # #
    """)
    assert torch.equal(mask_of("t I I t S t"), expected)


def test_without_seg_it_is_causal():
    assert torch.equal(mask_of("t I I t t"), torch.ones(5, 5, dtype=torch.bool).tril())


def test_each_pathway_alone():
    image_only = drawn("""
        # i . .
        # # . .
        # # # .
        # # # #
    """)
    seg_only = drawn("""
        # . . s
        # # . s
        # # # .
        # # # #
    """)
    assert torch.equal(mask_of("I I t S", image_to_segmentation=False), image_only)
    assert torch.equal(mask_of("I I t S", image_to_image=False), seg_only)
    causal = mask_of("I I t S", image_to_image=False, image_to_segmentation=False)
    assert torch.equal(causal, torch.ones(4, 4, dtype=torch.bool).tril())


def test_closed_pathways_of_a_row():
    closed = mask_of("I I t S", bidirectional=torch.tensor([False]))
    assert torch.equal(closed, torch.ones(4, 4, dtype=torch.bool).tril())
    opened = mask_of("I I t", bidirectional=torch.tensor([True]))
    assert torch.equal(opened, drawn("# i .\n# # .\n# # #"))


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ("I t S _", "# . s .\n# # . .\n# # # .\n# # # #"),
        ("_ I t S", "# . . .\n. # . s\n. # # .\n. # # #"),
    ],
)
def test_padding_is_seen_by_itself_only(kinds, expected):
    assert torch.equal(mask_of(kinds), drawn(expected))


def test_packed_conversations_share_the_prefix_only():
    ids = torch.tensor([[0, 0, 0, 1, 1, 2, 2]])
    expected = drawn("""
        # . . . . . .
        # # i . . . .
        # # # . . . .
        # # # # . . .
        # # # # # . .
        # # # . . # .
        # # # . . # #
    """)
    assert torch.equal(mask_of("t I I t S t S", conversation_ids=ids), expected)


@pytest.mark.parametrize("image_to_image", [True, False])
@pytest.mark.parametrize("image_to_segmentation", [True, False])
@pytest.mark.parametrize("packed", [True, False])
def test_against_the_rules(image_to_image, image_to_segmentation, packed):
    generator = torch.Generator().manual_seed(3)
    kinds = torch.randint(0, 5, (6, 12), generator=generator)  # 0 padding, 1 image, 2 [SEG], others text
    kinds[3][kinds[3] == 2] = 3  # a row without [SEG]
    ids = torch.randint(0, 3, (6, 12), generator=generator) if packed else torch.zeros(6, 12, dtype=torch.long)
    mask = DualPerception(
        kinds != 0,
        kinds == 1,
        kinds == 2,
        image_to_image=image_to_image,
        image_to_segmentation=image_to_segmentation,
        conversation_ids=ids if packed else None,
    ).mask()
    for row, query, key in itertools.product(range(6), range(12), range(12)):
        has_seg = 2 in kinds[row].tolist()
        from_kind, to_kind = int(kinds[row, query]), int(kinds[row, key])
        visible = key <= query
        visible |= has_seg and image_to_image and from_kind == 1 and to_kind == 1
        visible |= has_seg and image_to_segmentation and from_kind == 1 and to_kind == 2
        visible &= bool(ids[row, key] == ids[row, query]) or int(ids[row, key]) == 0
        visible &= to_kind != 0
        visible |= query == key
        assert bool(mask[row, 0, query, key]) == visible, (row, query, key)


def test_bias():
    mask = mask_of("I t S")
    bias = as_attention_bias(mask, torch.bfloat16)
    assert torch.equal(bias == 0, mask)
    assert (bias[~mask] == torch.finfo(torch.bfloat16).min).all()


def test_blocks_see_the_same():
    """Behind three tokens of a cache, which everyone sees."""
    kinds = torch.randint(0, 5, (2, 300), generator=torch.Generator().manual_seed(4))
    ids = torch.randint(0, 3, (2, 300), generator=torch.Generator().manual_seed(5))
    rule = DualPerception(kinds != 0, kinds == 1, kinds == 2, conversation_ids=ids)
    blocks = rule.block_mask(3)
    assert blocks.shape == (2, 1, 300, 303)
    row, query, key = (axis.flatten() for axis in torch.meshgrid(*map(torch.arange, (2, 300, 303)), indexing="ij"))
    seen = blocks.mask_mod(row, torch.zeros_like(row), query, key).view(2, 300, 303)
    assert torch.equal(seen, rule.mask(3)[:, 0])
    assert seen[:, :, :3].all() and torch.equal(seen[:, :, 3:], rule.mask()[:, 0])
