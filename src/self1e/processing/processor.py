"""From pictures and conversations to model inputs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoProcessor, AutoTokenizer, PreTrainedTokenizerFast
from transformers.utils import cached_file

from self1e.conversation import IMG_CONTEXT, SEG, Turn, add_seg_token
from self1e.files import expand_name
from self1e.model.batch import Batch, build_batch
from self1e.model.config import SELF1EConfig
from self1e.model.rows import Grid, Row
from self1e.processing.plain import PlainProcessor
from self1e.processing.refinement import Refinement
from self1e.processing.tokens import encode_continuation, pack, single

CONFIG_NAME = "processor_config.json"


class SELF1EProcessor(PlainProcessor):
    """Makes model inputs of pictures and of what is said about them.

    One picture may have any number of conversations; its tiles are in the batch once.

    Args:
        tokenizer: a fast tokenizer with InternVL's special tokens and `[SEG]`.
        image_size: side of a tile in pixels.
        tokens_per_tile: image tokens that the language model reads for a tile.
        max_tiles: most tiles to cut a picture into. The published results are with one.
        refine: how masks get to the picture's size where nothing else is asked for; see `self1e.processing.refine`. The
            published results are with "none".

    Raises:
        ValueError: if the tokenizer lacks a special token, a number is out of range, or `refine` is not known.
    """

    tokenizer: PreTrainedTokenizerFast

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        image_size: int = 448,
        tokens_per_tile: int = 256,
        max_tiles: int = 1,
        refine: Refinement = "none",
    ) -> None:
        super().__init__(tokenizer, image_size, tokens_per_tile, max_tiles, refine)

    @classmethod
    def from_pretrained(cls, folder: str | Path, **hub_options: Any) -> SELF1EProcessor:
        """Read a processor that `save_pretrained` wrote, or make one for an InternVL model.

        Args:
            folder: a folder, or the name of a model on the Hugging Face Hub. If it is InternVL's (in its original or in
                transformers' form), the tokenizer is given a `[SEG]` token, and sizes are taken from its configuration.
            hub_options: `revision`, `token`, `cache_dir`, `local_files_only`.
        """
        folder = expand_name(str(folder))
        for name in ("trust_remote_code", "_from_auto"):  # which AutoProcessor gives, and means nothing here
            hub_options.pop(name, None)
        # With settings given, transformers does not read InternVL's own, which ask to run code of the model's.
        tokenizer = AutoTokenizer.from_pretrained(folder, config=SELF1EConfig(), trust_remote_code=False, **hub_options)
        config = _read_json(folder, CONFIG_NAME, hub_options)
        if config.pop("processor_class", None) == cls.__name__:
            return cls(tokenizer, **config)
        add_seg_token(tokenizer)
        model_config = _read_json(folder, "config.json", hub_options)
        image_config = _read_json(folder, "preprocessor_config.json", hub_options)
        return cls(tokenizer, **_internvl_sizes(model_config, image_config))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the tokenizer's files and `processor_config.json`."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.tokenizer.save_pretrained(folder)
        config = {
            "processor_class": type(self).__name__,
            "image_size": self.image_size,
            "tokens_per_tile": self.tokens_per_tile,
            "max_tiles": self.max_tiles,
            **({} if self.refine == "none" else {"refine": self.refine}),  # which earlier versions do not know
        }
        (folder / CONFIG_NAME).write_text(json.dumps(config, indent=2) + "\n", "utf-8")

    def __call__(
        self,
        pictures: Sequence[Image.Image],
        conversations: Sequence[Sequence[Sequence[Turn]]],
        *,
        masks: Sequence[Tensor] | None = None,
        pack_rows: bool = False,
        labels: bool = True,
    ) -> Batch:
        """A batch of finished conversations, for training or for a mask pass.

        Args:
            pictures: RGB, as `load_image` returns them.
            conversations: For each picture its conversations, each a sequence of turns.
            masks: One uint8[K, H, W] a row, a mask for each `[SEG]`; see `Batch`.
            pack_rows: Put all conversations about a picture into one row, behind one copy of its image tokens, instead
                of one row each. Faster, but a shared picture cannot look at the `[SEG]` of one conversation: results
                are the same only for a model without the image-to-segmentation pathway.
            labels: Whether to supervise the answers.

        Raises:
            ValueError: If there is nothing to do, or pictures and conversations do not match in number.
        """
        if len(pictures) != len(conversations):
            raise ValueError(
                f"{len(pictures)} pictures, but {len(conversations)} lists of conversations: give one for each"
            )
        tiles, grids = [], []
        rows: list[Row] = []
        for index, (picture, of_picture) in enumerate(zip(pictures, conversations, strict=True)):
            picture_tiles, grid = self.tiles(picture)
            tiles.append(picture_tiles)
            grids.append(grid)
            prefix = self.prefix(grid)
            continuations = [encode_continuation(self.tokenizer, turns) for turns in of_picture]
            if pack_rows and len(continuations) > 1:
                rows.append(pack(prefix, continuations, index))
            else:
                rows += [single(prefix + continuation, index) for continuation in continuations]
        if not rows:
            raise ValueError("there is nothing to do: give at least one picture with a conversation")
        return self.batch(rows, grids, pixel_values=torch.cat(tiles), masks=masks, labels=labels)

    def batch(
        self,
        rows: Sequence[Row],
        grids: Sequence[Grid],
        *,
        pixel_values: Tensor | None = None,
        masks: Sequence[Tensor] | None = None,
        labels: bool = False,
        left_padded: bool = False,
    ) -> Batch:
        """`build_batch` with the ids of this tokenizer."""
        return build_batch(
            rows,
            grids,
            image_token_id=self._special[IMG_CONTEXT],
            seg_token_id=self._special[SEG],
            pad_id=self.tokenizer.pad_token_id or 0,
            pixel_values=pixel_values,
            masks=masks,
            labels=labels,
            left_padded=left_padded,
        )

    def tiles(self, picture: Image.Image) -> tuple[Tensor, Grid]:
        """float32[T, 3, S, S] of one RGB picture, and its (columns, rows)."""
        pixels, grid = self.pixels(picture)
        return torch.from_numpy(pixels), grid


AutoProcessor.register(SELF1EConfig, SELF1EProcessor)


def _read_json(folder: str | Path, name: str, hub_options: dict[str, Any]) -> dict[str, Any]:
    """A JSON file of a folder or Hub model; empty if it has none."""
    path = cached_file(str(folder), name, _raise_exceptions_for_missing_entries=False, **hub_options)
    return {} if path is None else json.loads(Path(path).read_text(encoding="utf-8"))


def _internvl_sizes(model_config: dict[str, Any], image_config: dict[str, Any]) -> dict[str, Any]:
    """Tile size and tokens per tile of an InternVL model, from what there is of its configuration files."""
    vision = model_config.get("vision_config", {})
    image_size = _side(
        model_config.get("force_image_size")  # of the original form only
        or vision.get("image_size")
        or image_config.get("size")
        or 448
    )
    patches = image_size // _side(vision.get("patch_size", 14))
    side = int(patches * model_config.get("downsample_ratio", 0.5))
    return {"image_size": image_size, "tokens_per_tile": side**2}


def _side(size: int | list[int] | dict[str, int]) -> int:
    """The side of a square that is written 448, [448, 448] or {"height": 448, "width": 448}."""
    if isinstance(size, dict):
        return next(iter(size.values()))
    return size[0] if isinstance(size, list) else size
