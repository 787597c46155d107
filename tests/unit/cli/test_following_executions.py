from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from cli_stack import FakeStepFunctions
from rich.console import Console
from tests.fakes.records import DEPLOYMENT, TRAINING

from dropforge_ops.actions.progress_view import MILESTONES, ProgressView, cause_message, milestones_passed
from dropforge_ops.actions.waiting import Deadline, until
from dropforge_ops.cli.groups import with_verb
from dropforge_ops.cli.invocation import MORE_TIME, Invocation, call
from dropforge_ops.errors import ExitCode, TimedOut
from dropforge_ops.stack.progress import Follower, seconds_by_state

VERBS = ["list", "replay", "show", "start"]


def names(visits):
    return [visit.name for visit in visits]


def test_each_look_tells_only_what_is_new():
    sfn = FakeStepFunctions()
    arn = sfn.begin(TRAINING, "run")
    follower = Follower(sfn, arn)
    sfn.states(arn, *(f"State{number}" for number in range(10)))
    sfn.enter(arn, "Last")
    assert len(follower.look()) == 11
    assert follower.look() == []
    assert follower.current.name == "Last"
    sfn.leave(arn, "Last")
    assert names(follower.look()) == ["Last"]
    assert follower.current is None


def test_follows_the_execution_that_a_state_started_and_waits_for():
    sfn = FakeStepFunctions()
    arn, child = sfn.begin(TRAINING, "run"), sfn.begin(DEPLOYMENT, "child")
    follower = Follower(sfn, arn)
    sfn.enter(arn, "DeployModel")
    sfn.submit(arn, child)
    sfn.states(child, "PlanDeployment")
    sfn.enter(child, "SmokeTest")
    assert names(follower.look()) == ["PlanDeployment", "SmokeTest", "DeployModel"]
    assert follower.current.name == "SmokeTest"
    assert [visit.depth for visit in follower.all_visits] == [0, 1, 1]


def test_an_end_closes_the_state_that_it_happened_in():
    sfn = FakeStepFunctions()
    arn = sfn.begin(TRAINING, "run")
    sfn.enter(arn, "TrainModel")
    sfn.fail_task(arn)
    sfn.end(arn, "TIMED_OUT", error="States.Timeout", cause="too long")
    follower = Follower(sfn, arn)
    [visit] = follower.look()
    assert visit.left_at is not None
    assert visit.errors == 1
    assert follower.status == "TIMED_OUT"
    assert follower.failure == ("States.Timeout", "too long")


def test_stays_in_one_state_add_up_and_choices_are_left_out():
    sfn = FakeStepFunctions()
    arn = sfn.begin(TRAINING, "run")
    sfn.states(arn, "Wait", "Describe", "Wait")
    sfn.enter(arn, "IsReady", "Choice")
    sfn.leave(arn, "IsReady", "Choice")
    follower = Follower(sfn, arn)
    follower.look()
    assert seconds_by_state(follower.all_visits) == {"Wait": 0.5, "Describe": 0.25}


@pytest.mark.parametrize(
    ("cause", "message"),
    [
        ('{"errorType": "EmptyData", "errorMessage": "no rows"}', "no rows"),
        ('{"FailureReason": "AlgorithmError: x"}', "AlgorithmError: x"),
        ('{"Error": "E", "Cause": "{\\"errorMessage\\": \\"inner\\"}"}', "inner"),
        ("plain words", "plain words"),
        ("[1]", "[1]"),
    ],
)
def test_digs_the_message_out_of_a_cause(cause, message):
    assert cause_message(cause) == message


def test_a_wait_ends_when_its_time_is_up_and_says_what_was_missing():
    now = [0.0]
    deadline = Deadline(
        3, "Look again.", clock=lambda: now[0], sleep=lambda s: now.__setitem__(0, now[0] + s)
    )
    with pytest.raises(TimedOut, match=r"Nothing came after 3 s\. Look again\."):
        until(lambda: None, deadline, 1.0, "Nothing came")
    assert now[0] == 3.0


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ([], ["list"]),
        (["--limit=3", "--json"], ["list", "--limit=3", "--json"]),
        (["--stack", "show"], ["list", "--stack", "show"]),
        (["cancer-1", "--json"], ["show", "cancer-1", "--json"]),
        (["--json", "replay", "cancer-1"], ["replay", "--json", "cancer-1"]),
        (["--help"], ["--help"]),
    ],
)
def test_the_verb_of_runs_may_be_left_out(given, meant):
    assert with_verb(given, VERBS) == meant


@pytest.mark.parametrize("machine", ["training", "deployment", "batch"])
def test_the_milestones_of_a_machine_are_states_of_it_in_its_order(machine):
    path = Path(__file__).parents[3] / "statemachine" / f"{machine}.asl.json"
    states = list(json.loads(path.read_text())["States"])
    [way] = [way for way in MILESTONES if way[0] in states]
    assert [states.index(name) for name in way] == sorted(states.index(name) for name in way)


def test_a_deployment_within_a_run_counts_once_it_has_begun():
    sfn = FakeStepFunctions()
    arn = sfn.begin(TRAINING, "run")
    sfn.states(arn, "AdmitRun", "PrepareData")
    sfn.enter(arn, "TrainModel")
    follower = Follower(sfn, arn)
    follower.look()
    assert milestones_passed(follower.all_visits) == (2, 5)
    sfn.leave(arn, "TrainModel")
    sfn.states(arn, "JudgeModel", "RegisterModel")
    child = sfn.begin(DEPLOYMENT, "child")
    sfn.enter(arn, "DeployModel")
    sfn.submit(arn, child)
    sfn.states(child, "PlanDeployment")
    follower.look()
    assert milestones_passed(follower.all_visits) == (6, 10)
    assert milestones_passed([]) == (0, 0)


def test_a_terminal_shows_how_far_a_run_has_come():
    sfn = FakeStepFunctions()
    arn = sfn.begin(TRAINING, "run")
    sfn.states(arn, "AdmitRun")
    sfn.enter(arn, "PrepareData")
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=100)
    follower = Follower(sfn, arn)
    with ProgressView(console) as view:
        view.show(follower.look(), follower)
    assert "━━━━────────────────" in written.getvalue()
    assert "1/5 PrepareData" in written.getvalue()


@pytest.mark.parametrize("where", ["between looks", "in a look"])
def test_ctrl_c_in_a_wait_says_what_goes_on(capsys, where):
    def interrupt(*_):
        raise KeyboardInterrupt

    invocation = Invocation()

    def wait():
        deadline = invocation.deadline(
            60, "The run goes on; 'dropforge runs' shows how it stands.", MORE_TIME
        )
        deadline.sleep = interrupt
        until(interrupt if where == "in a look" else lambda: None, deadline, 1, "It isn't there")

    assert call(invocation, wait) is ExitCode.INTERRUPTED
    said = " ".join(capsys.readouterr().err.split())
    assert said == "Interrupted. The run goes on; 'dropforge runs' shows how it stands."


def test_ctrl_c_before_anything_goes_on_says_no_more(capsys):
    def interrupt():
        raise KeyboardInterrupt

    assert call(Invocation(), interrupt) is ExitCode.INTERRUPTED
    assert capsys.readouterr().err == "Interrupted.\n"
