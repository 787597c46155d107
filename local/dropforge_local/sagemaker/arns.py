"""Amazon resource names of the resources that the service holds."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dropforge_local.sagemaker.errors import validation

_ARN = re.compile(r"arn:(aws[a-z-]*):sagemaker:([a-z0-9-]*):([0-9]{12}):([a-z-]+)/(.+)")


@dataclass(frozen=True)
class Arns:
    """Builds and reads the names of one account and region."""

    account_id: str
    region: str

    @property
    def partition(self) -> str:
        """``aws``, ``aws-cn`` or ``aws-us-gov``, as the region has it."""
        if self.region.startswith("cn-"):
            return "aws-cn"
        return "aws-us-gov" if self.region.startswith("us-gov-") else "aws"

    def of(self, kind: str, name: str) -> str:
        """The ARN of a resource; SageMaker writes names lower-cased into ARNs."""
        return f"arn:{self.partition}:sagemaker:{self.region}:{self.account_id}:{kind}/{name.lower()}"

    def parse(self, arn: str) -> tuple[str, str]:
        """The kind and the (lower-cased) name that an ARN of this account and region names.

        Raises:
            ServiceError: the text is no SageMaker ARN, or one of another account or region.
        """
        match = _ARN.fullmatch(arn)
        if match is None:
            raise validation(f"Invalid ARN: {arn}")
        _, region, account, kind, name = match.groups()
        if (region, account) != (self.region, self.account_id):
            raise validation(
                f"The ARN {arn} is of account {account} in {region}; this host is account "
                f"{self.account_id} in {self.region}."
            )
        return kind, name
