"""Which tokens `[SEG]` and `<IMG_CONTEXT>` are, found out by the converter; and rows for a `[SEG]` that is new."""

import json
import shutil

import pytest
import torch
from builders import IMAGE, SEG, VOCABULARY, tiny_model
from official import official_config, official_tensors, write_folder
from torch.testing import assert_close
from transformers import PreTrainedTokenizerFast

from self1e.checkpoints.convert import convert_checkpoint
from self1e.checkpoints.weights import ModelError
from self1e.conversation import add_seg_token
from self1e.model.network import SELF1EForSegmentation
from self1e.processing.tokenizers import train_tokenizer


@pytest.fixture
def tokenizer():
    return train_tokenizer(["some words to learn from"], vocab_size=300)


def without_seg(tokenizer, folder):
    """The same tokenizer as a base model has it."""
    tokenizer.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        content = json.loads((folder / name).read_text())
        if name == "tokenizer.json":
            content["added_tokens"] = [each for each in content["added_tokens"] if each["content"] != "[SEG]"]
        else:
            content.get("added_tokens_decoder", {}).pop(str(tokenizer.convert_tokens_to_ids("[SEG]")), None)
        (folder / name).write_text(json.dumps(content))
    bare = PreTrainedTokenizerFast.from_pretrained(folder)
    assert "[SEG]" not in bare.get_vocab()
    return bare


def checkpoint(folder, rows, head):
    config = official_config(text={"vocab_size": rows})
    return write_folder(folder, config, official_tensors(tiny_model(text={"vocab_size": rows}), head=head))


def test_release_with_a_tokenizer(tokenizer, tmp_path):
    source = checkpoint(tmp_path / "source", len(tokenizer) + 1, head=True)
    tokenizer.save_pretrained(source)
    report = convert_checkpoint(source, tmp_path / "model")
    assert report.config.seg_token_id == tokenizer.convert_tokens_to_ids("[SEG]")
    assert report.config.image_token_id == tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>")
    assert (report.rows, report.config.text_config.vocab_size) == (len(tokenizer) + 1, len(tokenizer) + 1)
    kept = PreTrainedTokenizerFast.from_pretrained(tmp_path / "model")
    assert kept.get_vocab() == tokenizer.get_vocab()
    model = SELF1EForSegmentation.from_pretrained(tmp_path / "model")
    assert model.generation_config.eos_token_id == tokenizer.convert_tokens_to_ids("<|im_end|>")


@pytest.mark.parametrize("spare", [0, 20])
def test_base_with_a_tokenizer(tokenizer, tmp_path, spare):
    """`[SEG]` goes behind the tokenizer's last token: into a new row, or into the first spare one."""
    (tmp_path / "bare").mkdir()
    bare = without_seg(tokenizer, tmp_path / "bare")
    source = checkpoint(tmp_path / "source", len(bare) + spare, head=False)
    bare.save_pretrained(source)
    report = convert_checkpoint(source, tmp_path / "model")
    assert report.config.seg_token_id == len(bare)
    assert report.rows == len(bare) + spare
    assert report.config.text_config.vocab_size == max(len(bare) + 1, len(bare) + spare)
    kept = PreTrainedTokenizerFast.from_pretrained(tmp_path / "model")
    assert kept.convert_tokens_to_ids("[SEG]") == len(bare)
    model = SELF1EForSegmentation.from_pretrained(tmp_path / "model")
    rows = model.get_input_embeddings().weight
    assert_close(rows[len(bare)], rows[: len(bare)].mean(dim=0))
    original = tiny_model(text={"vocab_size": len(bare) + spare}).get_input_embeddings().weight
    assert torch.equal(rows[: len(bare)], original[: len(bare)])
    assert torch.equal(rows[len(bare) + 1 :], original[len(bare) + 1 :])


def test_conflict_with_the_tokenizer(tokenizer, tmp_path):
    source = checkpoint(tmp_path / "source", len(tokenizer), head=True)
    tokenizer.save_pretrained(source)
    with pytest.raises(ModelError, match="seg_token_id = 5 was given"):
        convert_checkpoint(source, tmp_path / "model", seg_token_id=5)


def test_broken_tokenizer(tokenizer, release, tmp_path):
    tokenizer.save_pretrained(release)
    (release / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match="tokenizer"):
        convert_checkpoint(release, tmp_path / "model")


def test_unknown(release, tmp_path):
    with pytest.raises(ModelError, match=r"id of \[SEG\] is unknown.*give seg_token_id"):
        convert_checkpoint(release, tmp_path / "model")
    with pytest.raises(ModelError, match=r"give image_token_id .*--image-token-id"):
        convert_checkpoint(release, tmp_path / "model", seg_token_id=SEG)


@pytest.mark.parametrize(("rows", "head"), [(151674, False), (151676, True)])
def test_known_vocabularies(rows, head, tmp_path):
    text = {"vocab_size": rows, "hidden_size": 8, "num_attention_heads": 2}
    model = tiny_model(text=text)
    source = write_folder(tmp_path / "source", official_config(text=text), official_tensors(model, head=head))
    report = convert_checkpoint(source, tmp_path / "model")
    assert (report.config.seg_token_id, report.config.image_token_id) == (151674, 151667)
    assert (report.rows, report.config.text_config.vocab_size) == (rows, max(rows, 151675))


def test_release_without_a_row_for_seg(release, tmp_path):
    with pytest.raises(ModelError, match=r"no trained \[SEG\]"):
        convert_checkpoint(release, tmp_path / "model", seg_token_id=VOCABULARY, image_token_id=IMAGE)


@pytest.mark.parametrize("says_where_answers_end", [True, False])
def test_generation_settings(tokenizer, tmp_path, says_where_answers_end):
    """The source's own, if they say anything; otherwise answers end where the chat format ends them."""
    source = checkpoint(tmp_path / "source", len(tokenizer), head=True)
    tokenizer.save_pretrained(source)
    settings = {"eos_token_id": [3, 4]} if says_where_answers_end else {"_from_model_config": True}
    (source / "generation_config.json").write_text(json.dumps(settings))
    convert_checkpoint(source, tmp_path / "model")
    model = SELF1EForSegmentation.from_pretrained(tmp_path / "model")
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert model.generation_config.eos_token_id == ([3, 4] if says_where_answers_end else end)


def test_internvl_tokenizer(internvl_folder, tmp_path):
    """That of InternVL3-2B, in files like the original ones, on weights with as many rows as it has ids."""
    text = {"vocab_size": 151674, "hidden_size": 8, "num_attention_heads": 2}
    tensors = official_tensors(tiny_model(text=text), head=False)
    source = write_folder(tmp_path / "source", official_config(text=text), tensors)
    for file in internvl_folder.iterdir():
        shutil.copyfile(file, source / file.name)
    report = convert_checkpoint(source, tmp_path / "model")
    assert (report.config.seg_token_id, report.config.image_token_id) == (151674, 151667)
    kept = PreTrainedTokenizerFast.from_pretrained(tmp_path / "model")
    assert add_seg_token(kept) == 151674
    assert (tmp_path / "model" / "preprocessor_config.json").is_file()
