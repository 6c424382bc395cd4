"""Models of other shapes: a stem, the published layout, text models, rungs of the ladder. Each is exported anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from builders import tiny_model
from noise import PROMPTS, noise, samples

from self1e import Segmenter, SELF1EProcessor
from self1e.checkpoints.hub import BUNDLED
from self1e.conversation import IMG_CONTEXT, SEG
from self1e.export.export import Exporter
from self1e.export.verify import samples_to_check
from self1e.processing.tokens import special_ids
from self1e.segment.agreement import LEAST_FOUND, mask_maps

pytest.importorskip("onnxscript")
pytest.importorskip("openvino")
pytestmark = pytest.mark.slow

DYNAMIC: dict[str, Any] = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e6}
"""Of InternVL3."""


def saved(folder: Path, tokens: Path, text_model: str, **settings: Any) -> Path:
    """A random model of InternVL3's layout with the tiny model's tokenizer: shared key heads, patches of 14 pixels."""
    processor = SELF1EProcessor(SELF1EProcessor.from_pretrained(tokens).tokenizer, image_size=56, tokens_per_tile=4)
    ids = special_ids(processor.tokenizer)
    text = {"vocab_size": len(processor.tokenizer), "rope_parameters": DYNAMIC}
    settings |= {"text": text, "image_token_id": ids[IMG_CONTEXT], "seg_token_id": ids[SEG]}
    tiny_model(text_model, **settings).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("text_model", "settings"),
    [
        ("qwen2", {}),
        ("qwen3", {}),
        ("qwen2", {"image_to_image": False}),
        ("qwen2", {"image_to_segmentation": False}),
        ("qwen2", {"refilling": "rfr"}),
        ("qwen2", {"refilling": "uncompressed"}),
        ("qwen2", {"refilling": "baseline", "image_to_segmentation": False}),
    ],
)
def test_models_of_the_published_layout(
    tiny_model_folder: Path, tmp_path: Path, text_model: str, settings: dict[str, Any]
) -> None:
    """The export compares its masks itself; and several prompts about several tiles are compared here."""
    folder = saved(tmp_path / "model", tiny_model_folder, text_model, **settings)
    artefact = Exporter(str(folder)).write("onnx", tmp_path / "exported", samples=samples())
    theirs = Segmenter.from_pretrained(folder, device="cpu", dtype="float32", max_tiles=4)
    expected = theirs.segment(noise(300, 90), PROMPTS, logits=True)
    for engine in ("onnxruntime", "openvino"):
        ours = Segmenter.from_pretrained(artefact.folder, engine=engine, max_tiles=4)
        for one, other in zip(ours.segment(noise(300, 90), PROMPTS, logits=True), expected, strict=True):
            assert one.logits is not None and other.logits is not None
            assert abs(one.logits - other.logits).max() < 1e-3 < abs(other.logits).max()


@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_mini(tmp_path: Path, kind: str) -> None:
    """Its stem is convolutional. Every precision passes its own check, in which there is enough that it finds."""
    exporter = Exporter(str(BUNDLED["mini"]))
    found = [float((logits > 0).mean()) for logits, _ in mask_maps(exporter.runner, samples_to_check())]
    assert sum(LEAST_FOUND <= share < 1 for share in found) >= 12
    for precision in ("float32", "float16", "int8"):
        artefact = exporter.write(kind, tmp_path / precision, precision)
        assert artefact.verified is not None and artefact.verified.pictures == 20
        assert artefact.nouns
