"""What a forked host runs: ``python -m dropforge_local.glue``, with its libraries loaded already."""

from __future__ import annotations

import sys

from dropforge_local.glue import lambda_bootstrap
from dropforge_local.glue.launcher import run
from dropforge_local.settings import HostSettings

die_with = lambda_bootstrap.die_with
"""The fork server ends with the tests' process; hosts notice by themselves."""
_SERVICES = (
    "apigateway",
    "cloudformation",
    "cloudwatch",
    "dynamodb",
    "events",
    "iam",
    "kms",
    "lambda",
    "logs",
    "s3",
    "sagemaker",
    "sagemaker-runtime",
    "scheduler",
    "sns",
    "sqs",
    "ssm",
    "stepfunctions",
    "sts",
)
"""Whose descriptions MiniStack reads to answer, a host after the other."""


def load_ahead() -> None:
    """Read them once for all hosts."""
    lambda_bootstrap.load_ahead(_SERVICES)


if __name__ == "__main__":
    run(HostSettings.from_json(sys.argv[1]))
