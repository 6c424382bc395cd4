"""Makes `internvl3-tokenizer` out of the tokenizer of InternVL3-2B: what the recorded conversations need of it.

    python tests/golden/reduce_tokenizer.py FOLDER_OF_INTERNVL3_2B

A byte-pair merge that no step of these texts takes cannot change how they are cut, so it is left out. Ids stay.
"""

import json
import shutil
import sys
from itertools import pairwise
from pathlib import Path

from transformers import AutoTokenizer

HERE = Path(__file__).parent
OUT = HERE / "internvl3-tokenizer"
TURNS = ("system\nYou are an helpful assistant.", "user\n", "assistant\n", "What is this? A dog. Where is it? It is .")
SETTINGS = ("added_tokens", "special_tokens_map", "tokenizer_config", "preprocessor_config", "generation_config")


def merges_taken(word: str, ranks: dict[tuple[str, str], int]) -> set[tuple[str, str]]:
    """The merges that byte-pair encoding makes in a word (in its alphabet of bytes): always the one of lowest rank."""
    parts, taken = list(word), set()
    while known := [pair for pair in pairwise(parts) if pair in ranks]:
        best = min(known, key=ranks.__getitem__)
        taken.add(best)
        merged = []
        while parts:
            together = 2 if tuple(parts[:2]) == best else 1
            merged.append("".join(parts[:together]))
            del parts[:together]
        parts = merged
    return taken


def main(source: Path) -> None:
    backend = AutoTokenizer.from_pretrained(source).backend_tokenizer
    lines = [line for line in (source / "merges.txt").read_text().splitlines() if not line.startswith("#version")]
    ranks = {tuple(line.split(" ")): rank for rank, line in enumerate(lines)}
    vocabulary = json.loads((source / "vocab.json").read_text())

    conversations = json.loads((HERE / "prompts_and_pictures.json").read_text())["conversations"]
    texts = list(TURNS)
    for each in conversations:
        texts += [each["question"].removeprefix("<image>"), each["answer"]]
    taken: set[tuple[str, str]] = set()
    for text in texts:
        for word, _ in backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(text)):
            taken |= merges_taken(word, ranks)

    merges = sorted(taken, key=ranks.__getitem__)
    kept = [token for token in vocabulary if len(token) == 1] + ["".join(pair) for pair in merges]
    OUT.mkdir(exist_ok=True)
    (OUT / "merges.txt").write_text("".join(f"{left} {right}\n" for left, right in merges))
    (OUT / "vocab.json").write_text(json.dumps({token: vocabulary[token] for token in kept}, ensure_ascii=False))
    for name in SETTINGS:
        shutil.copyfile(source / f"{name}.json", OUT / f"{name}.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
