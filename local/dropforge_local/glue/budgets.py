"""CloudFormation's budgets: kept and answered by the Budgets API. Nothing is spent on a local host."""

from __future__ import annotations

import json
from typing import Any

from dropforge_local.glue.seams import budgets, provisioners, responses


def install() -> None:
    """Register `AWS::Budgets::Budget`."""

    def create(logical_id: str, props: dict[str, Any], stack_name: str) -> tuple[str, dict[str, str]]:
        budget = {**props["Budget"]}
        budget.setdefault("BudgetName", provisioners._physical_name(stack_name, logical_id))
        # CloudFormation takes the amount as a number, the API as text.
        if "BudgetLimit" in budget:
            budget["BudgetLimit"] = {key: str(value) for key, value in budget["BudgetLimit"].items()}
        request = {
            "AccountId": responses.get_account_id(),
            "Budget": budget,
            "NotificationsWithSubscribers": props.get("NotificationsWithSubscribers", []),
        }
        status, _, body = budgets._create_budget(request)
        if status >= 300:
            raise ValueError(f"{json.loads(body).get('message', body)} (Service: Budgets)")
        return str(budget["BudgetName"]), {}

    def delete(physical_id: str, props: dict[str, Any]) -> None:
        del props
        # One that is gone already is CloudFormation's success.
        budgets._delete_budget({"AccountId": responses.get_account_id(), "BudgetName": physical_id})

    provisioners._RESOURCE_HANDLERS["AWS::Budgets::Budget"] = {"create": create, "delete": delete}
