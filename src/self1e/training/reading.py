"""How the model of a run reads, known before there is a model: its tokenizer, its tiles, and how much it reads."""

from __future__ import annotations

from transformers import AutoTokenizer, PreTrainedTokenizerFast

from self1e.checkpoints.check import network_config
from self1e.checkpoints.hub import open_checkpoint
from self1e.data.readable import Reader
from self1e.model.config import SELF1EConfig
from self1e.processing.processor import SELF1EProcessor
from self1e.processing.tokenizers import train_tokenizer, with_special_tokens
from self1e.training.build_from_scratch import CONTEXT
from self1e.training.checkpoints import local_folder
from self1e.training.config import ConfigError, TrainConfig


def tokenizer_of(settings: TrainConfig, local_files_only: bool = False) -> PreTrainedTokenizerFast:
    """The tokenizer of a model from nothing: that of another model, or one learnt from the texts of the run's data.

    Args:
        settings: Of the run.
        local_files_only: Download nothing.

    Raises:
        ConfigError: When it cannot be used here.
        DataError: When data are missing.
        ModelError: When there is no such model.
    """
    assert settings.architecture is not None
    name = settings.architecture.tokenizer
    if name is None:
        return train_tokenizer(settings.data.texts(), settings.architecture.vocabulary)
    folder = local_folder(name) or open_checkpoint(name, local_files_only=local_files_only).folder
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, config=SELF1EConfig(), trust_remote_code=False)
        return with_special_tokens(tokenizer)
    except (OSError, ValueError) as error:
        raise ConfigError(f"architecture.tokenizer: {name} has no tokenizer that can be used: {error}") from error


def reader_of(settings: TrainConfig) -> Reader:
    """What the model of a run reads. Nothing is downloaded, and no weights are loaded.

    Raises:
        ConfigError: When its tokenizer cannot be used.
        DataError: When its tokenizer is to be learnt from data that are missing.
        ModelError: When the model that it starts from is not on this machine.
    """
    if settings.architecture is not None:
        chosen = settings.architecture
        processor = SELF1EProcessor(
            tokenizer_of(settings, local_files_only=True), chosen.image_size, chosen.tokens_per_tile
        )
        return Reader(processor, CONTEXT)
    assert settings.init is not None
    start = open_checkpoint(settings.init, local_files_only=True)
    processor = SELF1EProcessor.from_pretrained(start.folder)
    processor.max_tiles = settings.max_tiles or processor.max_tiles
    return Reader(processor, network_config(start).text_config.max_position_embeddings)
