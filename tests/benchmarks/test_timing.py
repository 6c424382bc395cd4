"""Interleaving, and what is made of the seconds."""

from __future__ import annotations

import pytest
import torch

from benchmarks.timing import interleaved, medians, ratio


def test_every_rival_runs_in_every_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gc.collect", lambda: 0)  # of all that other tests left, sixty times
    order: list[str] = []

    def rival(name: str) -> str:
        order.append(name)
        return f"{name}{len(order)}"

    seconds, results = interleaved({name: lambda name=name: rival(name) for name in "abc"}, 20)
    passes = ["".join(order[start : start + 3]) for start in range(0, 60, 3)]
    assert all(sorted(each) == list("abc") for each in passes)
    assert len(set(passes)) == 6, "each follows each"
    assert results == {name: f"{name}{58 + passes[-1].index(name)}" for name in "abc"}
    assert all(len(values) == 20 and min(values) >= 0 for values in seconds.values())


@pytest.mark.parametrize(("device", "waited"), [("cpu", []), ("cuda:1", ["cuda:1"]), ("mps", ["mps"])])
def test_a_pass_ends_when_the_device_is_done(device: str, waited: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The waiting itself needs the device; that it is asked for, before and after the work, does not."""
    order: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda chosen: order.append(str(chosen)))
    monkeypatch.setattr(torch.mps, "synchronize", lambda: order.append("mps"))
    interleaved({"a": lambda: order.append("work")}, 2, torch.device(device))
    assert order == [*waited, "work", *waited] * 2


def test_ratios_are_those_of_passes() -> None:
    """A pass in which everything is slow counts as any other."""
    assert ratio([2.0, 60.0, 4.0], [1.0, 20.0, 1.0]) == 3.0
    assert medians({("tiles", 2): [3.0, 1.0, 2.0]}) == {"('tiles', 2)": 2.0}


def test_no_passes() -> None:
    with pytest.raises(ValueError, match="got 0"):
        interleaved({"a": lambda: None}, 0)
