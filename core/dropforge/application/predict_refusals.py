"""How the prediction API refuses: every way has a status, a type, a message and a list of problems."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dropforge.domain.errors import InvalidRequest


class Refusal(InvalidRequest):
    """A request that is answered with a 4xx.

    Args:
        status: the HTTP status.
        kind: ``error.type`` of the answer; part of the API's contract.
        problems: what is wrong, one by one, as JSON objects.
        beside: further members of the answer's body.

    Attributes:
        names: the instances that the problems count, where they have names.
    """

    names: tuple[str, ...] = ()

    def __init__(
        self,
        status: int,
        kind: str,
        message: str,
        problems: Iterable[Mapping[str, Any]] = (),
        beside: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.kind = status, kind
        self.problems = [dict(problem) for problem in problems]
        self.beside = dict(beside or {})


def unknown_caller(auth: str) -> Refusal:
    return Refusal(
        403,
        "UnknownCaller",
        f"Nothing tells whose request this is, and the API is for known callers only (ApiAuth is {auth}).",
    )


def malformed(reason: str) -> Refusal:
    return Refusal(400, "MalformedJson", f"The body is no JSON in UTF-8: {reason}.")


def invalid_shape(wanted: str) -> Refusal:
    return Refusal(422, "InvalidShape", f"The body must be {wanted}.")


def too_many(what: str, found: int, limit: int) -> Refusal:
    return Refusal(
        422, "TooMany", f"The request has {found} {what}; send at most {limit} at once, in several requests."
    )


def unknown_prediction() -> Refusal:
    return Refusal(
        404, "UnknownPrediction", "There is no prediction of this id; it never was, or has expired."
    )


def no_live_model() -> Refusal:
    return Refusal(
        409,
        "NoLiveModel",
        "No model is live yet. Drop data, wait for the training run, and approve its model.",
    )
