"""The runner that computes with torch: the network itself, prepared for inference."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from PIL import Image

from self1e.conversation import Turn
from self1e.fast import drop_hooks, prepare
from self1e.fast.transfers import pinned
from self1e.model.network import SELF1EForSegmentation
from self1e.model.rows import Row
from self1e.processing.processor import SELF1EProcessor
from self1e.segment.passes import answer_masks, context_of, feature_bytes, features_of, mask_pass, write_answer
from self1e.segment.runner import EncodedPicture, OnText, TiledPicture


class TorchRunner:
    """See `self1e.segment.runner.Runner`, whose methods these are.

    Args:
        model: Is put into eval mode and made ready for inference; see `self1e.fast.prepare`.
        processor: The model's.
        compile: Have torch compile the text model.
    """

    def __init__(self, model: SELF1EForSegmentation, processor: SELF1EProcessor, *, compile: bool = False) -> None:
        self.model = model
        self.fast = prepare(model, compile=compile)
        self.processor = processor
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        """What pickle and copies take: all but the hooks of transformers, which that puts in again by itself."""
        weights = {id(weight): weight for weight in chain(self.model.parameters(), self.model.buffers())}
        state = copy.deepcopy(self.__dict__, weights)  # of weights no second ones
        drop_hooks(state["model"])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state | {"_process": os.getpid()}

    @property
    def context(self) -> int:
        return context_of(self.model)

    @property
    def seg_token_id(self) -> int:
        return self.model.config.seg_token_id

    @property
    def map_side(self) -> int:
        return self.model.config.map_side

    @property
    def packed(self) -> bool:
        return not self.model.config.image_to_segmentation

    @property
    def writes_answers(self) -> bool:
        return True

    @property
    def device(self) -> str:
        return str(self.model.device)

    @property
    def dtype(self) -> str:
        return str(self.model.dtype).removeprefix("torch.")

    def facts(self) -> dict[str, Any]:
        return {
            "engine": "torch",
            "parameters": sum(weight.numel() for weight in self.model.parameters()),
            "config": self.model.config.to_dict() | {"_name_or_path": ""},
            "attention": self.model.config.text_config._attn_implementation,
            "compiled": self.fast.compiled,
        }

    def check_process(self) -> None:
        if os.getpid() != self._process and torch.get_num_threads() > 1:
            raise RuntimeError(
                "this process was forked from the one that loaded the model, and torch's threads, which a fork leaves "
                "behind, would be waited for forever: start processes by multiprocessing's 'spawn', or begin each with "
                "torch.set_num_threads(1)"
            )

    def tiled(self, picture: Image.Image) -> TiledPicture:
        tiles, grid = self.processor.tiles(picture)
        return TiledPicture(picture, pinned(tiles, self.model.device), grid)

    @torch.inference_mode()
    def encode(self, picture: TiledPicture) -> EncodedPicture:
        features = features_of(self.fast, picture.tiles)
        version = self.fast.vision_version()
        return EncodedPicture(picture.image, picture.grid, features, self, version, feature_bytes(features))

    def check_encoded(self, picture: EncodedPicture) -> None:
        if getattr(picture.runner, "model", None) is not self.model:
            raise ValueError("the picture was encoded by another model: encode it with this segmenter")
        if picture.version != self.fast.vision_version():
            raise ValueError("the model's weights have changed since the picture was encoded: encode it again")

    @torch.inference_mode()
    def mask_logits(self, pictures: Sequence[EncodedPicture], rows: Sequence[Row]) -> list[np.ndarray]:
        features, grids = [each.features for each in pictures], [each.grid for each in pictures]
        return [logits.numpy() for logits in mask_pass(self.fast, self.processor, features, grids, rows)]

    @torch.inference_mode()
    def answer(
        self,
        picture: EncodedPicture,
        turns: Sequence[Turn],
        question: str,
        *,
        max_new_tokens: int,
        temperature: float,
        on_text: OnText | None,
    ) -> tuple[str, np.ndarray]:
        about = self.fast, self.processor, picture.features, picture.grid
        reply = write_answer(
            *about, turns, question, max_new_tokens=max_new_tokens, temperature=temperature, on_text=on_text
        )
        if not reply.marks:
            return reply.text, np.zeros((0, 1, 1), np.float32)
        return reply.text, answer_masks(*about, reply).numpy()
