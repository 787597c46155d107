"""The ten worst of what checkov finds in public templates of this kind; docs/security.md tells them.

A template that has all of them is scanned beside ours, so a rule that finds nothing is known to look.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from scan.findings import Finding

FAULTY = "faulty"
"""The name under which that template is scanned."""

WORST = {
    "CKV_AWS_110": "Policy",
    "CKV_AWS_109": "Policy",
    "CKV_AWS_111": "Policy",
    "CKV_AWS_53": "Bucket",
    "CKV_AWS_54": "Bucket",
    "CKV_AWS_55": "Bucket",
    "CKV_AWS_56": "Bucket",
    "CKV_AWS_363": "Function",
    "CKV_AWS_149": "Secret",
    "CKV_AWS_370": "Model",
}
"""Rule -> the resource of the faulty template that breaks it."""


def faulty_template() -> dict[str, Any]:
    """A template in which each of the ten is found."""
    role = "arn:aws:iam::123456789012:role/job"
    everything = {
        "Effect": "Allow",
        "Action": ["iam:PassRole", "iam:CreateRole", "lambda:*"],
        "Resource": "*",
    }
    policy = {"Version": "2012-10-17", "Statement": [everything]}
    code = {"Runtime": "python3.7", "Handler": "app.handler", "Role": role, "Code": {"ZipFile": "pass"}}
    container = {"Image": "image", "ModelDataUrl": "s3://bucket/model.tar.gz"}
    resources = {
        "Policy": ("AWS::IAM::ManagedPolicy", {"PolicyDocument": policy}),
        "Bucket": ("AWS::S3::Bucket", {"VersioningConfiguration": {"Status": "Enabled"}}),
        "Function": ("AWS::Lambda::Function", code),
        "Secret": ("AWS::SecretsManager::Secret", {"SecretString": "{}"}),
        "Model": ("AWS::SageMaker::Model", {"ExecutionRoleArn": role, "PrimaryContainer": container}),
    }
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Resources": {
            name: {"Type": kind, "Properties": properties} for name, (kind, properties) in resources.items()
        },
    }


def unseen(findings: Iterable[Finding]) -> list[str]:
    """The rules of the ten that were not found in the faulty template."""
    found = {each.rule for each in findings if each.configuration == FAULTY}
    return sorted(WORST.keys() - found)
