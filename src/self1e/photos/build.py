"""Builds the photo model that training starts from: a pretrained stem, word vectors, the rest new or nano's."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from self1e.conversation import IMG_CONTEXT, SEG
from self1e.data.settings import Settings
from self1e.model.config import SELF1EConfig
from self1e.model.network import SELF1EForSegmentation
from self1e.model.stem import EFFICIENTNET_LITE2, stem_weights
from self1e.processing.processor import SELF1EProcessor
from self1e.processing.tokens import special_ids
from self1e.training.build_from_scratch import scale_to_width, sine_positions


class PhotoArchitecture(Settings):
    """Sizes of the photo model. The width of the language model is that of the word vectors."""

    image_size: int = 320
    patch_size: int = 8
    vision_width: int = 192
    vision_layers: int = 4
    vision_heads: int = 3
    text_layers: int = 4
    text_heads: int = 6
    text_mlp_width: int = 1024


def build_model(
    architecture: PhotoArchitecture,
    tokenizer: PreTrainedTokenizerFast,
    vectors: Tensor,
    published_stem: Mapping[str, Tensor],
    vision: SELF1EForSegmentation | None = None,
    seed: int = 1,
) -> tuple[SELF1EForSegmentation, SELF1EProcessor]:
    """The model before its training, and its processor.

    Args:
        architecture: Sizes.
        tokenizer: See `self1e.photos.vocabulary`.
        vectors: float[tokens, width] for the tokens of `tokenizer`; they become the tied embeddings.
        published_stem: Weights of EfficientNet-Lite2, see `stem_weights`.
        vision: A model with a vision tower of the same width, whose first layers are taken over.
        seed: Of all weights that are new.
    """
    special = special_ids(tokenizer)
    tokens_per_tile = (architecture.image_size // architecture.patch_size // 2) ** 2
    config = SELF1EConfig(
        vision_config={
            "hidden_size": architecture.vision_width,
            "intermediate_size": 4 * architecture.vision_width,
            "num_hidden_layers": architecture.vision_layers,
            "num_attention_heads": architecture.vision_heads,
            "image_size": architecture.image_size,
            "patch_size": architecture.patch_size,
            "attention_bias": True,
            "layer_scale_init_value": 1.0,
            "stem": EFFICIENTNET_LITE2,
        },
        text_config={
            "model_type": "qwen2",
            "hidden_size": vectors.shape[1],
            "intermediate_size": architecture.text_mlp_width,
            "num_hidden_layers": architecture.text_layers,
            "num_attention_heads": architecture.text_heads,
            "num_key_value_heads": architecture.text_heads,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 2048,
            "tie_word_embeddings": True,
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        tie_word_embeddings=True,
        image_to_segmentation=False,
        image_token_id=special[IMG_CONTEXT],
        seg_token_id=special[SEG],
        image_seq_length=tokens_per_tile,
    )
    torch.manual_seed(seed)
    model = SELF1EForSegmentation(config)
    tower = model.model.vision_tower
    for part in (model.model.language_model, model.model.multi_modal_projector, model.refilling_head):
        scale_to_width(part)
    side = architecture.image_size // architecture.patch_size
    with torch.no_grad():
        model.get_input_embeddings().weight.copy_(vectors)
        tower.embeddings.position_embeddings[0, 1:] = sine_positions(side, architecture.vision_width)
    tower.embeddings.patch_embeddings.stem.load_state_dict(stem_weights(published_stem))
    if vision is not None:
        for ours, theirs in zip(tower.encoder.layer, vision.model.vision_tower.encoder.layer, strict=False):
            ours.load_state_dict(theirs.state_dict())
    return model, SELF1EProcessor(tokenizer, architecture.image_size, tokens_per_tile)
