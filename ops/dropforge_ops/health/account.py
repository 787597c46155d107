"""Checks of an AWS account and region: credentials, the training image, quotas."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dropforge_ops.health.findings import Check, Finding, Status
from dropforge_ops.stack.target import Target

NAMES = ("credentials", "region", "endpoint mode", "image", "Lambda quota", "SageMaker quotas")
_SERVERLESS = "Maximum total concurrency that can be allocated across all serverless endpoints"
# What runs beside the chunks of a large drop: predictions, a batch, the watch, reconciling, a decision.
_FUNCTIONS_BESIDE = 5
_REQUEST = (
    "aws service-quotas request-service-quota-increase --service-code {} --quota-code {} --desired-value {}"
)
# "Concurrent executions", https://docs.aws.amazon.com/general/latest/gr/lambda-service.html; docs say 1,000,
# new accounts often have 10.
_LAMBDA_CODE, _LAMBDA_USUAL = "L-B99A9384", 1000


def credentials(target: Target) -> Check:
    """Whether AWS knows who asks; without that nothing else can be seen."""
    return Check("credentials", lambda: _credentials(target))


def checks(target: Target, parameters: Mapping[str, str], root: Path | None) -> list[Check]:
    """The other checks; ``parameters`` are the stack's, or the template's defaults."""
    return [
        Check("region", lambda: _region(target)),
        Check("endpoint mode", lambda: _endpoint_mode(target, parameters, root)),
        Check("image", lambda: _image(target, parameters, root)),
        Check("Lambda quota", lambda: _lambda(target, parameters), unreadable=Status.WARN),
        Check("SageMaker quotas", lambda: _sagemaker(target, parameters), unreadable=Status.WARN),
    ]


def _credentials(target: Target) -> Finding:
    return Finding("credentials", Status.OK, str(target.client("sts").get_caller_identity()["Arn"]))


def _region(target: Target) -> Finding:
    region = target.session.region_name
    if region:
        return Finding("region", Status.OK, region)
    return Finding(
        "region", Status.FAIL, "no region is set", "Give one with --region, or set it in the profile."
    )


def _endpoint_mode(target: Target, parameters: Mapping[str, str], root: Path | None) -> Finding:
    mode = parameters.get("EndpointMode")
    if mode != "serverless":
        return Finding("endpoint mode", Status.OK, f"{mode}")
    if root is None:
        return Finding(
            "endpoint mode", Status.SKIP, "not in the project's folder, whose template lists the regions"
        )
    from dropforge_local.template import load_template  # noqa: PLC0415 - PyYAML, which few commands need

    (assertion,) = load_template(root / "template.yaml")["Rules"]["ServerlessNeedsItsRegion"]["Assertions"]
    without, _ = assertion["Assert"]["Fn::Not"][0]["Fn::Contains"]
    if target.session.region_name not in without:
        return Finding("endpoint mode", Status.OK, f"serverless, in {target.session.region_name}")
    return Finding(
        "endpoint mode",
        Status.FAIL,
        f"SageMaker has no serverless inference in {target.session.region_name}",
        "Deploy with EndpointMode=real-time or asynchronous, or in another region.",
    )


def _image(target: Target, parameters: Mapping[str, str], root: Path | None) -> Finding:
    own = parameters.get("TrainingImageUri")
    if own:
        return Finding("image", Status.OK, f"an image of your own: {own}")
    if root is None:
        return Finding("image", Status.SKIP, "not in the project's folder, whose template lists the images")
    from dropforge_local.template import load_template  # noqa: PLC0415 - PyYAML, which few commands need

    region = target.session.region_name
    known = load_template(root / "template.yaml")["Mappings"]["ScikitLearnImage"]
    if region in known:
        return Finding("image", Status.OK, f"scikit-learn, account {known[region]['Account']} in {region}")
    return Finding(
        "image",
        Status.FAIL,
        f"AWS has no scikit-learn image in {region} that the template knows",
        "Deploy to another region, or set TrainingImageUri to an image of your own.",
    )


def _lambda(target: Target, parameters: Mapping[str, str]) -> Finding:
    limit = target.client("lambda").get_account_settings()["AccountLimit"]
    free = int(limit["UnreservedConcurrentExecutions"])
    chunks = int(float(parameters.get("ScaleOutConcurrency") or 1))
    needed = chunks + _FUNCTIONS_BESIDE
    said = f"{free} of {limit['ConcurrentExecutions']} concurrent executions are unreserved"
    if free >= needed:
        return Finding("Lambda quota", Status.OK, said)
    request = _REQUEST.format("lambda", _LAMBDA_CODE, max(_LAMBDA_USUAL, needed))
    lower = max(1, free - _FUNCTIONS_BESIDE)
    until = f" Until then deploy with ScaleOutConcurrency={lower}." if lower < chunks else ""
    return Finding(
        "Lambda quota",
        Status.WARN,
        f"{said}; {chunks} chunks of a large drop at once (ScaleOutConcurrency) and the other functions need "
        f"{needed}. What is throttled waits and is tried again, so runs and predictions get slow",
        f"Ask for more: {request}.{until}",
    )


@dataclass(frozen=True)
class _Quota:
    name: str
    code: str
    value: float


def _sagemaker(target: Target, parameters: Mapping[str, str]) -> Iterable[Finding]:
    wanted = {use: names for use, names in _wanted(parameters) if names}
    known = {
        quota.name: quota
        for quota in _quotas(
            target.client("service-quotas"), {name for names in wanted.values() for name in names}
        )
    }
    for use, names in wanted.items():
        quotas = [known.get(name, _Quota(name, "", 0.0)) for name in names]
        said = ", ".join(
            f"{each.name.split(' for ')[0] if len(names) > 1 else each.name}: {each.value:g}"
            for each in quotas
        )
        needed = float(parameters.get("TrainingInstanceCount") or 1) if use == _TRAINING else 1.0
        if any(each.value >= needed for each in quotas):
            # A type whose quota is too small is passed over, like one without capacity.
            yield Finding(f"quota for {use}", Status.OK, said)
            continue
        first = quotas[0]
        request = _REQUEST.format("sagemaker", first.code or f"<code of '{first.name}'>", f"{needed:g}")
        only = _ONLY.get(use, "")
        yield Finding(
            f"quota for {use}",
            Status.WARN if only else Status.FAIL,
            said,
            f"Ask for {f'{needed:g}' if needed > 1 else 'more than 0'} of one: {request}.{only}",
        )


_TRAINING, _BATCHES, _SPOT = "training", "batches", "training on Spot capacity"
_ONLY: Mapping[str, str] = {
    _BATCHES: " Only batch scoring needs it.",
    _SPOT: " Until then runs train on demand.",
}


def _wanted(parameters: Mapping[str, str]) -> Iterator[tuple[str, list[str]]]:
    """Of which quotas one is needed, by use. Without any the run, the batch or the deployment fails."""
    types = _types(parameters, "TrainingInstanceTypes")
    yield _TRAINING, [f"{each} for training job usage" for each in types]
    if float(parameters.get("TrainingSpot") or 0):
        yield _SPOT, [f"{each} for spot training job usage" for each in types[:1]]
    yield _BATCHES, [f"{each} for transform job usage" for each in _types(parameters, "BatchInstanceTypes")]
    if parameters.get("EndpointMode") in ("real-time", "asynchronous"):
        yield (
            "the endpoint",
            [f"{each} for endpoint usage" for each in _types(parameters, "EndpointInstanceType")],
        )
    else:
        yield "the endpoint", [_SERVERLESS]


def _types(parameters: Mapping[str, str], name: str) -> list[str]:
    return [each.strip() for each in parameters.get(name, "").split(",") if each.strip()]


def _quotas(client: Any, names: set[str]) -> Iterator[_Quota]:
    """The account's values; where it has none of its own, AWS's defaults."""
    for operation in ("list_aws_default_service_quotas", "list_service_quotas"):
        for page in client.get_paginator(operation).paginate(ServiceCode="sagemaker"):
            for quota in page["Quotas"]:
                if quota["QuotaName"] in names:
                    yield _Quota(quota["QuotaName"], quota.get("QuotaCode", ""), float(quota["Value"]))
