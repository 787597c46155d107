"""The deployed functions answer the example events as `make sam-local` expects of them in containers.

Containers run only where a container engine can; what is expected of the answers is held to them here too.
"""

from __future__ import annotations

from pathlib import Path

from sam_local.cases import CASES, judge
from sam_local.world import World

from dropforge_local.testing.forked_host import ForkedHost

ROOT = Path(__file__).resolve().parents[3]


def test_every_function_answers_its_example_events_as_expected(tmp_path: Path) -> None:
    with ForkedHost(ROOT, wait_scale=0.2) as host:
        world = World(host, tmp_path)
        # One after the other, in their order: some need what those before them have done.
        problems = {case.event: judge(case, world.answer(case)) for case in CASES}
    assert {event: problem for event, problem in problems.items() if problem} == {}
