"""What each saving is worth: masks with all of them, and with all but one.

    python -m benchmarks.savings --size 2B --tokenizer FOLDER
    python -m benchmarks.savings --size nano --dtype float32 --expressions 4 --passes 5

All rivals run in one process, pass by pass. Beside the time, which varies, stand the operations of their products,
which do not. Results go to `benchmarks/results/savings.json`, row by row; `python -m benchmarks.performance` makes the
table.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from torch import Tensor

from benchmarks.inference import Ways
from benchmarks.machine import machine_facts
from benchmarks.matrix_products import MatrixProducts
from benchmarks.records import RESULTS, record
from benchmarks.subjects import add_model_options, build_chosen, model_settings, picture, prompts
from benchmarks.timing import interleaved, medians, ratio
from self1e.fast import FastModel
from self1e.fast.attention import BY_HEAD, choose_attention
from self1e.model.network import ImageFeatures

ALL = "exact"
"""With every saving."""


@contextmanager
def language_model_head(ways: Ways) -> Iterator[None]:
    """The LM head over all positions, as where its logits are given out."""

    def run(_: Any, __: Any, output: Any) -> None:
        ways.model.lm_head(output.last_hidden_state)

    hook = ways.model.model.language_model.register_forward_hook(run)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def fused_attention(ways: Ways) -> Iterator[None]:
    """torch's kernel in place of `by_head`."""
    ways.model.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        choose_attention(ways.model)


def whole_answers(_: Ways) -> AbstractContextManager[Any]:
    """Conversations to their end, beyond the last `[SEG]`."""
    return patch("self1e.segment.words.up_to_last_seg", lambda conversation, _: conversation)


def no_prefix(ways: Ways) -> AbstractContextManager[Any]:
    """The tokens before the picture in every row."""
    return patch.object(ways.segmenter.fast, "prefix", return_value=None)


@contextmanager
def unfolded(_: Ways) -> Iterator[None]:
    """The network's own projector and head."""

    def encode_images(fast: FastModel, pixel_values: Tensor) -> ImageFeatures:
        return replace(fast.network.encode_images(pixel_values), uncompressed=None)

    own_head = property(lambda fast: fast.network.refilling_head)
    with patch.object(FastModel, "encode_images", encode_images), patch.object(FastModel, "head", own_head):
        yield


WITHOUT: dict[str, Callable[[Ways], AbstractContextManager[Any]]] = {
    "folded weights": unfolded,
    "LM head left out": language_model_head,
    "attention by head": fused_attention,
    "conversations cut behind [SEG]": whole_answers,
    "prefix read once": no_prefix,
}
"""What is spared -> how to do without."""


def measure(ways: Ways, expressions: int, passes: int) -> dict[str, Any]:
    """Times about one picture of one tile.

    Args:
        ways: With all savings.
        expressions: About the picture.
        passes: Of each rival, after one to warm up.
    """
    image, asked = picture(ways.processor, 1, 1), prompts(expressions)

    def exact() -> None:
        ways.exact(image, asked)

    def without(saving: str) -> None:
        with WITHOUT[saving](ways):
            exact()

    def picture_again() -> None:
        for _ in asked[1:]:
            ways.segmenter.encode(image)
        exact()

    rivals: dict[str, Callable[[], Any]] = {
        ALL: exact,
        "picture encoded once": picture_again,
        **{saving: lambda saving=saving: without(saving) for saving in WITHOUT},  # type: ignore[misc]
    }
    if expressions == 1:
        del rivals["picture encoded once"]
    if ways.model.config.text_config._attn_implementation != BY_HEAD:
        del rivals["attention by head"]
    for rival in rivals.values():
        rival()
    tflop = {name: MatrixProducts.of(ways.modules, rival)[0].tflop for name, rival in rivals.items()}
    seconds, _ = interleaved(rivals, passes, ways.model.device)
    savings = [name for name in rivals if name != ALL]
    return {
        "passes": passes,
        "seconds": medians(seconds),
        "ratios": {saving: ratio(seconds[saving], seconds[ALL]) for saving in savings},
        "products": {saving: round(tflop[saving] / tflop[ALL], 3) for saving in savings},
        "machine": machine_facts(ways.model.device),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model_options(parser, "2B")
    parser.add_argument("--expressions", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--results", type=Path, default=RESULTS / "savings.json")
    chosen = parser.parse_args(arguments)
    ways = Ways(*build_chosen(chosen), compile=chosen.compile)
    for expressions in chosen.expressions:
        found = measure(ways, expressions, chosen.passes)
        key = model_settings(chosen) | {"expressions": expressions}
        record(chosen.results, key, timing=found)
        print(json.dumps(key | found["ratios"]), flush=True)


if __name__ == "__main__":
    main()
