"""The two programs of an exported model, as modules that torch can trace.

The first takes the tiles of a picture, float[rows, columns, 3, S, S], the second takes words (`self1e.engines.words`)
and what the first one gave. Where the line between them runs depends on whether the picture looks at the `[SEG]` behind
it:

    image-to-segmentation off   picture: vision tower, language model over the picture, head   -> keys, values, refilled
                                masks:   language model over the words, one inner product      -> logits
    image-to-segmentation on    picture: vision tower, vision side of the head                 -> tokens, coarse, fine
                                masks:   language model over picture and words, head           -> logits

So with the pathway off, a second question costs its words only. Weights are folded, and the tokens before the picture
are read beforehand (`self1e.fast`).

Names and shapes, for T = rows x columns tiles of n tokens, N = T n, L layers, h key heads, P tokens before the picture:

    keys, values    float[L, h, P + N, d]                      of the tokens before the picture, and the picture's
    refilled        float[H, W, D]                             pixels, refilled, before the inner product
    tokens          float[rows, columns, n, D]                 what the language model reads of the picture
    coarse, fine    float[rows, columns, m or 2 m, ..., D]     the vision side of the head; what its rung has of them
    logits          float[K, H, W]                             a map for each of the marks
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from self1e.engines.words import PADDING
from self1e.fast import FastModel
from self1e.fast.prefix_cache import PrefixCache
from self1e.model.attention_mask import DualPerception
from self1e.model.network import SELF1EForSegmentation
from self1e.model.refilling import MaskHead, VisionSide

Arrays = dict[str, Tensor]


class _Parts(nn.Module):
    """What both programs of a model have in common.

    Args:
        fast: The model, on the CPU in float32.
        prefix: Tokens before the picture.
    """

    def __init__(self, fast: FastModel, prefix: list[int]) -> None:
        super().__init__()
        network = fast.network
        self.config = network.config
        self.language_model = network.model.language_model
        head: Any = fast.head
        self.head: MaskHead = head
        embeddings = network.get_input_embeddings()(torch.tensor(prefix))
        read = PrefixCache.read(self.language_model, embeddings)
        self.before = len(prefix)
        self.register_buffer("prefix_keys", torch.cat(read.keys))  # L, h, P, d
        self.register_buffer("prefix_values", torch.cat(read.values))

    prefix_keys: Tensor
    prefix_values: Tensor

    def states(self, embeddings: Tensor, visible: Tensor, positions: Tensor, cache: PrefixCache) -> Tensor:
        """The language model: float[B, N, D] behind what is in a cache, which everyone sees -> states, float[B, N, D].

        Args:
            embeddings: float[B, N, D].
            visible: bool[B, 1, N, N], who sees whom.
            positions: int[B, N].
            cache: Of what stands before.
        """
        return self.language_model(
            inputs_embeds=embeddings,
            attention_mask=F.pad(visible, (cache.get_seq_length(), 0), value=True),
            position_ids=positions,
            past_key_values=cache,
            use_cache=False,
        ).last_hidden_state

    def prefix(self) -> PrefixCache:
        """Of the tokens before the picture."""
        return _as_cache(self.prefix_keys, self.prefix_values)

    def picture_positions(self, length: int) -> Tensor:
        """int[1, N] of the picture's tokens."""
        return (torch.arange(length) + self.before)[None]


class _VisionSide(nn.Module):
    """Vision tower, projector, and the vision side of the head."""

    def __init__(self, fast: FastModel) -> None:
        super().__init__()
        # In a tuple, as all of a module's own parts go into files, and the language model has no part in this.
        self._network: tuple[SELF1EForSegmentation] = (fast.network,)
        self.tower = fast.network.model.vision_tower
        self.token_projector = fast.network.model.multi_modal_projector
        head: Any = fast.head
        self.head: MaskHead = head
        self.projector = fast.projector

    def forward(self, pixels: Tensor) -> tuple[Tensor, VisionSide]:
        """float[rows, columns, 3, S, S] -> tokens float[T, n, D], and what the head has of them."""
        [network] = self._network
        features = network.encode_images(pixels.flatten(0, 1), self.head, self.projector)
        return features.compressed, features.vision


class PictureProgram(nn.Module):
    """The first program of a model whose pictures look at `[SEG]`."""

    def __init__(self, fast: FastModel, prefix: list[int]) -> None:
        super().__init__()
        self.vision = _VisionSide(fast)

    def forward(self, pixels: Tensor) -> Arrays:
        tokens, side = self.vision(pixels)
        given = {"tokens": tokens, "coarse": side.compressed, "fine": side.uncompressed}
        grid = pixels.shape[:2]
        return {name: each.unflatten(0, grid) for name, each in given.items() if each is not None}


class MasksProgram(_Parts):
    """The second program of such a model."""

    def forward(
        self,
        tokens: Tensor,
        words: Tensor,
        positions: Tensor,
        conversations: Tensor,
        marks: Tensor,
        coarse: Tensor | None = None,
        fine: Tensor | None = None,
    ) -> Arrays:
        rows, columns, per_tile, _ = tokens.shape
        count, length = words.shape
        picture = tokens.flatten(0, 2)[None].expand(count, -1, -1)
        size = picture.shape[1]
        embeddings = torch.cat([picture, self.language_model.embed_tokens(words)], dim=1)
        image = torch.cat(
            [torch.ones(count, size, dtype=torch.bool), torch.zeros(words.shape, dtype=torch.bool)], dim=1
        )
        visible = DualPerception(
            F.pad(conversations != PADDING, (size, 0), value=True),
            image,
            F.pad(words == self.config.seg_token_id, (size, 0), value=False),
            image_to_image=self.config.image_to_image,
            image_to_segmentation=self.config.image_to_segmentation,
            conversation_ids=F.pad(conversations, (size, 0), value=0),
        ).mask()
        placed = torch.cat([self.picture_positions(size).expand(count, -1), positions.long()], dim=1)
        states = self.states(embeddings, visible, placed, self.prefix())
        image_states = states[:, :size].unflatten(1, (rows * columns, per_tile))
        sides = [None if each is None else each.flatten(0, 1) for each in (coarse, fine)]
        llm_map = self.head.llm_map(image_states, columns, rows)
        pixels = self.head.refilled_pixels(llm_map, VisionSide(*sides), columns, rows)  # B, H, W, D
        seg_states = states[:, size:].flatten(0, 1).index_select(0, marks)
        embedding = self.head.segmentation_embedding(seg_states)
        # Each mark with the pixels of each row; those of its own are kept. It is the least part of the work.
        every = self.head.mask_logits(pixels.flatten(0, 1), embedding)  # K, B H, W
        every = every.unflatten(1, pixels.shape[:2])  # K, B, H, W
        own = (marks // length).long()[:, None, None, None].expand(-1, 1, *every.shape[2:])
        return {"logits": every.gather(1, own)[:, 0]}


class SharedPictureProgram(_Parts):
    """The first program of a model whose pictures do not look at `[SEG]`."""

    def __init__(self, fast: FastModel, prefix: list[int]) -> None:
        super().__init__(fast, prefix)
        self.vision = _VisionSide(fast)

    def forward(self, pixels: Tensor) -> Arrays:
        rows, columns = pixels.shape[:2]
        tokens, side = self.vision(pixels)
        embeddings = tokens.flatten(0, 1)[None]
        length = embeddings.shape[1]
        everywhere = torch.ones(1, length, dtype=torch.bool)
        visible = DualPerception(
            everywhere,
            everywhere,
            ~everywhere,
            image_to_image=self.config.image_to_image,
            image_to_segmentation=False,
            bidirectional=torch.ones(1, dtype=torch.bool),
        ).mask()
        cache = _Recorder(self.prefix())
        states = self.states(embeddings, visible, self.picture_positions(length), cache)
        llm_map = self.head.llm_map(states.unflatten(1, tokens.shape[:2]), columns, rows)
        refilled = self.head.refilled_pixels(llm_map, side, columns, rows)[0]
        return {"keys": torch.cat(cache.seen_keys), "values": torch.cat(cache.seen_values), "refilled": refilled}


class SharedMasksProgram(_Parts):
    """The second program of such a model."""

    def forward(
        self,
        keys: Tensor,
        values: Tensor,
        refilled: Tensor,
        words: Tensor,
        positions: Tensor,
        conversations: Tensor,
        marks: Tensor,
    ) -> Arrays:
        none = torch.zeros(words.shape, dtype=torch.bool)
        visible = DualPerception(conversations != PADDING, none, none, conversation_ids=conversations).mask()
        embeddings = self.language_model.embed_tokens(words)
        states = self.states(embeddings, visible, positions.long(), _as_cache(keys, values))
        embedding = self.head.segmentation_embedding(states.flatten(0, 1).index_select(0, marks))
        return {"logits": self.head.mask_logits(refilled, embedding)}


class _Recorder(PrefixCache):
    """A prefix cache that notes which keys and values a pass has seen, those of the prefix among them."""

    def __init__(self, prefix: PrefixCache) -> None:
        super().__init__(prefix.keys, prefix.values)
        self.seen_keys: list[Tensor] = []
        self.seen_values: list[Tensor] = []

    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        keys, values = super().update(keys, values, layer_idx)
        self.seen_keys.append(keys)
        self.seen_values.append(values)
        return keys, values


def _as_cache(keys: Tensor, values: Tensor) -> PrefixCache:
    """float[L, h, P, d] of both -> a cache."""
    return PrefixCache([each[None] for each in keys], [each[None] for each in values])
