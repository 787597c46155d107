"""Checks of an AWS account and region: credentials, the training image, quotas."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dropforge_ops.health.findings import Check, Finding, Status
from dropforge_ops.target import Target

NAMES = ("credentials", "region", "endpoint mode", "image", "Lambda quota", "SageMaker quotas")
_SERVERLESS = "Maximum total concurrency that can be allocated across all serverless endpoints"
# The functions of a stack at their busiest: predictions beside a run, a batch and the watch.
_LAMBDA_CONCURRENCY = 10
_QUOTAS_PAGE = "https://console.aws.amazon.com/servicequotas/home/services/{service}/quotas"


def credentials(target: Target) -> Check:
    """Whether AWS knows who asks; without that nothing else can be seen."""
    return Check("credentials", lambda: _credentials(target))


def checks(target: Target, parameters: Mapping[str, str], root: Path | None) -> list[Check]:
    """The other checks; ``parameters`` are the stack's, or the template's defaults."""
    return [
        Check("region", lambda: _region(target)),
        Check("endpoint mode", lambda: _endpoint_mode(target, parameters, root)),
        Check("image", lambda: _image(target, parameters, root)),
        Check("Lambda quota", lambda: _lambda(target), unreadable=Status.WARN),
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
        "Deploy with EndpointMode=real-time, or in another region.",
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


def _lambda(target: Target) -> Finding:
    limit = target.client("lambda").get_account_settings()["AccountLimit"]
    free = int(limit["UnreservedConcurrentExecutions"])
    said = f"{free} of {limit['ConcurrentExecutions']} concurrent executions are unreserved"
    if free >= _LAMBDA_CONCURRENCY:
        return Finding("Lambda quota", Status.OK, said)
    return Finding(
        "Lambda quota",
        Status.WARN,
        f"{said}; a busy stack needs {_LAMBDA_CONCURRENCY}",
        f"Ask for 'Concurrent executions': {_QUOTAS_PAGE.format(service='lambda')}",
    )


def _sagemaker(target: Target, parameters: Mapping[str, str]) -> Iterable[Finding]:
    wanted = dict(_wanted(parameters))
    quotas = dict(
        _quotas(target.client("service-quotas"), {name for names in wanted.values() for name in names})
    )
    for use, names in wanted.items():
        values = {name: quotas.get(name, 0.0) for name in names}
        said = ", ".join(
            f"{name.split(' for ')[0] if len(names) > 1 else name}: {value:g}"
            for name, value in values.items()
        )
        enough = any(values.values())
        yield Finding(
            f"quota for {use}",
            Status.OK if enough else Status.FAIL,
            said,
            None if enough else f"Ask for more than 0 of one: {_QUOTAS_PAGE.format(service='sagemaker')}",
        )


def _wanted(parameters: Mapping[str, str]) -> Iterator[tuple[str, list[str]]]:
    """Of which quotas one is needed, by use. Without a quota a job waits for ever."""
    yield (
        "training",
        [f"{each} for training job usage" for each in _types(parameters, "TrainingInstanceTypes")],
    )
    yield "batches", [f"{each} for transform job usage" for each in _types(parameters, "BatchInstanceTypes")]
    if parameters.get("EndpointMode") == "real-time":
        yield (
            "the endpoint",
            [f"{each} for endpoint usage" for each in _types(parameters, "EndpointInstanceType")],
        )
    else:
        yield "the endpoint", [_SERVERLESS]


def _types(parameters: Mapping[str, str], name: str) -> list[str]:
    return [each.strip() for each in parameters.get(name, "").split(",") if each.strip()]


def _quotas(client: Any, names: set[str]) -> Iterator[tuple[str, float]]:
    """The account's values; where it has none of its own, AWS's defaults."""
    for operation in ("list_aws_default_service_quotas", "list_service_quotas"):
        for page in client.get_paginator(operation).paginate(ServiceCode="sagemaker"):
            for quota in page["Quotas"]:
                if quota["QuotaName"] in names:
                    yield quota["QuotaName"], float(quota["Value"])
