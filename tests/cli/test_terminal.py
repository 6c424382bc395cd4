"""What is printed while one waits."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.progress import Progress

from self1e.cli.terminal import RateColumn


@pytest.mark.parametrize(("seconds", "told"), [(0.25, "4.0/s"), (1, "1.0/s"), (2.5, "2.5 s each")])
def test_the_rate_is_told(seconds: float, told: str) -> None:
    now = [0.0]
    progress = Progress(RateColumn(), console=Console(file=io.StringIO()), get_time=lambda: now[0])
    progress.add_task("segmenting", total=10)
    (task,) = progress.tasks
    assert RateColumn().render(task).plain == ""
    for _ in range(5):
        now[0] += seconds
        progress.advance(task.id)
    assert RateColumn().render(task).plain == told
