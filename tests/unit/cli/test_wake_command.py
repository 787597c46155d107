"""``dropforge wake`` brings a sleeping endpoint back, and changes nothing else."""

from __future__ import annotations

import json

from tests.fakes.records import at


def deployments(stack):
    return [each for arn, each in stack.sfn.executions.items() if "-deployment:" in arn]


def test_a_sleeping_endpoint_is_deployed_again(stack, on_stack):
    live = stack.lives(1)
    stack.ledger.fall_asleep(live.token, now=at(10))
    outcome = on_stack("wake", "--json")
    assert outcome.exit_code == 0
    assert outcome.json["changed"] is True
    payload = json.loads(deployments(stack)[-1]["input"])
    assert (payload["reason"], payload["version"]) == ("repair", 1)


def test_an_endpoint_that_does_not_sleep_is_left_alone(stack, on_stack):
    live = stack.lives(1)
    stack.ledger.fall_asleep(live.token - 1, now=at(10))  # under an earlier promotion
    assert on_stack("wake", "--json").json["changed"] is False
    assert deployments(stack) == []


def test_without_a_live_model_there_is_nothing_to_wake(on_stack):
    assert on_stack("wake").exit_code == 3
