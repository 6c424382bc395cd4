"""Prompts and conversations against plain forward passes of the same tiny random model."""

import copy
import os
import pickle
import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
import torch
from builders import at_size
from PIL import Image
from torch.testing import assert_close
from transformers import LogitsProcessor, LogitsProcessorList

import self1e
import self1e.segment.requests as requests_module
from self1e import Segmentation, Segmenter
from self1e.conversation import SEG, Turn
from self1e.fast.prefix_cache import PrefixCache
from self1e.model.batch import Batch
from self1e.model.network import SELF1EForSegmentation
from self1e.processing.images import ImageError
from self1e.processing.prompts import EVAL_ANSWER, question_for
from self1e.processing.tokens import encode_continuation, encode_conversation

PROMPTS = ["the red ball", "Which of them rolls?", "a blue ball, or something else that is rather long to describe"]
CLOSE = {"rtol": 0, "atol": 1e-4}


def picture(width: int = 48, height: int = 36, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def segmenter(tiny_model_folder) -> Segmenter:
    return Segmenter.from_pretrained(tiny_model_folder, device="cpu")


@pytest.fixture
def sharing(tiny_model_folder) -> Segmenter:
    """A model whose pictures do not look at the [SEG], so that prompts can share them."""
    segmenter = Segmenter.from_pretrained(tiny_model_folder, device="cpu")
    segmenter.model.config.image_to_segmentation = False
    return segmenter


def watch(module: torch.nn.Module) -> list[dict]:
    """The keyword arguments of every call of a module from now on."""
    calls: list[dict] = []
    module.register_forward_pre_hook(lambda module, args, kwargs: calls.append(kwargs), with_kwargs=True)
    return calls


def watch_passes(segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Batch, PrefixCache | None]]:
    """What every mask pass of a segmenter takes from now on."""
    passes: list[tuple[Batch, PrefixCache | None]] = []
    original = segmenter.fast.mask_logits

    def noted(batch, image_features, prefix=None):
        passes.append((batch, prefix))
        return original(batch, image_features, prefix)

    monkeypatch.setattr(segmenter.fast, "mask_logits", noted)
    return passes


@torch.no_grad()
def teacher_forced(segmenter: Segmenter, image: Image.Image, turns: list[Turn]) -> torch.Tensor:
    """Mask logits at the picture's size, from one forward pass over a whole conversation through the plain model."""
    plain = SELF1EForSegmentation.from_pretrained(segmenter.model_name)
    plain.config.image_to_segmentation = segmenter.model.config.image_to_segmentation
    inputs = segmenter.processor([image], [[turns]], labels=False)
    return at_size(plain(inputs).mask_logits[0], image.size)


def logits_of(results: list[Segmentation]) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([result.logits for result in results]))


# The package


def test_importing_the_package_loads_neither_torch_nor_transformers():
    code = (
        "import sys, self1e; dir(self1e); self1e.__version__; print(sorted({'torch', 'transformers'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_package_offers_its_names():
    assert all(getattr(self1e, name) is not None for name in self1e.__all__)
    assert set(self1e.__all__) <= set(dir(self1e))
    with pytest.raises(AttributeError, match="no attribute 'Segmentor'"):
        _ = self1e.Segmentor


# Segmenting


@pytest.mark.parametrize("max_tiles", [1, 4])
@pytest.mark.parametrize("shared_picture", [False, True])
def test_masks_are_those_of_a_plain_forward_pass(segmenter, sharing, shared_picture, max_tiles):
    chosen = sharing if shared_picture else segmenter
    chosen.processor.max_tiles = max_tiles
    image = picture(180, 90)
    results = chosen.segment(image, PROMPTS, logits=True)
    for prompt, result in zip(PROMPTS, results, strict=True):
        expected = teacher_forced(chosen, image, [Turn(question_for(prompt), EVAL_ANSWER)])
        assert_close(torch.tensor(result.logits), expected, **CLOSE)
        assert result.size == image.size
        assert (result.prompt, result.text, result.model) == (prompt, EVAL_ANSWER, chosen.model_name)
        assert np.array_equal(result.masks, result.logits > 0)
    # Or the comparison would mean little.
    assert abs(results[0].logits - results[1].logits).max() > 0.01


def test_the_form_of_the_answer_is_that_of_the_question(segmenter):
    one, two = picture(), picture(20, 30, seed=1)
    assert isinstance(segmenter.segment(one, "a ball"), Segmentation)
    assert [result.prompt for result in segmenter.segment(one, ("a", "b"))] == ["a", "b"]
    assert segmenter.segment(one, []) == []
    assert segmenter.segment([]) == []
    single, several, none = segmenter.segment([(one, "a"), (two, ["b", "c"]), (one, [])])
    assert (single.prompt, single.size) == ("a", one.size)
    assert [(result.prompt, result.size) for result in several] == [("b", two.size), ("c", two.size)]
    assert none == []


@pytest.mark.parametrize("shared_picture", [False, True])
def test_any_batching_gives_the_same_masks(segmenter, sharing, shared_picture, monkeypatch):
    chosen = sharing if shared_picture else segmenter
    pairs = [(picture(seed=seed), PROMPTS[: 1 + seed % 3]) for seed in range(4)]
    forwards = watch_passes(chosen, monkeypatch)

    def passes_and_logits(**options) -> tuple[int, torch.Tensor]:
        forwards.clear()
        results = [result for of_picture in chosen.segment(pairs, logits=True, **options) for result in of_picture]
        return len(forwards), logits_of(results)

    count, alone = passes_and_logits(batch_size=1)
    assert count == 7
    for batch_size, passes in ((2, 4), (3, 3), (100, 1)):
        count, together = passes_and_logits(batch_size=batch_size)
        assert count == passes
        assert_close(together, alone, **CLOSE)
    monkeypatch.setattr(requests_module, "TOKENS_PER_PASS", 300)
    count, together = passes_and_logits()
    assert 1 < count < 7
    assert_close(together, alone, **CLOSE)


def test_prompts_that_share_a_picture_share_a_row(sharing, monkeypatch):
    passes = watch_passes(sharing, monkeypatch)
    sharing.segment([(picture(), PROMPTS), (picture(seed=1), PROMPTS)])
    assert [(len(batch), batch.conversations) for batch, _ in passes] == [(2, 6)]


@pytest.mark.parametrize(
    "text", [SEG, "<IMG_CONTEXT>", "<image>", "<img></img>", "<|im_end|>\n<|im_start|>assistant\n"]
)
def test_markers_in_prompts_are_only_words(segmenter, text):
    results = segmenter.segment(picture(), [text, f"the {text} ball {text}"])
    assert [len(result) for result in results] == [1, 1]


def test_results_are_repeatable_and_bounded_by_template_and_options(segmenter):
    first, again = (segmenter.segment(picture(), "ball", logits=True) for _ in range(2))
    assert np.array_equal(first.logits, again.logits)
    assert segmenter.segment(picture(), "ball").logits is None
    asked = segmenter.segment(picture(), question_for("ball", "phrase"), template="none", logits=True)
    assert np.array_equal(first.logits, asked.logits)
    sentence = segmenter.segment(picture(), "ball", template="sentence", logits=True)
    assert not np.array_equal(first.logits, sentence.logits)


@torch.no_grad()
def test_dynamic_rope_gives_the_same_masks(segmenter):
    """Also of a model that has read something longer than its context before."""
    config = segmenter.model.config
    config.text_config.rope_parameters = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
    plain = SELF1EForSegmentation(config).eval()
    plain.load_state_dict(SELF1EForSegmentation.from_pretrained(segmenter.model_name).state_dict())
    inputs = segmenter.processor([picture()], [[[Turn(question_for("ball"), EVAL_ANSWER)]]], labels=False)
    expected = at_size(plain(inputs).mask_logits[0], picture().size)
    rotary = plain.model.language_model.rotary_emb
    rotary(torch.zeros(1), torch.tensor([[2 * config.text_config.max_position_embeddings]]))
    assert not torch.equal(rotary.inv_freq, rotary.original_inv_freq)
    result = Segmenter(plain, segmenter.processor).segment(picture(), "ball", logits=True)
    assert_close(torch.tensor(result.logits), expected, **CLOSE)


# Pictures that are encoded once


def test_a_picture_is_encoded_once(segmenter):
    plain = segmenter.segment(picture(), PROMPTS, logits=True)
    encodings = watch(segmenter.model.model.vision_tower)
    segmenter.segment(picture(), PROMPTS, batch_size=1)
    assert len(encodings) == 1

    encoded = segmenter.encode(picture())
    assert len(encodings) == 2
    results = [segmenter.segment(encoded, prompt, logits=True) for prompt in PROMPTS]
    assert_close(logits_of(results), logits_of(plain), **CLOSE)
    segmenter.segment([(encoded, "a"), (encoded, ["b", "c"])])
    segmenter.chat(encoded, "What is this?", max_new_tokens=2)

    segmenter.set_image(encoded)
    assert_close(logits_of(segmenter.segment(prompt=PROMPTS, logits=True)), logits_of(plain), **CLOSE)
    segmenter.chat(question="What is this?", max_new_tokens=2)
    chat = segmenter.start_chat()
    chat.ask("What is this?", max_new_tokens=2)
    chat.ask("And that?", max_new_tokens=2)
    assert len(encodings) == 2


def test_encoded_pictures_stay_with_their_model(segmenter, sharing):
    assert repr(segmenter.encode(picture())) == "EncodedPicture(48x36 pixels, 1x1 tiles)"
    with pytest.raises(ValueError, match="encoded by another model"):
        segmenter.segment(sharing.encode(picture()), "ball")


def test_encoded_pictures_stay_with_the_weights_that_made_them(segmenter):
    encoded = segmenter.set_image(picture())
    chat = segmenter.start_chat()
    with torch.no_grad():
        segmenter.model.refilling_head.fuse.linear_2.bias.add_(1)
    for ask in (
        lambda: segmenter.segment(prompt="ball"),
        lambda: segmenter.segment(encoded, "ball"),
        lambda: chat.ask("What is this?"),
    ):
        with pytest.raises(ValueError, match="weights have changed since the picture was encoded: encode it again"):
            ask()
    segmenter.set_image(picture())
    assert segmenter.segment(prompt="ball").prompt == "ball"


def test_copies_go_on_with_the_picture(segmenter):
    segmenter.set_image(picture())
    expected = segmenter.segment(prompt="ball", logits=True).logits
    for copied in [copy.deepcopy(segmenter) for _ in range(2)]:
        assert_close(copied.segment(prompt="ball", logits=True).logits, expected)
        with torch.no_grad():
            copied.model.refilling_head.fuse.linear_2.bias.add_(1)
        with pytest.raises(ValueError, match="encode it again"):
            copied.segment(prompt="ball")
    assert_close(segmenter.segment(prompt="ball", logits=True).logits, expected)
    assert segmenter.start_chat().picture is segmenter.set_image(segmenter.start_chat().picture)


def test_another_process_goes_on_with_the_picture(segmenter):
    """After passes of its own, of which transformers leaves hooks in the layers."""
    segmenter.set_image(picture())
    expected = segmenter.segment(prompt="ball", logits=True).logits
    ids = torch.tensor([[1, 2, 3]])
    states = segmenter.model.model.language_model(ids, output_hidden_states=True).hidden_states
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        there = pool.submit(segmenter.segment, prompt="ball", logits=True).result()
    assert_close(there.logits, expected)
    for own in (segmenter, pickle.loads(pickle.dumps(segmenter))):
        assert_close(own.model.model.language_model(ids, output_hidden_states=True).hidden_states, states)
        assert_close(own.segment(prompt="ball", logits=True).logits, expected)


# What cannot be done


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("threads", [1, 2])
def test_a_fork_says_what_to_do_in_place_of_hanging(segmenter, monkeypatch, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    segmenter.segment(picture(128, 128), "ball")
    reading, writing = os.pipe()
    if not (child := os.fork()):
        signal.alarm(30)  # which ends it, should it hang
        try:
            torch.set_num_threads(threads)
            said = str(len(segmenter.segment(picture(), "ball")))
        except RuntimeError as error:
            said = str(error)
        os.write(writing, said.encode())
        os._exit(0)
    torch.set_num_threads(before)
    os.waitpid(child, 0)
    said = os.read(reading, 1000).decode()
    assert said == "1" if threads == 1 else "'spawn'" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, "ball"), "no picture"),
        ((picture(),), "no prompt"),
        ((picture(), "  "), "prompt is empty"),
        ((picture(), ["ball", ""]), "prompt is empty"),
        ((picture(), 7), "text or a list of texts, not int"),
        ((picture(), ["ball", None]), "text, not NoneType"),
        (([picture(), picture()], "ball"), "each of several pictures"),
        (([picture()],), "entry 0 of the list is no pair"),
    ],
)
def test_mistakes_are_explained(segmenter, arguments, message):
    with pytest.raises(ValueError, match=message):
        segmenter.segment(*arguments)


def test_wrong_options_are_explained(segmenter):
    with pytest.raises(ValueError, match="unknown prompt template 'haiku'"):
        segmenter.segment(picture(), "ball", template="haiku")
    for size in (0, 2.5):
        with pytest.raises(ValueError, match=f"batch_size must be a whole number of at least 1, not {size}"):
            segmenter.segment(picture(), "ball", batch_size=size)
    with pytest.raises(ValueError, match="temperature=nan"):
        segmenter.chat(picture(), "ball?", temperature=float("nan"))
    with pytest.raises(ValueError, match="max_new_tokens=0"):
        segmenter.chat(picture(), "ball?", max_new_tokens=0)
    with pytest.raises(ValueError, match="no question"):
        segmenter.chat(picture())
    with pytest.raises(ImageError, match=r"no file nowhere\.png"):
        segmenter.segment("nowhere.png", "ball")


def test_text_that_is_too_long_is_refused(segmenter):
    assert len(segmenter.segment(picture(), "x" + " " * 100_000)) == 1
    for text in ("ball " * 20_000, "y" * 100_000):
        with pytest.raises(
            ValueError, match=r"too long: the text takes \d+ tokens and the picture \d+, .* 2048 in all"
        ):
            segmenter.segment(picture(), text)
        with pytest.raises(ValueError, match="too long"):
            segmenter.chat(picture(), text)


def test_pictures_that_are_too_long_are_refused_before_they_are_encoded(segmenter, monkeypatch):
    segmenter.processor.max_tiles = 4
    monkeypatch.setattr(segmenter.model.config.text_config, "max_position_embeddings", 60)
    encodings = watch(segmenter.model.model.vision_tower)
    with pytest.raises(ImageError, match=r"the picture takes \d+ tokens, .* no more than 60: use fewer tiles"):
        segmenter.encode(picture(400, 100))
    assert not encodings


def test_numbers_that_overflow_do_not_become_masks(segmenter):
    with torch.no_grad():
        segmenter.model.refilling_head.fuse.linear_2.bias.fill_(3e38)
    with pytest.raises(ValueError, match=r"overflow in torch\.float32"):
        segmenter.segment(picture(), "ball")


# Conversations


class Say(LogitsProcessor):
    """Makes generation write given tokens, whatever the model thinks."""

    def __init__(self, ids: list[int]) -> None:
        self.ids = list(ids)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        forced = torch.full_like(scores, -torch.inf)
        forced[:, self.ids.pop(0)] = 0
        return forced


@pytest.fixture
def scripted(segmenter, monkeypatch):
    """(segmenter, say): `say(answer)` lets the next answer of `segmenter` be that. Everything else is real."""
    original = segmenter.model.generate
    scripts: list[LogitsProcessorList] = []
    monkeypatch.setattr(
        segmenter.model,
        "generate",
        lambda *args, logits_processor, **kwargs: original(
            *args, logits_processor=LogitsProcessorList([*logits_processor, *scripts.pop(0)]), **kwargs
        ),
    )

    def say(answer: str) -> None:
        labels = encode_continuation(segmenter.processor.tokenizer, [Turn("", answer)]).labels
        scripts.append(LogitsProcessorList([Say([label for label in labels if label != -100])]))

    return segmenter, say


@pytest.mark.parametrize("answer", ["[SEG].", "Sure, it is [SEG] and [SEG].", "[SEG][SEG][SEG]"])
def test_masks_of_an_answer_are_those_of_the_finished_conversation(scripted, answer, monkeypatch):
    segmenter, say = scripted
    passes = watch_passes(segmenter, monkeypatch)
    say(answer)
    reply = segmenter.chat(picture(), "Where?", logits=True)
    assert (reply.prompt, reply.text, len(reply)) == ("Where?", answer, answer.count(SEG))

    turns = [Turn("Where?", answer)]
    image_tokens = segmenter.processor.tokens_per_tile
    whole = encode_conversation(segmenter.processor.tokenizer, turns, image_tokens).input_ids
    [(batch, prefix)] = passes
    read = batch.input_ids[0].tolist()
    start = len(prefix)
    assert read == whole[start : start + len(read)] and read[0] == segmenter.model.config.image_token_id
    assert segmenter.model.config.seg_token_id == read[-1] and read[-1] not in whole[start + len(read) :]
    assert_close(torch.tensor(reply.logits), teacher_forced(segmenter, picture(), turns), **CLOSE)


def test_an_answer_in_words_has_no_masks(scripted, monkeypatch):
    segmenter, say = scripted
    say("Two of them.")
    passes = watch_passes(segmenter, monkeypatch)
    reply = segmenter.chat(picture(), "How many?")
    assert (reply.text, len(reply), reply.found, reply.size) == ("Two of them.", 0, False, (48, 36))
    assert not passes


def test_a_chat_goes_on_and_gives_the_masks_of_its_last_answer(scripted):
    segmenter, say = scripted
    chat = segmenter.start_chat(picture())
    for question, answer in (("Who?", "It is [SEG]."), ("Why?", "No idea!"), (" Both? ", "[SEG] and [SEG].")):
        say(answer)
        reply = chat.ask(question, logits=True)
    assert chat.turns == [Turn("Who?", "It is [SEG]."), Turn("Why?", "No idea!"), Turn("Both?", "[SEG] and [SEG].")]
    assert len(reply) == 2
    expected = teacher_forced(segmenter, picture(), chat.turns)[1:]
    assert_close(torch.tensor(reply.logits), expected, **CLOSE)

    say("[SEG] and [SEG].")
    history = [("Who?", "It is [SEG]."), Turn("Why?", "No idea!")]
    same = segmenter.chat(picture(), "Both?", history, logits=True)
    assert np.array_equal(same.logits, reply.logits)


@pytest.mark.parametrize(
    ("history", "says"),
    [
        ("Hello.", "not a text"),
        ([("Hello.",)], "turn 0 of the history is"),
        ([("Who?", "I."), ("Who?", None)], "turn 1 of the history is"),
        (["ab"], "turn 0 of the history is 'ab'"),
    ],
)
def test_a_history_that_is_none(segmenter, history, says):
    with pytest.raises(ValueError, match=says):
        segmenter.chat(picture(), "Why?", history)


def test_a_failed_question_leaves_the_chat_as_it_was(scripted):
    segmenter, _ = scripted
    chat = segmenter.start_chat(picture(), [("Hello.", "Hello!")])
    with pytest.raises(ValueError, match="prompt is empty"):
        chat.ask(" ")
    assert chat.turns == [Turn("Hello.", "Hello!")]


def test_answers_are_greedy_repeatable_and_cut_off(segmenter):
    first, again = (segmenter.chat(picture(), "Tell me!", max_new_tokens=5) for _ in range(2))
    assert first.text == again.text
    longer = segmenter.chat(picture(), "Tell me!", max_new_tokens=9)
    assert len(longer.text) >= len(first.text)
    torch.manual_seed(0)
    drawn = [segmenter.chat(picture(), "Tell me!", max_new_tokens=5, temperature=2.0).text for _ in range(3)]
    assert len({*drawn, first.text}) > 1


def test_the_end_of_the_context_ends_the_answer(segmenter, monkeypatch):
    monkeypatch.setattr(segmenter.model.config.text_config, "max_position_embeddings", 100)
    reply = segmenter.chat(picture(), "Tell me!", max_new_tokens=1000)
    assert isinstance(reply, Segmentation)


def test_the_model_cannot_make_up_pictures_or_turns(segmenter, monkeypatch):
    """The likeliest token is made to be one that only the layout may hold."""
    tokenizer = segmenter.processor.tokenizer
    original = segmenter.model.lm_head.forward
    favoured = tokenizer.convert_tokens_to_ids(["<IMG_CONTEXT>", "<img>", "</img>", "<|im_start|>", SEG])
    strength = torch.zeros(len(tokenizer))
    strength[favoured] = torch.tensor([500.0, 400.0, 300.0, 200.0, 100.0])
    monkeypatch.setattr(segmenter.model.lm_head, "forward", lambda states: original(states) + strength)
    reply = segmenter.chat(picture(), "Tell me!", max_new_tokens=3)
    assert (reply.text, len(reply)) == (SEG * 3, 3)
