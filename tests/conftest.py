"""What all tests share."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """Reference data, kept beside the repository; tests that need it are skipped where it is absent."""
    folder = Path(__file__).resolve().parents[1].parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"no reference data in {folder}")
    return folder


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model with its tokenizer: 64 px tiles, 16 image tokens each, masks of 32 x 32. For reading only.

    Every weight is random and matters, unlike in a model that was just initialised: what a mask should depend on,
    it visibly does.
    """
    import torch
    from tiny import TINY

    from self1e.processing.prompts import PHRASE_QUESTIONS, SEG_ANSWERS
    from self1e.processing.tokens import train_tokenizer
    from self1e.training.build_from_scratch import raise_model

    texts = [question.format(phrase=f"{colour} ball") for question in PHRASE_QUESTIONS for colour in ("red", "blue")]
    model, processor = raise_model(TINY, train_tokenizer([*texts, *SEG_ANSWERS], vocab_size=400), seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            parameter.copy_(centre + 0.2 * torch.randn(parameter.shape, generator=generator))
    folder = tmp_path_factory.mktemp("tiny-model")
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A folder with a released checkpoint of `tiny_model()`."""
    from builders import tiny_model
    from official import official_config, official_tensors, write_folder

    return write_folder(tmp_path / "release", official_config(), official_tensors(tiny_model()))
