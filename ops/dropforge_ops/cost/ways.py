"""The way that an execution takes when all goes well, read from its machine's definition."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any, Final

from dropforge.pricing.rates import Rates
from dropforge.pricing.run import training_seconds
from dropforge_ops.cost.stack_template import StackTemplate

# What each passes: among it the state that describes the job or the endpoint, and at last the end.
_TRAINING: Final = ("TrainingStateMachine", "DescribeTrainingJob", "DeployModel", "RunEnded")
_DEPLOYMENT: Final = ("DeploymentStateMachine", "UpdateEndpoint", "DescribeEndpoint", "Notify", "Deployed")
_BATCH: Final = ("BatchStateMachine", "DescribeTransformJob", "CollectBatch", "Notify", "BatchEnded")


@dataclass(frozen=True)
class Way:
    """A way through a machine without a detour.

    Attributes:
        states: their definitions, from the start to the end.
        states_a_look: how many more there are for every further look at what takes its time.
    """

    states: tuple[Mapping[str, Any], ...]
    states_a_look: int

    def transitions(self, seconds: float) -> int:
        """Those of an execution that waits so long. Its start counts as one."""
        return 1 + len(self.states) + self.states_a_look * (looks_within(seconds) - 1)

    @property
    def functions(self) -> list[str]:
        """The logical ids of the functions that are called, once per call."""
        arguments = [state.get("Arguments") for state in self.states]
        names = [str(each.get("FunctionName")) for each in arguments if isinstance(each, Mapping)]
        return [match[1] for name in names if (match := re.fullmatch(r"\$\{(\w+)\}", name))]

    @property
    def notifications(self) -> int:
        """How many messages are published."""
        return sum("sns:publish" in state.get("Resource", "") for state in self.states)


@dataclass(frozen=True)
class Ways:
    """Those of a run, of a deployment, of a batch, and of a run that is started in vain.

    Raises:
        ValueError: a machine has no such way.
    """

    training: Way
    deployment: Way
    batch: Way
    transitions_in_vain: int

    @classmethod
    def of(cls, template: StackTemplate) -> Ways:
        machines = template.machines
        training = machines["TrainingStateMachine"]["States"]
        ends = {name for name, state in training.items() if state["Type"] == "Succeed"}
        start = str(machines["TrainingStateMachine"]["StartAt"])
        return cls(
            training=_way(machines, *_TRAINING),
            deployment=_way(machines, *_DEPLOYMENT),
            batch=_way(machines, *_BATCH),
            transitions_in_vain=1 + len(_between(training, start, ends)),
        )

    def run_transitions(self, rates: Rates, training_s: float | None = None) -> int:
        """The transitions of a run that is approved at once, with its deployment.

        Args:
            training_s: how long its job takes; by default as long as that of a small table.
        """
        job_s = training_seconds(0, rates) if training_s is None else training_s
        return self.training.transitions(job_s) + self.deployment.transitions(rates["endpoint.update_s"])


def looks_within(seconds: float) -> int:
    """How often a machine looks at what takes so long, an endpoint's update or a job.

    >>> looks_within(300)
    18
    """
    waited_s, looks = 0.0, 0
    while waited_s < seconds:
        waited_s += 1 + looks**2 // 4 if looks < 11 else max(30, waited_s // 100)
        looks += 1
    return looks


def _way(machines: Mapping[str, Any], machine: str, *passed: str) -> Way:
    """The way past these states with the fewest transitions, errors aside; the one that describes looks."""
    states, path = machines[machine]["States"], [str(machines[machine]["StartAt"])]
    for goal in passed:
        path += _between(states, path[-1], {goal})[1:]
    look = next(name for name in passed if name.startswith("Describe"))
    loop = min((_between(states, following, {look}) for following in _next(states[look])), key=len)
    return Way(tuple(states[name] for name in path), len(loop))


def _between(states: Mapping[str, Any], start: str, goals: Set[str]) -> list[str]:
    """The shortest way to the nearest of the goals; both ends are in it."""
    paths = {start: [start]}
    waiting = deque([start])
    while waiting:
        here = waiting.popleft()
        if here in goals:
            return paths[here]
        for following in _next(states[here]):
            if following not in paths:
                paths[following] = [*paths[here], following]
                waiting.append(following)
    raise ValueError(f"No way leads from {start} to {' or '.join(sorted(goals))}.")


def _next(state: Mapping[str, Any]) -> list[str]:
    found = [str(choice["Next"]) for choice in state.get("Choices", [])]
    return found + [str(state[key]) for key in ("Next", "Default") if key in state]
