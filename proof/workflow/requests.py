"""A task's evaluated Arguments as the request that AWS would check."""

from __future__ import annotations

import json
import re
from typing import Any

from botocore.exceptions import ParamValidationError
from botocore.validate import validate_parameters

from proof.workflow.operations import REMEDY, operation_of


class InvalidRequest(Exception):
    """AWS would refuse the request; the message says why."""


def check_request(resource: str, request: dict[str, Any]) -> None:
    """Check the request against the shape of its operation, and what botocore's models do not say.

    Raises:
        InvalidRequest, UnknownResource.
    """
    operation = operation_of(resource)
    shape = operation.input_shape
    refused = request.keys() - (operation.supported or request.keys())
    _insist(
        not refused,
        f"no published list of the optimised {operation.name} has {', '.join(sorted(refused))}; {REMEDY}",
    )
    if operation.name == "CreateTrainingJob":
        _insist(
            bool(re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", request["TrainingJobName"])),
            f"the name {request['TrainingJobName']!r} is no name of a job",
        )
        _insist(all(len(value) <= 512 for value in request["Environment"].values()), "a variable is too long")
    if operation.name == "Publish":
        # https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
        subject = request["Subject"]
        _insist(0 < len(subject) <= 100 and subject.isascii() and "\n" not in subject, f"subject {subject!r}")
    sent = _as_json(operation.service, request)
    if operation.service == "states":
        sent = {f"{name[0].lower()}{name[1:]}": value for name, value in sent.items()}
        _insist(bool(re.fullmatch(r"[\w-]{1,80}", sent.get("name", "x"))), f"name {sent.get('name')!r}")
    try:
        validate_parameters(sent, shape)
    except ParamValidationError as error:
        raise InvalidRequest(str(error)) from error
    unknown = sent.keys() - shape.members.keys()
    _insist(not unknown, f"{operation.name} has no {sorted(unknown)}")


def _as_json(service: str, request: dict[str, Any]) -> dict[str, Any]:
    """The members that Step Functions takes as JSON, as the text that it sends."""
    text = {"lambda": ("Payload",), "states": ("Input",), "sns": ("Message",)}.get(service, ())
    return {
        name: json.dumps(value) if name in text and not isinstance(value, str) else value
        for name, value in request.items()
    }


def _insist(holds: bool, message: str) -> None:
    if not holds:
        raise InvalidRequest(message)
