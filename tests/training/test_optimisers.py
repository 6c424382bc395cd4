"""Muon beside AdamW: what each moves, how far, and that both resume."""

import copy

import pytest
import torch
from tiny import TINY

from self1e.processing.tokenizers import train_tokenizer
from self1e.training.build_from_scratch import build_from_scratch
from self1e.training.config import Optimisation
from self1e.training.optimisers import make_optimiser, orthogonalised


@pytest.fixture
def model() -> torch.nn.Module:
    return build_from_scratch(TINY, train_tokenizer(["a b"], 300), seed=1)[0]


@pytest.mark.parametrize("shape", [(8, 20), (20, 8), (8, 8)])
def test_orthogonalised_has_singular_values_near_one_and_keeps_directions(shape: tuple[int, int]) -> None:
    matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
    left, values, right = torch.linalg.svd(orthogonalised(matrix), full_matrices=False)
    assert values.min() > 0.6
    assert values.max() < 1.3
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    assert (torch.linalg.diagonal(left.T @ orthogonalised(matrix) @ right.T) > 0.6).all()


def test_muon_takes_the_matrices_of_layers_only(model: torch.nn.Module) -> None:
    settings = Optimisation(steps=1, optimiser="muon", rates={"vision": 0.5}, learning_rate=1e-2)
    optimiser = make_optimiser(model, settings)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rates = {}
    for group in optimiser.param_groups:
        for parameter in group["params"]:
            rates[names[id(parameter)]] = group["lr"]
            layer = ".layers." in names[id(parameter)] or ".encoder.layer." in names[id(parameter)]
            assert group["muon"] == (layer and parameter.ndim == 2), names[id(parameter)]
    assert len(rates) == len(names)
    assert all(rate == (5e-3 if "vision_tower" in name else 1e-2) for name, rate in rates.items())


def test_frozen_parameters_are_left_out(model: torch.nn.Module) -> None:
    model.model.vision_tower.requires_grad_(False)
    optimiser = make_optimiser(model, Optimisation(steps=1, rates={"vision": 0}))
    chosen = sum(len(group["params"]) for group in optimiser.param_groups)
    assert chosen == sum(parameter.requires_grad for parameter in model.parameters())


def test_without_muon_it_is_adamw(model: torch.nn.Module) -> None:
    twin = copy.deepcopy(model)
    ours = make_optimiser(model, Optimisation(steps=1, learning_rate=1e-2))
    theirs = torch.optim.AdamW(twin.parameters(), lr=1e-2, betas=(0.9, 0.95), weight_decay=0.0)
    for network, optimiser in ((model, ours), (twin, theirs)):
        for _ in range(3):
            sum(parameter.square().sum() for parameter in network.parameters()).backward()
            optimiser.step()
            optimiser.zero_grad()
    for first, second in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(first, second)


def test_muon_step_is_as_large_as_one_of_adamw_and_resumes(model: torch.nn.Module) -> None:
    settings = Optimisation(steps=1, optimiser="muon", learning_rate=1e-2)
    optimiser = make_optimiser(model, settings)
    weight = model.model.language_model.layers[0].mlp.up_proj.weight

    def step(of: torch.optim.Optimizer, matrix: torch.Tensor, seed: int) -> torch.Tensor:
        before = matrix.detach().clone()
        matrix.grad = torch.randn(matrix.shape, generator=torch.Generator().manual_seed(seed))
        of.step()
        return matrix.detach() - before

    size = step(optimiser, weight, 1).square().mean().sqrt()
    assert 0.1e-2 < size < 0.3e-2  # 0.2 of the learning rate: the usual size of AdamW's updates
    twin = copy.deepcopy(model)
    resumed = make_optimiser(twin, settings)
    resumed.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    other = twin.model.language_model.layers[0].mlp.up_proj.weight
    assert torch.equal(step(optimiser, weight, 2), step(resumed, other, 2))


def test_weight_decay_is_the_same_in_both(model: torch.nn.Module) -> None:
    """Without a gradient, each step takes the same share of every weight away."""
    settings = Optimisation(steps=1, optimiser="muon", learning_rate=1e-2, weight_decay=0.5, rates={"vision": 0.5})
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimiser = make_optimiser(model, settings)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    for name, parameter in model.named_parameters():
        kept = 0.9975 if "vision_tower" in name else 0.995
        torch.testing.assert_close(parameter.detach(), kept * before[name], msg=name)
