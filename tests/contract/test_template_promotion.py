"""Another account may read what it takes over, only when it is named, and never more than that."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.contract.test_template import RESOURCES, TEMPLATE

GROUP = RESOURCES["ModelPackageGroup"]["Properties"]["ModelPackageGroupPolicy"]["Fn::If"]


def for_others(statements: list[dict[str, Any]]) -> dict[str, Any]:
    (found,) = [each["Fn::If"] for each in statements if each.get("Fn::If", [""])[0] == "MayBePromoted"]
    assert found[2] == {"Ref": "AWS::NoValue"}
    statement: dict[str, Any] = found[1]
    return statement


STATEMENTS = {
    "group": GROUP[1]["Statement"][0],
    "bucket": for_others(RESOURCES["DataBucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]),
    "key": for_others(RESOURCES["DataKey"]["Properties"]["KeyPolicy"]["Statement"]),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_only_named_accounts_are_let_in_and_only_to_read(name):
    statement = STATEMENTS[name]
    assert statement["Principal"] == {"AWS": {"Fn::Split": [",", {"Ref": "PromotionAccounts"}]}}
    actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
    for action in actions:
        assert action.split(":")[1].startswith(("Get", "Describe", "List", "Decrypt"))


def test_by_default_nobody_is_let_in():
    assert GROUP[0] == "MayBePromoted"
    assert GROUP[2] == {"Ref": "AWS::NoValue"}
    assert TEMPLATE["Parameters"]["PromotionAccounts"]["Default"] == ""


def test_predictions_and_batches_stay_at_home():
    assert "batch" not in json.dumps(STATEMENTS["bucket"]["Resource"])
    assert "monitoring" not in json.dumps(STATEMENTS["bucket"]["Resource"])


def test_the_key_opens_only_through_the_bucket():
    via = STATEMENTS["key"]["Condition"]["StringEquals"]["kms:ViaService"]
    assert via == {"Fn::Sub": "s3.${AWS::Region}.amazonaws.com"}
