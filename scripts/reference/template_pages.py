"""Pages made from ``template.yaml``: parameters, functions, metrics and alarms."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scripts.reference.markdown import cell, code, first_sentence, table
from scripts.state_machines import source_of

from dropforge.domain.cloudwatch_metrics import BY_VERSION, METRICS_BY_VERSION
from dropforge.domain.cloudwatch_metrics import METRICS as EMITTED
from dropforge.domain.metric_registry import DEFAULT_METRIC, MEANINGS, METRICS
from dropforge_local.template import load_template, resource_property


class IncompleteSource(Exception):
    """What a page is written from lacks something; the message says what."""


def parameters(root: Path) -> str:
    """Every parameter, in the groups in which CloudFormation's console shows them."""
    template = load_template(root / "template.yaml")
    declared: Mapping[str, Any] = template["Parameters"]
    groups = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    parts = [
        "# Template parameters",
        '`make deploy PARAMETERS="Name=value …"` sets them on AWS (on top of those of the environment in '
        "`samconfig.toml`), `dropforge up --parameter Name=value` on the local host. A parameter that is not "
        "given keeps its value.",
    ]
    grouped = {name for group in groups for name in group["Parameters"]}
    if grouped != declared.keys():
        raise IncompleteSource(
            f"template.yaml: in no group, or not declared: {', '.join(sorted(grouped ^ declared.keys()))}"
        )
    for group in groups:
        rows = [
            [
                code(name),
                cell(declared[name].get("Description", "")),
                _default(declared[name]),
                _bounds(declared[name]),
            ]
            for name in group["Parameters"]
        ]
        parts += [
            f"## {group['Label']['default']}",
            table(["parameter", "meaning", "default", "allowed"], rows),
        ]
    return "\n\n".join(parts)


def functions(root: Path) -> str:
    """Every function: what it does, its limits, its log, its example event."""
    template = load_template(root / "template.yaml")
    rows = []
    for name, resource in template["Resources"].items():
        if resource["Type"] != "AWS::Serverless::Function":
            continue
        folder = str(resource["Properties"]["CodeUri"]).strip("/")
        said = ast.get_docstring(ast.parse((root / folder / "app.py").read_text(encoding="utf-8"))) or ""
        event = re.search(r"``(events/[a-z_]+\.json)``", said)
        rows.append(
            [
                code(name),
                cell(first_sentence(said)),
                f"[`{folder}`](../../{folder}/app.py)",
                f"{resource_property(template, name, 'MemorySize')} MB",
                f"{resource_property(template, name, 'Timeout')} s",
                f"[`{Path(event[1]).name}`](../../{event[1]})" if event else "",
            ]
        )
    return "\n\n".join(
        [
            "# Functions",
            "A function is named `<stack>-<name>-<digits>`; its log group is the one that its "
            "`LoggingConfig` names, kept for `LogRetentionDays`. The states that call a function have its "
            "name without `Function`.",
            table(["function", "what it does", "code", "memory", "timeout", "example event"], sorted(rows)),
            "## State machines",
            table(["machine", "what it does", "time limit"], list(_machines(root, template))),
        ]
    )


def metrics(root: Path) -> str:
    """Metrics of models, metrics in CloudWatch, and alarms."""
    template = load_template(root / "template.yaml")
    qualities = [
        [
            task,
            code(name),
            "more" if metric.greater_is_better else "less",
            "default" if name == DEFAULT_METRIC[task] else "",
            MEANINGS[name],
        ]
        for task, known in METRICS.items()
        for name, metric in known.items()
    ]
    return "\n\n".join(
        [
            "# Metrics and alarms",
            "## Metrics of a model",
            "`QualityMetric` names the one that the gate decides by; all are computed on the hold-out, and "
            "the training job prints each on the validation split.",
            table(["task", "metric", "better is", "", "says"], qualities),
            "## Metrics in CloudWatch",
            "Namespace `Dropforge`, dimension `Model`.",
            table(["metric", "meaning"], [[code(name), said] for name, said in EMITTED.items()]),
            f"Namespace `Dropforge`, dimensions {' and '.join(map(code, BY_VERSION))}; counted only where "
            "there is something to count.",
            table(["metric", "meaning"], [[code(name), said] for name, said in METRICS_BY_VERSION.items()]),
            "## Alarms",
            "What to do about each stands in the [runbook](../runbook.md).",
            table(["alarm", "meaning", "looks at", "goes off"], list(_alarms(template))),
        ]
    )


def _default(parameter: Mapping[str, Any]) -> str:
    if "Default" not in parameter:
        return "none: has to be given"
    return "empty" if parameter["Default"] == "" else code(parameter["Default"])


def _bounds(parameter: Mapping[str, Any]) -> str:
    if "AllowedValues" in parameter:
        return ", ".join(code(each) for each in parameter["AllowedValues"])
    if "ConstraintDescription" in parameter:
        return cell(parameter["ConstraintDescription"])
    low, high = parameter.get("MinValue"), parameter.get("MaxValue")
    if low is not None or high is not None:
        if None not in (low, high):
            return f"{low} to {high}"
        return f"at least {low}" if high is None else f"at most {high}"
    return code(parameter["AllowedPattern"]) if "AllowedPattern" in parameter else "any"


def _machines(root: Path, template: Mapping[str, Any]) -> Iterator[list[Any]]:
    for name, resource in template["Resources"].items():
        if resource["Type"] == "AWS::StepFunctions::StateMachine":
            deployed = str(resource["Properties"]["DefinitionS3Location"])
            definition = json.loads((root / deployed).read_text(encoding="utf-8"))
            place = source_of(deployed)
            limit = definition.get("TimeoutSeconds")
            yield [
                code(name),
                f"{cell(definition.get('Comment', ''))} [`{place}`](../../{place})",
                f"{limit} s" if limit else "none",
            ]


def _alarms(template: Mapping[str, Any]) -> Iterator[list[Any]]:
    for name, resource in template["Resources"].items():
        if resource["Type"] != "AWS::CloudWatch::Alarm":
            continue
        properties = resource["Properties"]
        threshold = properties["Threshold"]
        limit = code(threshold["Ref"]) if isinstance(threshold, dict) else threshold
        periods = properties["EvaluationPeriods"]
        times = f"{properties.get('DatapointsToAlarm', periods)} of {periods} times {_period(properties)} s"
        yield [
            f"[`{name}`](../runbook.md#{name.lower()})",
            cell(properties["AlarmDescription"]).partition(" Runbook:")[0],
            _looked_at(properties),
            f"above {limit}, {times}",
        ]


def _period(properties: Mapping[str, Any]) -> Any:
    if "Period" in properties:
        return properties["Period"]
    return next(each["MetricStat"]["Period"] for each in properties["Metrics"] if "MetricStat" in each)


def _looked_at(properties: Mapping[str, Any]) -> str:
    if "MetricName" in properties:
        statistic = properties.get("Statistic") or properties.get("ExtendedStatistic")
        return f"{statistic} of `{properties['Namespace']}` `{properties['MetricName']}`"
    names = dict.fromkeys(
        f"`{each['MetricStat']['Metric']['Namespace']}` `{each['MetricStat']['Metric']['MetricName']}`"
        for each in properties["Metrics"]
        if "MetricStat" in each
    )
    return f"sum of {', '.join(names)}"
