"""The optimisers of a run: AdamW, as in the recipe, or Muon for the matrices of transformer layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from self1e.training.config import Group, Optimisation


class MuonWithAdamW(AdamW):
    """AdamW, and Muon in parameter groups that carry `muon: True`.

    Muon (Jordan et al., 2024) moves a matrix by its momentum with all singular values set to about one, so that rare
    directions learn as fast as common ones. Updates are scaled to the size of AdamW's (Liu et al., 2025), so that one
    learning rate suits both. torch.optim.Muon always computes in bfloat16, which takes five times as long on CPUs
    without units for it, and cannot share a scheduler with AdamW; this one computes in the run's `precision`.
    """

    momentum = 0.95
    precision = torch.float32

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of either in each group."""
        everything = self.param_groups
        self.param_groups = [group for group in everything if not group.get("muon")]
        try:
            loss = super().step(closure)
        finally:
            self.param_groups = everything
        for group in everything:
            if group.get("muon"):
                shapes: dict[torch.Size, list[Tensor]] = {}
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        shapes.setdefault(parameter.shape, []).append(parameter)
                for parameters in shapes.values():
                    self._muon_step(parameters, group["lr"], group["weight_decay"])
        return loss

    def _muon_step(self, parameters: list[Tensor], learning_rate: float, weight_decay: float) -> None:
        """Moves matrices of one shape; together, as they are many and small. They decay as AdamW's do."""
        directions = torch.stack([self._direction(parameter) for parameter in parameters]).to(self.precision)
        rate = learning_rate * 0.2 * max(parameters[0].shape) ** 0.5
        for parameter, direction in zip(parameters, orthogonalised(directions), strict=True):
            parameter.mul_(1 - learning_rate * weight_decay).add_(direction, alpha=-rate)

    def _direction(self, parameter: Tensor) -> Tensor:
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if not state:  # AdamW counts steps, and looks for the count in every state it loads
            state.update(step=torch.zeros(()), momentum=torch.zeros_like(parameter))
        state["step"] += 1
        state["momentum"].lerp_(gradient, 1 - self.momentum)
        return gradient.lerp(state["momentum"], self.momentum)


def orthogonalised(matrices: Tensor, steps: int = 5) -> Tensor:
    """Matrices [..., n, m] with all singular values moved near 1 (0.7 to 1.2), by a quintic Newton-Schulz iteration."""
    tall = matrices.shape[-2] > matrices.shape[-1]
    wide = matrices.mT if tall else matrices
    wide = wide / wide.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        gram = wide @ wide.mT
        wide = 3.4445 * wide + (-4.7750 * gram + 2.0315 * gram @ gram) @ wide
    return wide.mT if tall else wide


def group_of(name: str) -> Group:
    """Which part of the model a weight belongs to, by its name; those of plugins' losses count as head.

    >>> [group_of(f"model.{name}.weight") for name in ("vision_tower.x", "language_model.embed_tokens", "lm_head")]
    ['vision', 'embeddings', 'embeddings']
    """
    for part, group in _PARTS.items():
        if part in name:
            return group
    return "head"


_PARTS: dict[str, Group] = {
    "patch_embeddings.stem": "stem",
    "vision_tower": "vision",
    "multi_modal_projector": "projector",
    "embed_tokens": "embeddings",
    "lm_head": "embeddings",
    "language_model": "language",
}


def make_optimiser(model: nn.Module, settings: Optimisation) -> Optimizer:
    """The optimiser of a run.

    Args:
        model: Parameters that need no gradient are left out.
        settings: `rates` scale the learning rate of groups. `muon` takes the matrices of transformer layers; AdamW
            everything else.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            layer_matrix = parameter.ndim == 2 and (".layers." in name or ".encoder.layer." in name)
            muon = settings.optimiser == "muon" and layer_matrix
            groups.setdefault((settings.rate(group_of(name)), muon), []).append(parameter)
    optimiser = (MuonWithAdamW if settings.optimiser == "muon" else AdamW)(
        [
            {"params": parameters, "lr": settings.learning_rate * rate, "muon": muon}
            for (rate, muon), parameters in groups.items()
        ],
        betas=settings.betas,
        weight_decay=settings.weight_decay,
    )
    if isinstance(optimiser, MuonWithAdamW):
        optimiser.precision = getattr(torch, settings.precision)
    return optimiser
