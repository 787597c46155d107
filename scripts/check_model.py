"""Try training/model.py on a tiny table before it is deployed to an environment of samconfig.toml.

python scripts/check_model.py dev [Name=value …]

The table has the columns of the environment's pinned contract, where there is one and AWS can be asked.
"""

from __future__ import annotations

import sys
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from dropforge_ops.actions.model_check import check_model, pinned_contract
from dropforge_ops.errors import OperationFailed
from dropforge_ops.stack.environments import CONFIG, environment_parameters, stack_of

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    try:
        environment, *given = sys.argv[1:]
        parameters = environment_parameters(environment, given, ROOT / CONFIG)
        stack = stack_of(environment, ROOT / CONFIG)
    except ValueError as error:
        print(error if len(sys.argv) > 1 else __doc__, file=sys.stderr)
        return 2
    try:
        session = boto3.Session()
        contract = pinned_contract(session.client("cloudformation"), session.client("s3"), stack)
    except (BotoCoreError, ClientError) as error:
        print(f"The pinned contract can't be read, so columns are made up: {error}", file=sys.stderr)
        contract = None
    try:
        check_model(ROOT, contract=contract, parameters=parameters)
    except OperationFailed as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
