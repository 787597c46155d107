"""Predict with the live model and log what was predicted; take the truth when it comes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dropforge.application.predict_refusals import (
    Refusal,
    invalid_shape,
    no_live_model,
    too_many,
    unknown_prediction,
)
from dropforge.domain.contract import Contract
from dropforge.domain.errors import ModelError
from dropforge.domain.instance_rules import InvalidInstances, listed, read_instances
from dropforge.domain.moments import iso
from dropforge.domain.predictions import (
    Label,
    OutcomeStatus,
    PredictionLog,
    PredictionRecord,
    id_time_ms,
    is_prediction_id,
    logged_inputs,
    prediction_id,
)
from dropforge.domain.serving import LiveModel, LiveModels, Scorer
from dropforge.domain.values import WrongValue, class_of

if TYPE_CHECKING:
    from dropforge.application.predict_asynchronously import AsynchronousPredictions

MAXIMUM_INSTANCES = 500
MAXIMUM_LOGGED_BYTES = 300_000
"""Of one instance's inputs. A DynamoDB item takes 400 KB, with the output and the outcome.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html"""


@dataclass(frozen=True, slots=True)
class RequestStamp:
    """What names a request: its id, and when it came, in milliseconds since 1970-01-01 UTC."""

    request_id: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class PredictionService:
    """The use cases of the prediction API.

    Args:
        clock: a monotonic clock in seconds.
        later: what asks an asynchronous endpoint, made where there is one; None where there can't be.
    """

    models: LiveModels
    scorer: Scorer
    log: PredictionLog
    clock: Callable[[], float]
    later: Callable[[], AsynchronousPredictions] | None = None

    def predict(self, instances: Sequence[Any], stamp: RequestStamp) -> dict[str, Any]:
        """Predict 1 to 500 instances, log all of them, and return ids and predictions in the same order.

        The same stamp gives the same ids, so a request that is handled twice is logged once. An asynchronous
        endpoint answers later: what is returned has the ids, the request's own among them, and ``status``.

        Raises:
            Refusal: the instances break the contract of the live model, or nothing is live.
            ModelError, ServiceUnavailable: the endpoint or the log failed; nothing was answered.
        """
        if len(instances) > MAXIMUM_INSTANCES:
            raise too_many("instances", len(instances), MAXIMUM_INSTANCES)
        model = self._live_model()
        if model.live.is_asynchronous and self.later is not None:
            return self._queued(self.later(), model, instances, stamp)
        model, kept, predictions, latency_ms = self._asked(model, instances)
        at = iso(datetime.fromtimestamp(stamp.at_ms / 1000, UTC))
        records = [
            PredictionRecord(
                prediction_id(stamp.at_ms, stamp.request_id, index),
                at,
                model.live.version,
                inputs,
                output,
                latency_ms,
            )
            for index, (inputs, output) in enumerate(zip(kept, predictions, strict=True))
        ]
        self.log.write(records)
        return {
            "predictions": [{"id": record.prediction_id, **record.output} for record in records],
            "model_version": model.live.version,
        }

    def predict_once(self, instances: Mapping[str, Any]) -> dict[str, PredictionRecord]:
        """Predict instances whose predictions have their ids already: each id keeps its first prediction.

        Args:
            instances: up to 500, by prediction id.

        Returns:
            What the log holds of each id, however often and by whomever it was asked for.

        Raises:
            Refusal: instances break the contract of the live model, or nothing is live. Its problems count
                the instances of `instances` that have no prediction yet, which are its ``names``.
            ModelError, ServiceUnavailable: the endpoint or the log failed.
        """
        found = self.log.find(list(instances))
        missing = [each for each in instances if each not in found]
        if not missing:
            return found
        try:
            model, kept, predictions, latency_ms = self._asked(
                self._live_model(), [instances[each] for each in missing]
            )
        except Refusal as refusal:
            refusal.names = tuple(missing)
            raise
        made = [
            PredictionRecord(
                each,
                iso(datetime.fromtimestamp(id_time_ms(each) / 1000, UTC)),
                model.live.version,
                inputs,
                output,
                latency_ms,
            )
            for each, inputs, output in zip(missing, kept, predictions, strict=True)
        ]
        return found | {record.prediction_id: record for record in self.log.write_once(made)}

    def find_prediction(self, identifier: str, now: datetime) -> dict[str, Any]:
        """Return a logged prediction, with its outcome where it is known; or a request's whole answer.

        Of an asynchronous endpoint, what isn't answered yet has ``status`` and nothing else.

        Raises:
            Refusal: there is none of that id, or no answer came in time.
            ModelError: the model failed on the request.
        """
        record = self.log.get(identifier)
        if record is None:
            if self.later is None:
                raise unknown_prediction()
            model = self.models.current()
            answer = self.later().result(identifier, None if model is None else model.live, now)
            record = self.log.get(identifier)
            if record is None and is_prediction_id(identifier) and "predictions" in answer:
                raise unknown_prediction()
            if record is None:
                return answer
        return {
            "id": record.prediction_id,
            "at": record.at,
            "model_version": record.model_version,
            "inputs": dict(record.inputs),
            "prediction": dict(record.output),
            "latency_ms": record.latency_ms,
            "outcome": record.outcome,
            "outcome_at": record.outcome_at,
        }

    def record_outcomes(self, outcomes: Sequence[Any], now: datetime) -> dict[str, Any]:
        """Record 1 to 500 outcomes, each ``{"id", "label"}``, or ``{"id", "value"}`` for a regression.

        All are checked before any is recorded. What the log then refuses (an id that it does not hold, an
        outcome that is there already) does not keep the others from being recorded.

        Raises:
            Refusal: one or more were not recorded; ``recorded`` in the answer says how many were.
        """
        if not outcomes:
            raise invalid_shape('{"outcomes": [...]} with at least one outcome')
        if len(outcomes) > MAXIMUM_INSTANCES:
            raise too_many("outcomes", len(outcomes), MAXIMUM_INSTANCES)
        labels = _labels(self._live_model().contract, outcomes)
        found = self.log.record_outcomes(labels, now=now)
        recorded = sum(status is OutcomeStatus.RECORDED for status in found.values())
        problems = [
            {"outcome": index, "id": identifier, "problem": _WHY[found[identifier]]}
            for index, identifier in enumerate(labels)
            if found[identifier] is not OutcomeStatus.RECORDED
        ]
        if not problems:
            return {"recorded": recorded}
        unknown = OutcomeStatus.UNKNOWN_PREDICTION in found.values()
        raise Refusal(
            404 if unknown else 409,
            "UnknownPrediction" if unknown else "OutcomeAlreadyRecorded",
            f"{len(problems)} of {len(labels)} outcomes were not recorded; {recorded} were.",
            problems,
            {"recorded": recorded},
        )

    def describe_model(self) -> dict[str, Any]:
        """Return the live version, what it takes and gives, and its metrics.

        Raises:
            Refusal: nothing is live.
        """
        model = self._live_model()
        live, contract = model.live, model.contract
        return {
            "model_version": live.version,
            "run_id": live.run_id,
            "promoted_at": live.promoted_at,
            "previous_version": live.previous_version,
            "task": contract.task,
            "target": contract.target,
            "classes": None if contract.classes is None else list(contract.classes),
            "metric": live.metric,
            "metrics": self.models.evaluation(live),
            "schema": contract.to_dict(),
        }

    def health(self) -> dict[str, Any]:
        """Return whether requests can be served: the ledger answers, and which version is live."""
        model = self.models.current()
        return {"status": "ok", "model_version": None if model is None else model.live.version}

    # --- inside ---------------------------------------------------------------------------------------

    def _queued(
        self, later: AsynchronousPredictions, model: LiveModel, instances: Sequence[Any], stamp: RequestStamp
    ) -> dict[str, Any]:
        try:
            kept, body = _question(model, instances)
        except InvalidInstances as refusal:
            newer = self._live_model(fresh=True)
            if newer.live.version == model.live.version:
                raise _invalid_instances(refusal) from refusal
            return self.predict(instances, stamp)
        return later.ask(model.live, kept, body, at_ms=stamp.at_ms, request=stamp.request_id)

    def _live_model(self, *, fresh: bool = False) -> LiveModel:
        model = self.models.current(fresh=fresh)
        if model is None:
            raise no_live_model()
        return model

    def _asked(
        self, model: LiveModel, instances: Sequence[Any]
    ) -> tuple[LiveModel, list[dict[str, Any]], list[dict[str, Any]], float]:
        """The model that answered, what is to be logged of each instance, its prediction, and the time taken.

        Raises:
            Refusal: the instances break the contract of the live model, or nothing is live.
        """
        started = self.clock()
        try:
            kept, predictions = self._ask(model, instances)
        except (InvalidInstances, _RefusedByModel) as refusal:
            # The model may have changed within the cache's few seconds.
            newer = self._live_model(fresh=True)
            if newer.live.version == model.live.version:
                raise _invalid_instances(refusal) from refusal
            model, started = newer, self.clock()
            try:
                kept, predictions = self._ask(model, instances)
            except (InvalidInstances, _RefusedByModel) as again:
                raise _invalid_instances(again) from again
        return model, kept, predictions, (self.clock() - started) * 1000

    def _ask(
        self, model: LiveModel, instances: Sequence[Any]
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """What is to be logged of each instance, and its prediction."""
        kept, body = _question(model, instances)
        try:
            answer = json.loads(self.scorer.invoke(model.live.endpoint_name, body))
        except ModelError as error:
            if error.status in (400, 422):
                raise _RefusedByModel(error.status, error.body) from error
            raise
        predictions = answer.get("predictions") if isinstance(answer, dict) else None
        if not isinstance(predictions, list) or len(predictions) != len(instances):
            raise ModelError(200, "the answer lacks one prediction per instance")
        return kept, predictions


def _question(model: LiveModel, instances: Sequence[Any]) -> tuple[list[dict[str, Any]], bytes]:
    """What is to be logged of each instance, and what the model is asked.

    Raises:
        InvalidInstances: they break the contract.
        Refusal: one of them is too large to be logged.
    """
    contract = model.contract
    # The model and the log get what the values mean: a model of an earlier release reads fewer spellings.
    read = read_instances(contract, instances)
    kept = [logged_inputs(contract, instance, model.salt) for instance in read]
    _check_size(kept)
    names = [column.name for column in contract.features]
    return kept, _request_body([{name: instance[name] for name in names} for instance in read])


class _RefusedByModel(Exception):
    """The container held the instances to another contract (400), or its estimator fails on them (422)."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(body)
        self.status = status


_WHY: Mapping[OutcomeStatus, str] = {
    OutcomeStatus.UNKNOWN_PREDICTION: "there is no prediction of this id; it never was, or has expired",
    OutcomeStatus.ALREADY_RECORDED: "this very outcome was recorded before; nothing is left to do",
    OutcomeStatus.CONFLICTING: "another outcome was recorded before; it stays",
}


def _invalid_instances(refusal: InvalidInstances | _RefusedByModel) -> Refusal:
    if isinstance(refusal, InvalidInstances):
        problems = [asdict(problem) for problem in refusal.problems]
    else:
        try:
            problems = list(json.loads(str(refusal))["error"]["problems"])
        except (ValueError, KeyError, TypeError):
            problems = [{"instance": None, "column": None, "problem": "the model refused the request"}]
        if refusal.status == 422:
            return Refusal(
                422,
                "UnscorableInstances",
                "The instances keep to the contract, and the live model's own code fails on them.",
                problems,
            )
    return Refusal(
        422,
        "InvalidInstances",
        "The request breaks the live model's contract; GET /model shows the schema.",
        problems,
    )


def _check_size(kept: Sequence[Mapping[str, Any]]) -> None:
    problems = [
        {
            "instance": index,
            "column": None,
            "problem": f"has {size} bytes of inputs; at most {MAXIMUM_LOGGED_BYTES} can be logged",
        }
        for index, inputs in enumerate(kept)
        if (size := len(json.dumps(inputs))) > MAXIMUM_LOGGED_BYTES
    ]
    if problems:
        raise Refusal(422, "InvalidInstances", "An instance is too large.", problems)


def _request_body(instances: Sequence[Mapping[str, Any]]) -> bytes:
    request = {"instances": instances}
    try:
        return json.dumps(request, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can escape and UTF-8 can't hold
        return json.dumps(request, separators=(",", ":")).encode()


def _labels(contract: Contract, outcomes: Sequence[Any]) -> dict[str, Label]:
    """The outcomes by prediction id, in the order given."""
    labels: dict[str, Label] = {}
    problems: list[dict[str, Any]] = []
    field = "label" if contract.classes is not None else "value"
    for index, outcome in enumerate(outcomes):
        label, found = _label_of(contract, field, outcome)
        if label is not None:
            known = labels.setdefault(outcome["id"], label)
            found = None if known == label else "another outcome of the same id is in this request"
        if found is not None:
            problems.append({"outcome": index, "id": _id_of(outcome), "problem": found})
    if problems:
        raise Refusal(
            422, "InvalidOutcomes", f"{len(problems)} of {len(outcomes)} outcomes are invalid.", problems
        )
    return labels


def _label_of(contract: Contract, field: str, outcome: Any) -> tuple[Label | None, str | None]:
    """What an outcome says of the target, read as in drops; or what is wrong with it."""
    wanted = f'must be {{"id": "<prediction id>", "{field}": …}}'
    if not isinstance(outcome, dict) or outcome.keys() != {"id", field} or not isinstance(outcome["id"], str):
        return None, wanted
    try:
        value = contract.reader(contract.target).read(outcome[field])
    except WrongValue as problem:
        return None, f"{field} {problem}"
    if contract.classes is None:
        return (None, "value must be a number") if value is None else (float(value), None)
    label = class_of(value)
    if label not in contract.classes:
        return None, f"label must be one of the classes {listed(contract.classes)}"
    return label, None


def _id_of(outcome: Any) -> str | None:
    identifier = outcome.get("id") if isinstance(outcome, dict) else None
    return identifier if isinstance(identifier, str) else None
