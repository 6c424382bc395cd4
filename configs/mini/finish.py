"""Makes a model to give away of one that was trained: words it was never taught follow those that it was, and it says
which nouns it knows.

    python configs/mini/finish.py runs/mini/9-closed/model --out runs/mini/finished-9 \\
        --folders data/photos data/coco data/clothing data/ade20k

In training every token's vector moves in each step, as the LM head has the same weights; those of words that no text
held move without sense, and far. They get the vectors of the words that were taught whose meanings are nearest.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

import torch

from self1e.checkpoints.hub import open_checkpoint
from self1e.checkpoints.load import load_network
from self1e.files import folder_when_complete
from self1e.model.network import SELF1EForSegmentation
from self1e.photos.dataset import PhotoData
from self1e.photos.index import photographs
from self1e.photos.nouns import Group, Word, groups, nouns
from self1e.photos.vocabulary import sentence_encoder, settled_vectors, word_vectors
from self1e.processing.processor import SELF1EProcessor
from self1e.processing.tokens import encode_conversation
from self1e.segment.nouns import TaughtNouns

ENOUGH = 10
"""Photographs to learn from that make a noun one that the model says it knows."""

NEAR = {"person": ("man/men", "woman/women", "child/children", "boy/boys", "girl/girls", "baby/babies")}
"""Words that are understood as a noun, beside those of the table: no training text tells these from each other."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes a model to give away of one that was trained.")
    parser.add_argument("model", type=Path, help="model folder")
    parser.add_argument("--folders", nargs="+", required=True, help="folders of photographs it was trained on")
    parser.add_argument(
        "--leave-out",
        nargs="+",
        default=[],
        choices=[noun.name for noun in nouns()],
        metavar="NOUN",
        help="that it was not taught (`leave_out`)",
    )
    parser.add_argument("--examples", type=int, default=3000, help="of which the words are looked at")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the model to")
    options = parser.parse_args()
    if options.out.exists():
        parser.error(f"{options.out} exists: choose another folder, or delete it first")
    checkpoint = open_checkpoint(options.model)
    model = load_network(checkpoint, torch.float32)
    processor = SELF1EProcessor.from_pretrained(checkpoint.folder)
    with sentence_encoder() as encoder:
        taught = settle_words(model, processor, encoder, options.folders, options.leave_out, options.examples)
    known = taught_nouns(options.folders, options.leave_out)
    with folder_when_complete(options.out, replace=False) as staging:
        model.save_pretrained(staging)
        processor.save_pretrained(staging)
        known.write(staging)
    print(f"{options.out}: {int(taught.sum())} of {len(taught)} tokens were taught, {len(known)} nouns")


def settle_words(
    model: SELF1EForSegmentation,
    processor: SELF1EProcessor,
    encoder: Path,
    folders: list[str],
    leave_out: list[str],
    examples: int,
) -> torch.Tensor:
    """Gives the model's words that were never taught the vectors of their neighbours in meaning.

    Args:
        model: Its embeddings are changed, and nothing else.
        processor: Of the model.
        encoder: Folder of all-MiniLM-L6-v2.
        folders: Of photographs.
        leave_out: Nouns that it was not taught.
        examples: Of which the words are looked at.

    Returns:
        bool[tokens]: those that were taught.
    """
    taught = taught_tokens(processor, folders, leave_out, examples)
    meanings = word_vectors(processor.tokenizer, encoder)
    table = model.get_input_embeddings().weight
    with torch.no_grad():
        table.copy_(settled_vectors(table, meanings, taught))
    return taught


def taught_tokens(processor: SELF1EProcessor, folders: list[str], leave_out: list[str], examples: int) -> torch.Tensor:
    """bool[tokens]: those that texts of the training hold: of that many examples, and all words of the nouns taught."""
    settings = PhotoData(folders=folders, leave_out=leave_out, size=32, textual_share=1.0)
    data = settings.examples(examples, training=True)
    counts: Counter[int] = Counter()
    for index in range(examples):
        for talk in data[index].conversations:
            counts.update(encode_conversation(processor.tokenizer, talk.turns, 1).input_ids)
    for noun, others in taught_nouns(folders, leave_out).words.items():
        for word in (noun, *others):
            counts.update(processor.tokenizer(f"the {word}", add_special_tokens=False).input_ids)
    found = torch.zeros(len(processor.tokenizer), dtype=torch.bool)
    found[list(counts)] = True
    return found


def taught_nouns(folders: list[str], leave_out: list[str]) -> TaughtNouns:
    """The nouns of at least `ENOUGH` photographs, but for those left out; `evaluate.py --note` adds their figures."""
    train = [photo for folder in folders for photo in photographs(Path(folder), ("train",))]
    counts = Counter(name for photo in train for name in photo.present)
    taught = [noun for noun in nouns() if counts[noun.name] >= ENOUGH and noun.name not in leave_out]
    names = {noun.name for noun in taught}
    last_words = {text.split()[-1] for noun in taught for text in texts_of((*noun.words, *noun.held_out))}
    others = texts_of([word for noun in nouns() if noun.name not in names for word in noun.words])
    return TaughtNouns(
        words={noun.plain.singular: texts_of(noun.words)[1:] for noun in taught},
        near={
            noun.plain.singular: near
            for noun in taught
            if (near := texts_of((*noun.held_out, *map(Word.parse, NEAR.get(noun.name, ())))))
        },
        groups=texts_of([word for group in groups().values() if is_taught(group, names) for word in group.words]),
        others=[text for text in others if " " in text and text.split()[-1] in last_words],
    )


def texts_of(words: Sequence[Word]) -> list[str]:
    """Words in both numbers, each once."""
    return list(dict.fromkeys(text for word in words for text in word if text))


def is_taught(group: Group, names: Collection[str]) -> bool:
    """Whether most of a group's core was taught."""
    return 2 * sum(name in names for name in group.core) > len(group.core)


if __name__ == "__main__":
    main()
