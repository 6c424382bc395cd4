import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import BPE
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from self1e.conversation import IGNORED_LABEL, IM_END, IM_START, IMG_CONTEXT, SEG, Turn, add_seg_token
from self1e.processing.tokenizers import train_tokenizer
from self1e.processing.tokens import (
    decode_answer,
    encode_continuation,
    encode_conversation,
    encode_prefix,
    encode_text,
    special_ids,
)


def expand(runs: list[list[int]]) -> list[int]:
    return [value for value, count in runs for _ in range(count)]


def turn_of(conversation: dict) -> Turn:
    return Turn(conversation["question"].removeprefix("<image>\n"), conversation["answer"])


def test_conversations_equal_the_reference(internvl_tokenizer, reference):
    assert len(reference["conversations"]) == 7
    for conversation in reference["conversations"]:
        encoded = encode_conversation(internvl_tokenizer, [turn_of(conversation)], image_tokens=256)
        assert encoded.input_ids == expand(conversation["input_ids"])
        assert encoded.labels == expand(conversation["labels"])


def test_reloaded_tokenizer_equals_the_reference(internvl_tokenizer, reference, tmp_path):
    internvl_tokenizer.save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert add_seg_token(tokenizer) == 151674
    for conversation in reference["conversations"]:
        encoded = encode_conversation(tokenizer, [turn_of(conversation)], image_tokens=256)
        assert encoded.input_ids == expand(conversation["input_ids"])


def test_whole_tokenizer_equals_the_reference(real_data, internvl_tokenizer, reference):
    """Nothing of it that conversations use is missing in the part that is kept here."""
    tokenizer = AutoTokenizer.from_pretrained(real_data / "tokenizer/InternVL3-2B")
    assert add_seg_token(tokenizer) == 151674
    assert tokenizer.get_added_vocab() == internvl_tokenizer.get_added_vocab()
    for conversation in reference["conversations"]:
        encoded = encode_conversation(tokenizer, [turn_of(conversation)], image_tokens=256)
        assert encoded.input_ids == expand(conversation["input_ids"])


def test_generation_prompt_is_the_start_of_the_conversation(internvl_tokenizer):
    turns = [Turn("What is this?", "A dog."), Turn("Where is it?", f"It is {SEG}.")]
    whole = encode_conversation(internvl_tokenizer, turns, 4)
    prompt = encode_conversation(internvl_tokenizer, turns[:1], 4, question=turns[1].question)
    assert whole.input_ids[: len(prompt)] == prompt.input_ids
    assert internvl_tokenizer.decode(prompt.input_ids[-3:]) == f"{IM_START}assistant\n"
    assert decode_answer(internvl_tokenizer, whole.input_ids[len(prompt) :]) == f"It is {SEG}."


def test_every_turn_is_supervised(small_tokenizer):
    turns = [Turn("What is this?", "A dog."), Turn("Where?", f"{SEG} and {SEG}.")]
    encoded = encode_conversation(small_tokenizer, turns, 4)
    supervised = [label for label in encoded.labels if label != IGNORED_LABEL]
    assert small_tokenizer.decode(supervised) == f"A dog.{IM_END}{SEG} and {SEG}.{IM_END}"
    assert all(label in (IGNORED_LABEL, token) for token, label in zip(encoded.input_ids, encoded.labels, strict=True))


def test_prefix_and_continuation_are_the_whole(small_tokenizer):
    turns = [Turn("a", "b"), Turn("c", "d")]
    prefix, continuation = encode_prefix(small_tokenizer, 9), encode_continuation(small_tokenizer, turns)
    assert encode_conversation(small_tokenizer, turns, 9) == prefix + continuation
    special = special_ids(small_tokenizer)
    assert prefix.input_ids.count(special[IMG_CONTEXT]) == 9
    assert prefix.input_ids[-1] == special["</img>"]
    assert set(prefix.labels) == {IGNORED_LABEL}


HOSTILE = st.lists(
    st.sampled_from(
        [SEG, IMG_CONTEXT, "<image>", IM_END, IM_START, "<img>", "</img>", "<|endoftext|>", "<box>", " ", "\n"]
    )
    | st.text(max_size=8),
    max_size=6,
).map("".join)


@given(text=HOSTILE)
def test_user_text_is_inert(text, small_tokenizer):
    check_inert(small_tokenizer, text)


@given(text=HOSTILE)
def test_user_text_is_inert_for_the_internvl_tokenizer(text, internvl_tokenizer):
    check_inert(internvl_tokenizer, text)


def check_inert(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    """Plain text yields no added token, adds no special token to its conversation, and is not changed."""
    ids = encode_text(tokenizer, text)
    assert not set(ids) & set(tokenizer.added_tokens_decoder)
    assert tokenizer.decode(ids) == tokenizer.backend_tokenizer.normalizer.normalize_str(text)
    tame = encode_conversation(tokenizer, [Turn("x", f"It is {SEG}.")], 4).input_ids
    hostile = encode_conversation(tokenizer, [Turn(text, f"It is {SEG}.")], 4).input_ids
    for token in special_ids(tokenizer).values():
        assert hostile.count(token) == tame.count(token)


def test_broken_unicode_is_encoded(small_tokenizer):
    assert small_tokenizer.decode(encode_text(small_tokenizer, "a\ud800b")) == "a?b"


def test_special_tokens_have_to_be_there(small_tokenizer):
    bare = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(BPE(vocab={"a": 0}, merges=[])))
    with pytest.raises(ValueError, match=r"has no <\|im_start\|>"):
        special_ids(bare)
    bare.add_tokens([token for token in special_ids(small_tokenizer) if token != SEG])
    with pytest.raises(ValueError, match="add_seg_token"):
        encode_prefix(bare, 1)
    assert add_seg_token(bare) == add_seg_token(bare) == len(bare) - 1


def test_small_tokenizer_survives_saving(small_tokenizer, tmp_path):
    small_tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    text = "What is the red ball? It's 12 図 é"
    assert encode_text(loaded, text) == encode_text(small_tokenizer, text)
    assert loaded.decode(encode_text(loaded, text)) == text
    assert special_ids(loaded) == special_ids(small_tokenizer)
    assert (loaded.eos_token, loaded.pad_token) == (IM_END, "<|endoftext|>")


def test_small_tokenizer_learns_words_but_not_special_tokens(small_tokenizer):
    tokens = small_tokenizer.convert_ids_to_tokens(encode_text(small_tokenizer, "What is red ball in this image?"))
    assert "Ġimage" in tokens
    assert "SEG" not in small_tokenizer.get_vocab()


def test_small_tokenizer_cuts_like_qwen2(small_tokenizer, internvl_tokenizer):
    text = "It's  12 red\n\n balls (two), 图中!"
    small, real = (each.backend_tokenizer.pre_tokenizer for each in (small_tokenizer, internvl_tokenizer))
    assert small.pre_tokenize_str(text) == real.pre_tokenize_str(text)


def test_chat_template_has_the_layout_of_conversations(small_tokenizer):
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Hi."}]}]
    text = small_tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    encoded = encode_conversation(small_tokenizer, [], 1, question="Hi.")
    assert text.replace(IMG_CONTEXT, f"<img>{IMG_CONTEXT}</img>") == small_tokenizer.decode(encoded.input_ids)


def test_training_is_deterministic():
    texts = ["ab ba abab baba cd dc", f"Sure, {SEG}."]
    here = train_tokenizer(texts, 290).backend_tokenizer.to_str()
    script = (
        "from self1e.processing.tokenizers import train_tokenizer;"
        f"print(train_tokenizer({texts}, 290).backend_tokenizer.to_str(), end='')"
    )
    # Another process has other hash seeds.
    there = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert there == here


def test_vocabulary_too_small_is_refused():
    with pytest.raises(ValueError, match="vocab_size 100 is too small"):
        train_tokenizer(["a"], 100)
