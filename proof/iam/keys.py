"""What follows from a customer's key: whoever may use data that it encrypts needs the key as well.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html,
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/encryption.usagenotes.html,
https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html,
https://docs.aws.amazon.com/lambda/latest/dg/security-encryption-at-rest.html,
https://docs.aws.amazon.com/sagemaker/latest/dg/api-permissions-reference.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dropforge_local.permissions import Permission
from proof.iam.intrinsics import REGION

_DECRYPT, _DATA_KEY = "kms:Decrypt", "kms:GenerateDataKey"
# By action of a service whose data are encrypted, what the key is asked for through that service.
_THROUGH = {
    "s3:GetObject": (_DECRYPT,),
    "s3:GetObjectVersion": (_DECRYPT,),
    "s3:PutObject": (_DATA_KEY, _DECRYPT),  # an upload in parts reads what it has written
    "sns:Publish": (_DATA_KEY, _DECRYPT),
    "sqs:SendMessage": (_DATA_KEY, _DECRYPT),
}
_VOLUME_MEMBERS = ("VolumeKmsKeyId", "KmsKeyId")


def data_key_permissions(actions: Iterable[str], key: str) -> Iterator[Permission]:
    """What a role needs of the key, by what it does with data that the key encrypts."""
    for action in sorted(set(actions)):
        service = action.partition(":")[0]
        asked = (_DECRYPT,) if service == "dynamodb" else _THROUGH.get(action, ())
        for each in asked:
            yield Permission(each, key, {"kms:ViaService": f"{service}.{REGION}.amazonaws.com"})


def environment_permission(function_arn: str, key: str) -> Permission:
    """What a function needs to read its own environment."""
    return Permission(_DECRYPT, key, {"kms:EncryptionContext:aws:lambda:FunctionArn": function_arn})


def volume_permissions(request: Any) -> Iterator[Permission]:
    """What a request to SageMaker needs of the keys that it names, of who makes it and of the job's role."""
    for key in sorted(set(_keys(request))):
        yield Permission("kms:DescribeKey", key)
        yield Permission("kms:CreateGrant", key, {"kms:GrantIsForAWSResource": "true"})


def result_permissions(request: Any) -> Iterator[Permission]:
    """What the job's role needs of the keys beside that, to encrypt what the job leaves."""
    for key in sorted(set(_keys(request))):
        yield Permission("kms:Encrypt", key)


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, each in value.items():
            if name in _VOLUME_MEMBERS and each:
                yield each
            yield from _keys(each)
    elif isinstance(value, list):
        for each in value:
            yield from _keys(each)
