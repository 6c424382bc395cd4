"""What a mask is made of: the steps of the method (section 2) as maps one can look at, and what `[SEG]` attends to.

`Segmenter.segment` never has these maps: folded, the head goes straight to the mask (`self1e.fast.folding`). Here the
paper's own head runs, step by step, and each step is brought before `s`, the segmentation embedding, as the mask is:

    llm            PUS(amplify_llm(F_IMG)) . s / sqrt(D)            the LLM's few tokens: it knows what, not where
    residual       R . s / sqrt(D)                                  how much of that the LLM added to what it was given
    uncompressed   fuse(PUS(amplify_vit(F_V1_HQ))) . s / sqrt(D)    sharp vision, to which the LLM added nothing
    refilled       P . s / sqrt(D)                                  with the residual filled in: the mask's logits
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from self1e.fast.transfers import moved, to_device
from self1e.model.network import SELF1EForSegmentation
from self1e.model.refilling import VisionSide, as_map, stitch
from self1e.processing.tokens import single
from self1e.segment.on_torch import TorchRunner
from self1e.segment.runner import TiledPicture
from self1e.segment.words import given_answer


@dataclass(frozen=True, eq=False)
class Explanation:
    """The steps from a prompt to its mask, on the model's own grids; each covers the whole picture.

    `m` image tokens on a side of a tile (16 for InternVL3), `a` = 2 where the rung of the ladder amplifies, else 1.
    Maps are inner products with the segmentation embedding, as the mask is: above 0 speaks for it, below 0 against it.

    Attributes:
        prompt: What was asked.
        grid: (columns, rows) of tiles.
        llm: float32[a m rows, a m columns], of the LLM's image states.
        residual: float32 of the same shape, of what the LLM added to the compressed features; None where the rung has
            no residual.
        uncompressed: float32[2 a m rows, 2 a m columns], of the uncompressed features without the residual; None where
            the rung has none.
        refilled: float32, the logits of the mask: before they are brought to the picture's size.
        attention: float32[layers, m rows, m columns] in [0, 1]: how much the state that becomes the segmentation
            embedding, the one before `[SEG]`, attends to each image token; the mean over heads. What is missing to 1 in
            a layer goes to words.
    """

    prompt: str
    grid: tuple[int, int]
    llm: np.ndarray
    residual: np.ndarray | None
    uncompressed: np.ndarray | None
    refilled: np.ndarray
    attention: np.ndarray

    @property
    def nbytes(self) -> int:
        """Of its maps."""
        return sum(each.nbytes for each in vars(self).values() if isinstance(each, np.ndarray))


@torch.inference_mode()
def explain(runner: TorchRunner, picture: TiledPicture, prompt: str, question: str) -> Explanation:
    """Runs one conversation through the plain network.

    Args:
        runner: Its network is not changed, and may be used by others at the same time.
        picture: What is asked about.
        prompt: For the result.
        question: What the model is asked for it.

    Raises:
        PromptError: If the question is longer than the model can read.
    """
    network, processor = runner.model, runner.processor
    prefix = processor.prefix(picture.grid)
    row = single(prefix + given_answer(runner, prefix, question))
    batch = moved(processor.batch([row], [picture.grid]), network.device)
    features = network.encode_images(to_device(picture.tiles, network.device).to(network.dtype))
    watched = _Watched(network, int(batch.before_seg))
    states = watched.network.read(batch, watched.network.embed(batch, features)).flatten(0, 1)

    columns, rows = picture.grid
    head, vision = network.refilling_head, features.vision
    per_tile = features.compressed.shape[1]
    llm_map = head.llm_map(states[batch.image_places].unflatten(0, (1, columns * rows, per_tile)), columns, rows)
    embedding = head.segmentation_embedding(states[batch.before_seg])

    def against_embedding(pixels: Tensor) -> np.ndarray:
        return head.mask_logits(pixels[0], embedding)[0].float().cpu().numpy()

    residual = uncompressed = None
    if vision.compressed is not None:
        residual = against_embedding(llm_map - stitch(vision.compressed, columns, rows))
    if vision.uncompressed is not None:
        alone = VisionSide(None, vision.uncompressed)
        uncompressed = against_embedding(head.refilled_pixels(llm_map, alone, columns, rows))
    return Explanation(
        prompt,
        picture.grid,
        against_embedding(llm_map),
        residual,
        uncompressed,
        against_embedding(head.refilled_pixels(llm_map, vision, columns, rows)),
        watched.attention(batch.image_places, picture.grid),
    )


class _Watched:
    """A network whose attention from one token can be read.

    A copy, with the same weights: with "eager" attention, which alone has weights to look at, and with hooks, neither
    of which the passes of others are to meet.

    Args:
        network: Is copied, without its weights.
        place: Of the token.
    """

    def __init__(self, network: SELF1EForSegmentation, place: int) -> None:
        weights = {id(weight): weight for weight in chain(network.parameters(), network.buffers())}
        self.network = copy.deepcopy(network, weights)
        self.network.set_attn_implementation("eager")
        self._place = place
        self._seen: list[Tensor] = []
        for layer in self.network.model.language_model.layers:
            layer.self_attn.register_forward_hook(self._see)

    def _see(self, layer: nn.Module, given: Any, made: tuple[Tensor, Tensor]) -> None:
        """float[1, heads, N, N] -> float[N], the mean over heads at the place."""
        self._seen.append(made[1][0, :, self._place].float().mean(dim=0))

    def attention(self, image_places: Tensor, grid: tuple[int, int]) -> np.ndarray:
        """What was seen in the pass, at image tokens: float32[layers, m rows, m columns]."""
        columns, rows = grid
        tokens = torch.stack(self._seen)[:, image_places]  # layers, rows * columns * m * m
        tiles = as_map(tokens.unflatten(1, (columns * rows, -1))[..., None])
        return stitch(tiles, columns, rows)[..., 0].cpu().numpy()
