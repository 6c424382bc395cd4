"""Words, their vectors, and the model that training on photographs starts from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import BertConfig, BertModel, BertTokenizerFast, PreTrainedTokenizerFast

from self1e import Segmenter
from self1e.checkpoints.hub import BUNDLED
from self1e.conversation import IMG_START, SEG
from self1e.model.network import SELF1EForSegmentation
from self1e.model.stem import FIRST_WIDTH, STAGES
from self1e.photos.build import WORD_BEGINS, build_model, resized_positions, turned_vectors, with_image_size
from self1e.photos.vocabulary import UNKNOWN_WORD, chosen_words, settled_vectors, word_tokenizer, word_vectors
from self1e.processing.processor import SELF1EProcessor
from self1e.processing.tokens import encode_text

CHARACTERS = (*"abcdefghijklmnopqrstuvwxyz.,?é", "東")
FREQUENT = [UNKNOWN_WORD, *CHARACTERS, "##s", "##ing", "##é", "the", "dog", "cat", "2", "of"]
NAMES = ("traffic light", "Dog")


def words_and_tokenizer() -> tuple[list[str], PreTrainedTokenizerFast]:
    words = chosen_words(FREQUENT, NAMES, 39)
    return words, word_tokenizer(words)


def test_the_vocabulary_is_characters_pieces_names_and_frequent_words() -> None:
    words = chosen_words(FREQUENT, NAMES, 39)
    assert len(set(words)) == len(words) == 39
    assert words[0] == UNKNOWN_WORD and "東" not in words
    assert {"a", "?", "é", "##s", "##ing", "##é", "traffic", "light", "dog", "the"} <= set(words)
    assert "of" not in words  # no room is left
    assert words == chosen_words(FREQUENT, reversed(NAMES), 39)
    with pytest.raises(ValueError, match=r"38 entries are needed .* only 37"):
        chosen_words(FREQUENT, NAMES, 37)


def test_words_are_tokens() -> None:
    _, tokenizer = words_and_tokenizer()
    ids = encode_text(tokenizer, "The dog, lighting?")
    assert tokenizer.convert_ids_to_tokens(ids) == ["the", "dog", ",", "light", "##ing", "?"]
    assert tokenizer.convert_ids_to_tokens(encode_text(tokenizer, "東")) == [UNKNOWN_WORD]
    assert tokenizer.decode(encode_text(tokenizer, "dogs")) == "dogs"
    assert tokenizer.convert_tokens_to_ids(SEG) >= len(words_and_tokenizer()[0])


def test_vectors_of_words_come_from_an_encoder(tmp_path: Path) -> None:
    known = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", *FREQUENT]
    (tmp_path / "vocab.txt").write_text("\n".join(known))
    BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    encoder = BertModel(BertConfig(vocab_size=len(known), **shape), add_pooling_layer=False)
    encoder.save_pretrained(tmp_path)
    _, tokenizer = words_and_tokenizer()
    vectors = word_vectors(tokenizer, tmp_path)
    assert vectors.shape == (len(tokenizer), 16)
    assert torch.equal(vectors, word_vectors(tokenizer, tmp_path))
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(tokenizer)))
    table = encoder.embeddings.word_embeddings.weight.detach()
    mean = table[[known.index(word) for word in ("the", "dog")]].mean(dim=0)
    piece = F.normalize(table[known.index("##ing")] - mean, dim=0)
    torch.testing.assert_close(vectors[tokenizer.convert_tokens_to_ids("##ing")], piece)


def test_turned_vectors_keep_angles_and_take_special_tokens_exactly() -> None:
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    words = [f"word{'abcdefghijkl'[number]}" for number in range(12)]
    vocabulary = {word: row for row, word in enumerate([*words, "<img>", SEG, "<new>"])}
    meanings = drawn(15, 8) @ drawn(8, 20)  # which their principal components hold whole
    table = drawn(10, 8) + 1
    spelt = [WORD_BEGINS + "worda", WORD_BEGINS + "Wordb", "wordc", "else", "more", "yet", "a", "b"]
    known = {token: row for row, token in enumerate([*spelt, "<img>", SEG])}
    turned = turned_vectors(meanings, vocabulary, table, known)
    assert turned.shape == (15, 8)
    for token in ("<img>", SEG):
        assert torch.equal(turned[vocabulary[token]], table[known[token]])
    directions = F.normalize(turned - table.mean(dim=0), dim=1)
    unknown = slice(3, 12)
    before = F.normalize(meanings, dim=1)[unknown]
    torch.testing.assert_close(directions[unknown] @ directions[unknown].T, before @ before.T, rtol=1e-4, atol=1e-4)
    taught = F.normalize(table[:3] - table.mean(dim=0), dim=1)
    assert ((directions[:3] * taught).sum(dim=1) > 0.85).all()
    lengths = (turned[:12] - table.mean(dim=0)).norm(dim=1)
    torch.testing.assert_close(lengths, (table - table.mean(dim=0)).norm(dim=1).mean().expand(12))


def test_positions_are_resized() -> None:
    grid = torch.arange(4.0)[:, None] * 10 + torch.arange(4.0)  # 10 row + column
    positions = torch.cat([torch.tensor([-5.0]), grid.flatten()])[None, :, None].repeat(1, 1, 3)
    assert torch.equal(resized_positions(positions, 4), positions)
    larger = resized_positions(positions, 8)
    assert larger.shape == (1, 65, 3) and (larger[0, 0] == -5).all()
    rows = larger[0, 1:, 0].unflatten(0, (8, 8))
    assert (rows.diff(dim=0) > 0).all() and (rows.diff(dim=1) > 0).all()
    torch.testing.assert_close(rows.mean(), grid.mean())


def test_words_that_were_not_taught_follow_those_that_were() -> None:
    generator = torch.Generator().manual_seed(0)
    meanings = F.normalize(torch.randn(6, 32, generator=generator), dim=1)
    meanings[4] = meanings[1] + 0.1 * meanings[0]  # a synonym of number 1
    meanings[5] = meanings[2] + meanings[3]  # a word between two
    taught = torch.tensor([True, True, True, True, False, False])
    trained = torch.randn(6, 8, generator=generator)
    settled = settled_vectors(trained, meanings, taught)
    assert torch.equal(settled[:4], trained[:4])
    torch.testing.assert_close(settled[4], trained[1], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(settled[5], (trained[2] + trained[3]) / 2, rtol=1e-2, atol=1e-2)


def published_stem() -> dict[str, Tensor]:
    """Random weights by the names of `efficientnet_lite_pytorch`; its normalisation leaves them as they are."""
    generator = torch.Generator().manual_seed(0)
    found: dict[str, Tensor] = {}

    def add(convolution: str, norm: str, out: int, *rest: int) -> None:
        scale = np.prod(rest) ** -0.5
        found[f"{convolution}.weight"] = torch.randn(out, *rest, generator=generator) * scale
        for name, value in (("weight", 1.0), ("running_var", 0.999), ("bias", 0.1), ("running_mean", 0.0)):
            found[f"{norm}.{name}"] = torch.full((out,), value)

    add("_conv_stem", "_bn0", FIRST_WIDTH, 3, 3, 3)
    width, place = FIRST_WIDTH, 0
    for kernel, _, expansion, out, blocks in STAGES:
        for _ in range(blocks):
            block, inner = f"_blocks.{place}", width * expansion
            if expansion > 1:
                add(f"{block}._expand_conv", f"{block}._bn0", inner, width, 1, 1)
            add(f"{block}._depthwise_conv", f"{block}._bn1", inner, 1, kernel, kernel)
            add(f"{block}._project_conv", f"{block}._bn2", out, inner, 1, 1)
            width, place = out, place + 1
    return found


def test_a_model_goes_on_from_nano(tmp_path: Path) -> None:
    nano = SELF1EForSegmentation.from_pretrained(BUNDLED["nano"], dtype=torch.float32)
    theirs = SELF1EProcessor.from_pretrained(BUNDLED["nano"]).tokenizer
    _, tokenizer = words_and_tokenizer()
    meanings = torch.randn(len(tokenizer), 256, generator=torch.Generator().manual_seed(0))
    stem = published_stem()
    model, processor = build_model(nano, theirs, tokenizer, meanings, stem, image_size=64)
    again, _ = build_model(nano, theirs, tokenizer, meanings, stem, image_size=64)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    ours = model.get_input_embeddings().weight
    assert ours.shape == (len(tokenizer), 192)
    for token in (IMG_START, SEG):
        taught = nano.get_input_embeddings().weight[theirs.convert_tokens_to_ids(token)]
        assert torch.equal(ours[tokenizer.convert_tokens_to_ids(token)], taught)
    layer = "model.language_model.layers.0.self_attn.q_proj.weight"
    assert torch.equal(model.state_dict()[layer], nano.state_dict()[layer])
    first = model.model.vision_tower.embeddings.patch_embeddings.stem.first.weight
    torch.testing.assert_close(first, stem["_conv_stem.weight"])
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    result = Segmenter.from_pretrained(tmp_path, device="cpu").segment(np.zeros((50, 70, 3), np.uint8), "the dog")
    assert result.mask.shape == (50, 70)

    larger, its = with_image_size(model, processor, 96)
    assert (its.image_size, its.tokens_per_tile, larger.config.image_seq_length) == (96, 36, 36)
    assert processor.refine == its.refine == "guided"  # photographs are its world
    same = with_image_size(larger, its, 96)[0].state_dict()
    assert all(torch.equal(value, same[name]) for name, value in larger.state_dict().items())
    picture = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    assert Segmenter(larger.eval(), its).segment(picture, "the dog").mask.shape == (50, 70)


def test_a_start_of_another_shape_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    nano = SELF1EForSegmentation.from_pretrained(BUNDLED["nano"], dtype=torch.float32)
    theirs = SELF1EProcessor.from_pretrained(BUNDLED["nano"]).tokenizer
    _, tokenizer = words_and_tokenizer()
    weights = nano.state_dict() | {"model.stranger.weight": torch.zeros(1)}
    monkeypatch.setattr(nano, "state_dict", lambda: weights)
    with pytest.raises(ValueError, match=r"model\.stranger\.weight: weights that the other model lacks"):
        build_model(nano, theirs, tokenizer, torch.zeros(len(tokenizer), 256), {}, image_size=64)
