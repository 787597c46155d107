"""CloudFormation's CodeDeploy types, and what CodeDeploy does with an alias: steps, and back on an alarm.

https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/automating-updates-to-serverless-apps.html
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dropforge_local.glue.seams import cloudformation, cloudwatch, engine, lambda_svc, provisioners, stacks

if TYPE_CHECKING:
    from dropforge_local.settings import HostSettings

_STYLE = re.compile(
    r"(?P<kind>Canary|Linear)(?P<percent>\d+)Percent(Every)?(?P<minutes>\d+)Minutes?$",
)
_LOOK_S = 0.2


@dataclass(frozen=True)
class Style:
    """How an alias moves: ``percent`` of the calls for ``minutes``, then all, or as much more each time."""

    is_linear: bool
    percent: int
    minutes: int

    @classmethod
    def of(cls, name: str) -> Style | None:
        """The style of a deployment configuration; None where everything moves at once.

        >>> Style.of("CodeDeployDefault.LambdaCanary10Percent5Minutes")
        Style(is_linear=False, percent=10, minutes=5)
        >>> Style.of("CodeDeployDefault.LambdaLinear10PercentEvery1Minute")
        Style(is_linear=True, percent=10, minutes=1)
        >>> Style.of("CodeDeployDefault.LambdaAllAtOnce")
        """
        match = _STYLE.search(name)
        if match is None:
            return None
        return cls(match["kind"] == "Linear", int(match["percent"]), int(match["minutes"]))

    def steps(self) -> Iterator[tuple[float, int]]:
        """(share of the calls, seconds that it stays so), before the alias moves altogether.

        >>> list(Style(True, 40, 1).steps())
        [(0.4, 60), (0.8, 60)]
        """
        shares = range(self.percent, 100, self.percent) if self.is_linear else (self.percent,)
        for share in shares:
            yield share / 100, self.minutes * 60


def install(settings: HostSettings) -> None:  # noqa: PLR0915 - closures
    """Register the types, move an alias as its group says, and send its calls by its weights."""

    def application(logical_id: str, props: dict[str, Any], stack_name: str) -> tuple[str, dict[str, str]]:
        name = props.get("ApplicationName") or provisioners._physical_name(stack_name, logical_id)
        return str(name), {}

    def group(logical_id: str, props: dict[str, Any], stack_name: str) -> tuple[str, dict[str, str]]:
        name = props.get("DeploymentGroupName") or provisioners._physical_name(stack_name, logical_id)
        return str(name), {}

    def changed_group(
        physical_id: str, old_props: dict[str, Any], new_props: dict[str, Any], stack_name: str
    ) -> tuple[str, dict[str, str]]:
        """What the group says is read from its stack when an alias moves."""
        del old_props, new_props, stack_name
        return physical_id, {}

    def forget(physical_id: str, props: dict[str, Any]) -> None:
        """There is nothing behind the name."""
        del physical_id, props

    handlers = provisioners._RESOURCE_HANDLERS
    handlers["AWS::CodeDeploy::Application"] = {"create": application, "delete": forget}
    handlers["AWS::CodeDeploy::DeploymentGroup"] = {
        "create": group,
        "update": changed_group,
        "delete": forget,
    }

    def group_of(stack_name: str, logical_id: str | None) -> dict[str, Any] | None:
        """The resolved properties of the deployment group that moves an alias."""
        stack = cloudformation._stacks.get(stack_name) or {}
        described = (stack.get("_template") or {}).get("Resources", {}).get(logical_id) or {}
        policy = (described.get("UpdatePolicy") or {}).get("CodeDeployLambdaAliasUpdate") or {}
        named = (policy.get("DeploymentGroupName") or {}).get("Ref")
        properties: dict[str, Any] | None = stack.get("_resources", {}).get(named, {}).get("Properties")
        return properties

    def raised(names: list[str]) -> list[str]:
        return [name for name in names if (cloudwatch._alarms.get(name) or {}).get("StateValue") == "ALARM"]

    alias_handler = handlers["AWS::Lambda::Alias"]
    move = alias_handler["update"]

    def roll_out(
        physical_id: str,
        old_props: dict[str, Any],
        new_props: dict[str, Any],
        stack_name: str,
        logical_id: str | None = None,
    ) -> Any:
        """Move an alias by its group's style.

        Raises:
            ValueError: an alarm of the group went off; the alias is as it was.
        """
        function, name = physical_id.split(":")[-2:]
        properties = group_of(stack_name, logical_id) or {}
        style = Style.of(str(properties.get("DeploymentConfigName", "")))
        alias = (lambda_svc._functions.get(function) or {}).get("aliases", {}).get(name)
        version = str(new_props.get("FunctionVersion", ""))
        if style is None or alias is None or alias.get("FunctionVersion") == version:
            return move(physical_id, old_props, new_props, stack_name, logical_id)
        alarms = [each["Name"] for each in (properties.get("AlarmConfiguration") or {}).get("Alarms", [])]
        for share, seconds in style.steps():
            weights = {"AdditionalVersionWeights": {version: share}}
            lambda_svc._update_alias(function, name, {"RoutingConfig": weights})
            until = time.monotonic() + seconds * settings.wait_scale
            while time.monotonic() < until:
                if names := raised(alarms):
                    lambda_svc._update_alias(function, name, {"RoutingConfig": {}})
                    raise ValueError(
                        f"CodeDeploy took version {version} of {function} back, because the alarm "
                        f"{', '.join(names)} went off."
                    )
                time.sleep(_LOOK_S)
        lambda_svc._update_alias(function, name, {"RoutingConfig": {}})
        return move(physical_id, old_props, new_props, stack_name, logical_id)

    alias_handler["update"] = roll_out
    dependencies_of = engine._extract_deps

    def all_dependencies(resource: dict[str, Any], names: set[str]) -> set[str]:
        """An alias waits for its deployment group, which waits for the alarms that it looks at."""
        named: set[str] = dependencies_of({"Properties": resource.get("UpdatePolicy") or {}}, names)
        return named | set(dependencies_of(resource, names))

    engine._extract_deps = all_dependencies
    on_worker = stacks._runs_on_worker_thread
    # A rollout takes minutes, in which the host has to answer.
    stacks._runs_on_worker_thread = lambda resource_type: (
        resource_type == "AWS::Lambda::Alias" or on_worker(resource_type)
    )
    record_of = lambda_svc._effective_func_record_for_qualifier
    dice = random.Random()  # noqa: S311 - spreads calls

    def weighted(func: dict[str, Any] | None, qualifier: str | None) -> Any:
        """The version that a call of an alias goes to."""
        alias = (func or {}).get("aliases", {}).get(qualifier) or {}
        weights = (alias.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {}
        left = dice.random()
        for version, share in weights.items():
            left -= share
            if left < 0:
                return record_of(func, version)
        return record_of(func, qualifier)

    lambda_svc._effective_func_record_for_qualifier = weighted
