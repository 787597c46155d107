from __future__ import annotations

from dataclasses import replace

import pytest
from botocore.exceptions import ClientError
from cli_stack import CONTRACT, PINNED, WIDER, contract_of

from dropforge.domain.contract import Contract
from dropforge_ops.actions.contracts import Contracts
from dropforge_ops.errors import OperationFailed


def test_shows_the_pinned_contract_and_that_of_a_run(stack, failed, on_stack):
    shown = on_stack("contract", "show")
    assert shown.exit_code == 0
    for text in (CONTRACT.hash, "diagnosis", "smoker", "benign, malignant"):
        assert text in shown.stdout
    document = on_stack("contract", "show", "latest", "--json").json
    assert document["contract"] == CONTRACT.to_dict()
    assert document["uri"].endswith("runs/bad-run/contract/schema.json")


def test_says_what_to_expect_where_nothing_is_pinned(on_stack):
    outcome = on_stack("contract", "show")
    assert outcome.exit_code == 3
    assert "first run" in outcome.stderr


def test_diff_names_the_change_and_the_command_that_accepts_it(failed, on_stack):
    outcome = on_stack("contract", "diff")
    assert "+ column 'age' (integer, feature) is new" in outcome.stdout
    command = f"dropforge contract accept bad-run --hash {WIDER.hash[:12]}"
    assert command in outcome.stdout
    document = on_stack("contract", "diff", failed, "--json").json
    assert (document["pinned"], document["proposed"]) == (CONTRACT.hash, WIDER.hash)
    assert document["accept"] == command


def test_accepting_pins_the_proposal_and_keeps_what_it_replaced(stack, failed, on_stack):
    outcome = on_stack("contract", "accept", failed, "--hash", WIDER.hash[:12], "--yes")
    assert outcome.exit_code == 0
    assert "--again" in outcome.stdout
    assert contract_of(stack) == WIDER
    assert on_stack("contract", "show", "--json").json["replaced"] == [CONTRACT.hash]
    kept = stack.s3.get_object(Bucket=stack.bucket, Key=f"contract/history/{CONTRACT.hash}.json")
    assert Contract.from_json(kept["Body"].read()) == CONTRACT
    again = on_stack("contract", "accept", failed, "--json", "--yes").json
    assert (again["changed"], again["pinned"], again["replaced"]) == (False, WIDER.hash, None)


def test_accepting_can_drop_the_files_of_the_run_again(stack, failed, on_stack):
    before = stack.s3.head_object(Bucket=stack.bucket, Key="incoming/new.csv")["VersionId"]
    document = on_stack("contract", "accept", failed, "--again", "--json", "--yes").json
    assert document["dropped_again"] == ["incoming/new.csv"]
    now = stack.s3.get_object(Bucket=stack.bucket, Key="incoming/new.csv")
    assert now["VersionId"] != before
    assert now["Body"].read() == b"id,age\n1,2\n"


def test_a_contract_that_was_edited_after_the_run_is_not_overwritten(stack, failed, on_stack):
    edited = replace(
        CONTRACT, columns=(replace(CONTRACT.columns[1], minimum=0.0), *CONTRACT.columns[2:]), key=None
    )
    stack.write(PINNED, edited.to_json().encode())
    outcome = on_stack("contract", "accept", failed, "--yes")
    assert outcome.exit_code == 1
    assert "undo a later change" in outcome.stderr
    assert contract_of(stack) == edited


def test_a_contract_that_changes_in_that_very_moment_is_not_overwritten(stack, failed, on_stack, monkeypatch):
    s3 = stack.target.client("s3")
    put = s3.put_object

    def lost(**arguments):
        if "IfMatch" in arguments:
            raise ClientError({"Error": {"Code": "PreconditionFailed", "Message": "no"}}, "PutObject")
        return put(**arguments)

    monkeypatch.setattr(s3, "put_object", lost, raising=False)
    outcome = on_stack("contract", "accept", failed, "--yes")
    assert outcome.exit_code == 1
    assert "somebody else" in outcome.stderr
    assert contract_of(stack) == CONTRACT


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["accept", "bad-run", "--hash", "00000000"], 2, "proposes"),
        (["accept", "bad-run", "--hash", WIDER.hash[:4]], 2, "8 digits"),
        (["accept", "no-such-run"], 3, "no run 'no-such-run'"),
        (["diff", "no-such-run"], 3, "no run 'no-such-run'"),
        (["show", "no-such-run"], 3, "no run 'no-such-run'"),
        (["accept"], 2, "Missing argument"),
        (["adopt"], 2, "No such command"),
    ],
)
def test_wrong_arguments_change_nothing(arguments, code, says, stack, failed, on_stack):
    outcome = on_stack("contract", *arguments)
    assert outcome.exit_code == code
    assert says in outcome.stderr
    assert contract_of(stack) == CONTRACT


def test_a_run_without_a_proposal_has_nothing_to_accept(stack, on_stack):
    stack.trained(1, "good-run")
    outcome = on_stack("contract", "accept", "good-run", "--yes")
    assert outcome.exit_code == 3
    assert "proposed no contract" in outcome.stderr


@pytest.mark.usefixtures("asked")
def test_asks_before_it_accepts(stack, failed, on_stack):
    assert on_stack("contract", "accept", failed, stdin="n\n").exit_code == 1
    assert contract_of(stack) == CONTRACT
    assert on_stack("contract", "accept", failed, stdin="y\n").exit_code == 0
    assert contract_of(stack) == WIDER


def test_reset_unpins_and_keeps_the_old_contract(stack, failed, on_stack):
    outcome = on_stack("contract", "reset", "--yes")
    assert outcome.exit_code == 0
    assert CONTRACT.hash[:12] in outcome.stdout
    assert "Its contract is inferred" in outcome.stdout
    assert on_stack("contract", "show").exit_code == 3
    kept = stack.s3.get_object(Bucket=stack.bucket, Key=f"contract/history/{CONTRACT.hash}.json")
    assert Contract.from_json(kept["Body"].read()) == CONTRACT
    again = on_stack("contract", "reset", "--json", "--yes")
    assert (again.exit_code, again.json) == (0, {"unpinned": None, "kept_as": None})


def test_reset_asks_and_takes_no_for_an_answer(stack, failed, on_stack, asked):
    outcome = on_stack("contract", "reset", stdin="n\n")
    assert outcome.exit_code == 1
    assert "diagnosis" in outcome.stderr
    assert contract_of(stack) == CONTRACT


def test_reset_leaves_a_contract_alone_that_changed_meanwhile(stack, failed):
    stored = Contracts(stack.s3, stack.bucket)
    seen = stored.pinned()
    stack.write(PINNED, WIDER.to_json().encode())
    with pytest.raises(OperationFailed, match="nothing was reset"):
        stored.unpin(seen)
    assert contract_of(stack) == WIDER
