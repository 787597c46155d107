"""What a forked host runs: ``python -m dropforge_local.glue``, with its libraries loaded already."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from dropforge_local.glue import lambda_bootstrap
from dropforge_local.glue.launcher import run
from dropforge_local.settings import HostSettings

_PR_SET_PDEATHSIG = 1
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


def die_with(parent_pid: int) -> None:
    """Have the kernel end the fork server when the tests' process is gone; hosts notice by themselves."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it went before the line above
        os._exit(1)


if __name__ == "__main__":
    run(HostSettings.from_json(sys.argv[1]))
