"""Environments that nobody calls end; one at work doesn't."""

from __future__ import annotations

from dataclasses import dataclass

from dropforge_local.glue.lambda_execution import end_idle


@dataclass(eq=False)
class Worker:
    last_used: float
    rests: int = 0

    def rest(self) -> None:
        self.rests += 1


def test_what_was_called_lately_stays_and_what_was_not_ends():
    lately, long_ago = Worker(950.0), Worker(880.0)
    end_idle([lately, long_ago], now=1000.0, idle_s=120.0)
    assert (lately.rests, long_ago.rests) == (0, 1)
