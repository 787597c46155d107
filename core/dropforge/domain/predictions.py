"""The prediction log: what was asked and answered, and what turned out to be true.

A prediction's id says where it stands: its first eleven hexadecimal digits are the time in milliseconds, the
twelfth picks the shard, the rest tells predictions of one millisecond apart. So ids sort by time, an outcome
finds its prediction from the id alone, and a time window is a known set of partitions that are read at once.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, Protocol

from dropforge.domain.contract import Column, Contract

SHARDS: Final = 8
"""Partitions per hour. A DynamoDB partition takes 1,000 writes a second, so the log takes 8,000.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html"""

BUCKET_MS: Final = 3_600_000
_TIME_DIGITS = 11
_ID = re.compile(r"[0-9a-f]{32}")

Label = str | float
"""An outcome: a class of the contract, or for a regression the true value."""


@dataclass(frozen=True, slots=True)
class PredictionRecord:
    """One logged prediction.

    Attributes:
        prediction_id: see `prediction_id`.
        at: when it was asked for, ISO 8601 in UTC with milliseconds.
        model_version: the version that was live.
        inputs: JSON values by column, after `logged_inputs`; a column that was dropped is not there.
        output: ``{"label", "probabilities"}`` or ``{"value"}``, as the endpoint answered.
        latency_ms: how long the endpoint took, for the whole request that this record was part of.
        outcome, outcome_at: the truth and when it was reported; None while it is unknown.
    """

    prediction_id: str
    at: str
    model_version: int
    inputs: Mapping[str, Any]
    output: Mapping[str, Any]
    latency_ms: float
    outcome: Label | None = None
    outcome_at: str | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """The predictions with ``start <= at < end``, oldest first, as columns of equal length.

    Attributes:
        columns: JSON values by column name; None where a record has no value there.
        outputs: one per prediction, as in `PredictionRecord`.
        outcomes: the truth, None where it is not known (yet).
        is_sample: whether these are only some of the predictions, each as likely to be here as any other.
    """

    start: datetime
    end: datetime
    ids: list[str] = field(default_factory=list)
    at: list[str] = field(default_factory=list)
    model_versions: list[int] = field(default_factory=list)
    columns: dict[str, list[Any]] = field(default_factory=dict)
    outputs: list[Mapping[str, Any]] = field(default_factory=list)
    outcomes: list[Label | None] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)
    is_sample: bool = False

    def __len__(self) -> int:
        return len(self.ids)


class OutcomeStatus(StrEnum):
    """What became of a reported outcome. Only `RECORDED` changed anything."""

    RECORDED = "recorded"
    ALREADY_RECORDED = "already_recorded"
    CONFLICTING = "conflicting"
    UNKNOWN_PREDICTION = "unknown_prediction"


class PredictionLog(Protocol):
    """The log. Every method is safe to call twice with the same arguments."""

    def write(self, records: Sequence[PredictionRecord]) -> None:
        """Log all of the records; when this returns, every one of them is stored.

        Raises:
            ServiceUnavailable: some could not be stored after retries.
        """
        ...

    def write_once(self, records: Sequence[PredictionRecord]) -> list[PredictionRecord]:
        """Log each record unless there is one of its id; returns what is stored of each, in order."""
        ...

    def find(self, prediction_ids: Sequence[str]) -> dict[str, PredictionRecord]:
        """Those of the predictions that there are, by id."""
        ...

    def get(self, prediction_id: str) -> PredictionRecord | None:
        """The prediction with its outcome, or None where there is none (or it has expired)."""
        ...

    def record_outcomes(self, outcomes: Mapping[str, Label], *, now: datetime) -> dict[str, OutcomeStatus]:
        """Note the truth by prediction id. What is recorded is never overwritten.

        Returns:
            What became of each, by prediction id.
        """
        ...

    def window(
        self,
        start: datetime,
        end: datetime,
        *,
        model_version: int | None = None,
        at_most: int | None = None,
    ) -> Window:
        """Read the predictions with ``start <= at < end``, of one version or of all, oldest first.

        Of more than ``at_most`` a random sample is read, the same for the same predictions: about that many
        of them are ever in memory, and where a part of the table gives enough, the rest is not read.
        """
        ...

    def labelled(
        self, start: datetime, end: datetime, *, since: datetime, until: datetime
    ) -> Iterator[PredictionRecord]:
        """Yield predictions with ``start <= at < end`` and ``since <= outcome_at < until``, the oldest first.

        A day of them at most is in memory at once.
        """
        ...


# --- where a prediction stands --------------------------------------------------------------------------


def prediction_id(at_ms: int, request_id: str, index: int) -> str:
    """Return the id of a request's record: the same request and index give the same id.

    >>> prediction_id(1_795_251_600_000, "52fdfc07", 0)
    '1a1fd557a80e8dd397a9bfced9830a1e'
    """
    digest = hashlib.sha256(f"{request_id}/{index}".encode()).hexdigest()
    return f"{at_ms:0{_TIME_DIGITS}x}{digest[: 32 - _TIME_DIGITS]}"


def is_prediction_id(text: str) -> bool:
    """Whether the text has the form of an id; only the log knows whether there is such a prediction."""
    return _ID.fullmatch(text) is not None


def id_time_ms(identifier: str) -> int:
    """Return when the prediction was asked for, in milliseconds since 1970-01-01 UTC."""
    return int(identifier[:_TIME_DIGITS], 16)


def partition_of(identifier: str) -> str:
    """Return the partition that holds the prediction: its hour and its shard."""
    return _partition(id_time_ms(identifier) // BUCKET_MS, int(identifier[_TIME_DIGITS], 16) % SHARDS)


def partitions(start: datetime, end: datetime) -> list[str]:
    """Return every partition that may hold a prediction with ``start <= at < end``, the oldest first."""
    first, last = epoch_ms(start), epoch_ms(end) - 1
    return [
        _partition(bucket, shard)
        for bucket in range(first // BUCKET_MS, last // BUCKET_MS + 1)
        for shard in range(SHARDS)
    ]


def sampling_rank(identifier: str) -> int:
    """Return a number below 2**32 that is uniform over predictions and says nothing else about one.

    >>> sampling_rank("1a1fd557a80e8dd397a9bfced9830a1e") < 2**32
    True
    """
    # Neither the time nor the shard's digit: the end of the digest that tells requests apart.
    return int(identifier[-8:], 16)


def lower_bound(moment: datetime) -> str:
    """Return a text that sorts after every id before the moment, and before every other id."""
    return f"{epoch_ms(moment):0{_TIME_DIGITS}x}"


def epoch_ms(moment: datetime) -> int:
    """Return milliseconds since 1970-01-01 UTC, rounded down.

    >>> epoch_ms(datetime(2026, 11, 21, 9, tzinfo=UTC))
    1795251600000
    """
    whole = moment.astimezone(UTC).replace(microsecond=0)
    return int(whole.timestamp()) * 1000 + moment.microsecond // 1000


def _partition(bucket: int, shard: int) -> str:
    hour = datetime.fromtimestamp(bucket * BUCKET_MS / 1000, UTC)
    return f"{hour:%Y-%m-%dT%H}#{shard}"


# --- what may be kept of the inputs ---------------------------------------------------------------------


def logged_inputs(contract: Contract, instance: Mapping[str, Any], salt: bytes) -> dict[str, Any]:
    """Return what the log keeps of an instance: features and key, without what is private.

    A column with ``privacy: drop`` is left out; one with ``privacy: hash`` is replaced by `pseudonym`.
    Ignored columns are left out.
    """
    return {
        column.name: pseudonym(instance[column.name], salt)
        if column.privacy == "hash"
        else instance[column.name]
        for column in contract.columns
        if column.name in instance and _is_logged(column)
    }


def pseudonym(value: Any, salt: bytes) -> str | None:
    """Return a keyed digest (HMAC-SHA-256, 32 hexadecimal digits) of a JSON value; None stays None.

    Equal values have equal pseudonyms, so shares can be compared; without the salt a value can't be guessed
    by trying candidates. Text and category values are hashed as they stand, others as JSON.
    """
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value)
    return hmac.new(salt, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:32]


def needs_salt(contract: Contract) -> bool:
    """Whether any logged column is hashed."""
    return any(column.privacy == "hash" and _is_logged(column) for column in contract.columns)


def _is_logged(column: Column) -> bool:
    return column.role in ("feature", "key", "split", "guarded") and column.privacy != "drop"


# --- columns ---------------------------------------------------------------------------------------------


def window_of(
    start: datetime, end: datetime, records: Iterable[PredictionRecord], *, is_sample: bool = False
) -> Window:
    """Turn records into columns, oldest first."""
    window = Window(start, end, is_sample=is_sample)
    ordered = sorted(records, key=lambda record: record.prediction_id)
    names = list(dict.fromkeys(name for record in ordered for name in record.inputs))
    window.columns.update({name: [record.inputs.get(name) for record in ordered] for name in names})
    for record in ordered:
        window.ids.append(record.prediction_id)
        window.at.append(record.at)
        window.model_versions.append(record.model_version)
        window.outputs.append(record.output)
        window.outcomes.append(record.outcome)
        window.latencies_ms.append(record.latency_ms)
    return window
