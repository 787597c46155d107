"""CloudFormation's budgets: kept and answered by the Budgets API. Nothing is spent on a local host."""

from __future__ import annotations

import json
from typing import Any

from dropforge_local.glue.seams import require, require_parameters


def install() -> None:
    """Register `AWS::Budgets::Budget`."""
    from ministack.core.responses import get_account_id  # noqa: PLC0415
    from ministack.services import budgets  # noqa: PLC0415
    from ministack.services.cloudformation import provisioners  # noqa: PLC0415

    require(provisioners, "_RESOURCE_HANDLERS", "_physical_name")
    require_parameters(budgets._create_budget, "data")
    require_parameters(budgets._delete_budget, "data")

    def create(logical_id: str, props: dict[str, Any], stack_name: str) -> tuple[str, dict[str, str]]:
        budget = {**props["Budget"]}
        budget.setdefault("BudgetName", provisioners._physical_name(stack_name, logical_id))
        # CloudFormation takes the amount as a number, the API as text.
        if "BudgetLimit" in budget:
            budget["BudgetLimit"] = {key: str(value) for key, value in budget["BudgetLimit"].items()}
        request = {
            "AccountId": get_account_id(),
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
        budgets._delete_budget({"AccountId": get_account_id(), "BudgetName": physical_id})

    provisioners._RESOURCE_HANDLERS["AWS::Budgets::Budget"] = {"create": create, "delete": delete}
