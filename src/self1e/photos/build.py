"""Builds the photo model that training starts from: another small model that gets eyes for photographs, and words.

What a model of a drawn world has learnt of language, places, numbers and masks is worth keeping. Its patch embedding
gives way to a pretrained convolutional stem, and its tokens to a table of the words people use.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from self1e.conversation import IMG_CONTEXT, SEG
from self1e.model.config import SELF1EConfig
from self1e.model.network import SELF1EForSegmentation
from self1e.model.stem import EFFICIENTNET_LITE2, STAGES
from self1e.processing.processor import SELF1EProcessor
from self1e.processing.tokens import special_ids

REPLACED = ("patch_embeddings", "position_embeddings", "embed_tokens", "lm_head")
"""Weights that are not taken over as they are."""

WORD_BEGINS = "\u0120"
"""What a byte-level tokenizer writes for the space before a word."""

EPSILON = 1e-3
"""Of the stem's batch normalisation."""

SEED = 1
"""Of the weights that are new."""

TAUGHT = 2.0
"""Weight of the direction that the other model learnt for a word, beside that of the word's meaning."""


def build_model(
    start: SELF1EForSegmentation,
    start_tokenizer: PreTrainedTokenizerFast,
    tokenizer: PreTrainedTokenizerFast,
    meanings: Tensor,
    published_stem: Mapping[str, Tensor],
    image_size: int,
    patch_size: int = 8,
) -> tuple[SELF1EForSegmentation, SELF1EProcessor]:
    """The model before its training, and its processor.

    Args:
        start: Model whose shape and weights are taken over.
        start_tokenizer: Its tokenizer, byte-level BPE.
        tokenizer: See `self1e.photos.vocabulary`.
        meanings: float[tokens, any width], a vector for each token of `tokenizer`.
        published_stem: Weights of EfficientNet-Lite2, see `stem_weights`.
        image_size: Side of the square that a photograph is stretched to, pixels.
        patch_size: Side of a patch, pixels.

    Raises:
        ValueError: If the sizes do not divide, or the other model is of another shape.
    """
    _check_size(image_size, patch_size)
    side = image_size // patch_size
    config = _config(start.config, tokenizer, image_size, patch_size)
    torch.manual_seed(SEED)
    model = SELF1EForSegmentation(config)
    kept = {name: weight for name, weight in start.state_dict().items() if not any(part in name for part in REPLACED)}
    missing, unexpected = model.load_state_dict(kept, strict=False)
    wrong = [name for name in missing if not any(part in name for part in REPLACED)] + unexpected
    if wrong:
        raise ValueError(f"{', '.join(wrong)}: weights that the other model lacks, or has alone")
    ours, theirs = model.model.vision_tower.embeddings, start.model.vision_tower.embeddings
    ours.patch_embeddings.stem.load_state_dict(stem_weights(published_stem))
    table = start.get_input_embeddings().weight.detach()
    with torch.no_grad():
        ours.position_embeddings.copy_(resized_positions(theirs.position_embeddings, side))
        model.get_input_embeddings().weight.copy_(
            turned_vectors(meanings, tokenizer.get_vocab(), table, start_tokenizer.get_vocab())
        )
    return model, SELF1EProcessor(tokenizer, image_size, config.image_seq_length, refine="guided")


def with_image_size(
    model: SELF1EForSegmentation, processor: SELF1EProcessor, image_size: int
) -> tuple[SELF1EForSegmentation, SELF1EProcessor]:
    """A copy of a model that sees pictures at another size: the same weights, positions between those it had."""
    config = deepcopy(model.config)
    patch_size = config.vision_config.patch_size[0]
    _check_size(image_size, patch_size)
    config.vision_config.image_size = [image_size, image_size]
    config.image_seq_length = (image_size // patch_size // 2) ** 2
    other = SELF1EForSegmentation(config)
    name = "model.vision_tower.embeddings.position_embeddings"
    weights = model.state_dict()
    weights[name] = resized_positions(weights[name], image_size // patch_size)
    other.load_state_dict(weights)
    other.train(model.training)
    sizes = image_size, config.image_seq_length, processor.max_tiles
    return other, SELF1EProcessor(processor.tokenizer, *sizes, processor.refine)


def _check_size(image_size: int, patch_size: int) -> None:
    if image_size < 1 or image_size % (2 * patch_size):
        raise ValueError(f"image_size {image_size} is not a multiple of two patches of {patch_size} pixels")


def resized_positions(positions: Tensor, side: int) -> Tensor:
    """float[1, 1 + n * n, width] -> float[1, 1 + side * side, width]: those of patches are interpolated."""
    first, patches = positions.detach().split([1, positions.shape[1] - 1], dim=1)
    old = round(patches.shape[1] ** 0.5)
    grid = patches.unflatten(1, (old, old)).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, (side, side), mode="bicubic", align_corners=False)
    return torch.cat([first, grid.flatten(2).transpose(1, 2)], dim=1)


def turned_vectors(meanings: Tensor, vocabulary: Mapping[str, int], table: Tensor, known: Mapping[str, int]) -> Tensor:
    """Meanings of tokens as vectors that another model's layers can read.

    Meanings are brought to that model's width by their principal components, and turned, without a change of angles
    between them, so that words which both know lie as near as they can (Procrustes). Words that it knows then move
    towards its own vectors; special tokens have these.

    Args:
        meanings: float[tokens, any width].
        vocabulary: Token -> its row in `meanings`.
        table: float[other tokens, width], the other model's embeddings.
        known: Its tokens -> their rows in `table`, byte-level.

    Returns:
        float[tokens, width].
    """
    tokens = sorted(vocabulary, key=lambda token: vocabulary[token])  # tokenizers give them in another order each time
    same = {vocabulary[token]: known[name] for token in tokens if (name := same_token(token, known)) is not None}
    ours, theirs = torch.tensor(list(same)), torch.tensor(list(same.values()))
    special = torch.tensor([token.startswith(("<", "[")) and len(token) > 1 for token in tokens])

    words = F.normalize(meanings, dim=1)
    _, _, components = torch.linalg.svd(words[~special], full_matrices=False)
    words = F.normalize(words @ components[: table.shape[1]].T, dim=1)

    mean = table.mean(dim=0)
    taught = F.normalize(table[theirs] - mean, dim=1)
    both = ~special[ours]
    left, _, right = torch.linalg.svd(words[ours[both]].T @ taught[both], full_matrices=False)
    words = words @ left @ right
    words[ours] = F.normalize(words[ours] + TAUGHT * taught, dim=1)
    vectors = mean + words * (table - mean).norm(dim=1).mean()
    exact = special[ours]
    vectors[ours[exact]] = table[theirs[exact]]
    return vectors


def same_token(token: str, known: Container[str]) -> str | None:
    """What a byte-level tokenizer calls a whole word, a sign or a special token; None if it does not know it whole.

    Args:
        token: The word, in lower case.
        known: Tokens of the tokenizer.
    """
    spelt = (WORD_BEGINS + token, WORD_BEGINS + token.capitalize(), token.capitalize(), token)
    candidates = spelt if token.isalpha() and len(token) > 1 else (token,)
    return next((name for name in candidates if name in known), None)


def _config(start: SELF1EConfig, tokenizer: PreTrainedTokenizerFast, image_size: int, patch_size: int) -> SELF1EConfig:
    config, special = deepcopy(start), special_ids(tokenizer)
    config.vision_config.image_size = [image_size, image_size]
    config.vision_config.patch_size = [patch_size, patch_size]
    config.vision_config.stem = EFFICIENTNET_LITE2
    config.text_config.vocab_size = len(tokenizer)
    config.text_config.eos_token_id = tokenizer.eos_token_id
    config.text_config.pad_token_id = tokenizer.pad_token_id
    config.image_token_id, config.seg_token_id = special[IMG_CONTEXT], special[SEG]
    config.image_seq_length = (image_size // patch_size // 2) ** 2
    return config


def stem_weights(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of `EfficientNetLite2` from those of `efficientnet_lite_pytorch`, with batch normalisation folded in.

    Args:
        published: Its state dict.
    """

    def folded(convolution: str, norm: str, ours: str) -> dict[str, Tensor]:
        scale = published[f"{norm}.weight"] / (published[f"{norm}.running_var"] + EPSILON).sqrt()
        return {
            f"{ours}.weight": published[f"{convolution}.weight"] * scale[:, None, None, None],
            f"{ours}.bias": published[f"{norm}.bias"] - published[f"{norm}.running_mean"] * scale,
        }

    found = folded("_conv_stem", "_bn0", "first")
    place = 0
    for number, (*_, expansion, _, blocks) in enumerate(STAGES):
        for block in range(blocks):
            theirs, ours = f"_blocks.{place}", f"stages.{number}.{block}"
            if expansion > 1:
                found |= folded(f"{theirs}._expand_conv", f"{theirs}._bn0", f"{ours}.expand")
            found |= folded(f"{theirs}._depthwise_conv", f"{theirs}._bn1", f"{ours}.filter")
            found |= folded(f"{theirs}._project_conv", f"{theirs}._bn2", f"{ours}.project")
            place += 1
    return found
