"""Asks the live endpoint: rows typed by the live model's contract, answers and problems read back."""

from __future__ import annotations

import csv
import io
import json
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from dropforge.domain.asynchronous import PREFIX
from dropforge.domain.contract import Contract
from dropforge.domain.ports import ObjectRef
from dropforge.domain.records import Live
from dropforge.domain.values import BLANKS, WrongValue, json_of
from dropforge.ledger_table.reader import LedgerReader
from dropforge_ops.errors import NotFound, OperationFailed, UsageError, code_of, message_of
from dropforge_ops.stack.documents import Documents
from dropforge_ops.stack.target import Target

# InvokeEndpoint of a serverless endpoint takes 4 MB:
# https://docs.aws.amazon.com/sagemaker/latest/dg/serverless-endpoints.html
_REQUEST_BYTES = 4_000_000
ANSWER_S = 900.0
"""How long an asynchronous endpoint is waited for: it may have to start an instance."""


@dataclass(frozen=True)
class LiveModel:
    """What serves now, and the contract that its requests are held to."""

    live: Live
    contract: Contract


class RequestRefused(UsageError):
    """The endpoint found problems in the rows; ``problems`` names each."""

    def __init__(self, problems: list[dict[str, Any]]) -> None:
        self.problems = problems
        lines = "\n".join(f"  {describe_problem(each)}" for each in problems)
        super().__init__(f"The model refuses the rows:\n{lines}", problems=problems)


def live_model(ledger: LedgerReader, documents: Documents) -> LiveModel:
    """What serves now.

    Raises:
        NotFound: nothing does, or its contract is gone.
    """
    live = ledger.live()
    if live is None:
        raise NotFound(
            "No model is live yet. Drop a file with 'dropforge drop FILE --wait', then approve what it "
            "trained with 'dropforge approve latest --wait'."
        )
    text = documents.bytes_of(live.contract_uri)
    if text is None:
        raise NotFound(f"{live.contract_uri}, the live model's contract, is gone. Restore its version in S3.")
    return LiveModel(live, Contract.from_json(text))


def parse_row(text: str, contract: Contract) -> dict[str, Any]:
    """Read ``column=value,column=value`` (CSV quoting where a name or value holds a comma), or a JSON object.

    Raises:
        UsageError: a part has no ``=``, or a column stands twice.
    """
    if text.lstrip().startswith("{"):
        return json_object(text, "--row")
    row: dict[str, Any] = {}
    for part in next(csv.reader([text], skipinitialspace=True), []):
        name, separator, value = part.partition("=")
        if not separator:
            raise UsageError(
                f"--row: {part!r} has no '='. Write --row 'column=value,column=value'. Where a value holds a "
                """comma, give JSON: --row '{"column": "one, two", "other": 3}'."""
            )
        if name.strip() in row:
            raise UsageError(f"--row: the column {name.strip()!r} stands twice.")
        row[name.strip()] = typed(contract, name.strip(), value)
    return row


def parse_rows(text: str, kind: str, contract: Contract) -> list[dict[str, Any]]:
    """Read CSV with a header, or JSON lines. The target, if it stands there, is left out.

    Raises:
        UsageError: the text is neither, names a column twice, or a line has too many fields.
    """
    if kind == "jsonl":
        rows = [
            json_object(line, f"line {number}")
            for number, line in enumerate(text.splitlines(), start=1)
            if line.strip()
        ]
    else:
        rows = _csv_rows(text, contract)
    for row in rows:
        row.pop(contract.target, None)
    return rows


def parse_truths(text: str, kind: str, contract: Contract) -> list[str | float | None]:
    """Read the target of each row of CSV with a header, or of JSON lines; None where it is missing.

    Raises:
        UsageError: the text is neither, or a target is none of the contract's.
    """
    if kind == "jsonl":
        lines = enumerate(text.splitlines(), start=1)
        rows = [json_object(line, f"line {number}") for number, line in lines if line.strip()]
    else:
        rows = _csv_rows(text, contract)
    return [_truth(row.get(contract.target), number, contract) for number, row in enumerate(rows, start=1)]


def _truth(value: Any, number: int, contract: Contract) -> str | float | None:
    if value is None:
        return None
    if contract.classes is not None:
        label = str(value).lower() if isinstance(value, bool) else str(value)
        if label not in contract.classes:
            raise UsageError(
                f"row {number}: {contract.target!r} is {value!r}, none of {', '.join(contract.classes)}."
            )
        return label
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise UsageError(f"row {number}: {contract.target!r} is {value!r}, which is no number.") from error


def kind_of(name: str, text: str) -> str:
    """``jsonl`` or ``csv``: by the file's name, or where that says nothing by the first character."""
    if name.lower().endswith((".jsonl", ".ndjson", ".json")):
        return "jsonl"
    if name.lower().endswith(".csv"):
        return "csv"
    return "jsonl" if text.lstrip().startswith("{") else "csv"


def typed(contract: Contract, name: str, text: str) -> Any:
    """What a text means in its column, as JSON; what can't be read stays text, which the model refuses."""
    if not contract.has_column(name):
        return text.strip(BLANKS) or None
    try:
        return json_of(contract.column(name), contract.reader(name).read(text))
    except WrongValue:
        return text


def sample_rows(live: Live, documents: Documents, count: int) -> list[dict[str, Any]]:
    """The first rows of the hold-out that were kept with the live model.

    Raises:
        NotFound: they are gone.
        UsageError: there are fewer.
    """
    smoke = documents.find(live.smoke_uri)
    if smoke is None:
        raise NotFound(f"{live.smoke_uri}, the live model's sample rows, is gone. Restore its version in S3.")
    rows: list[dict[str, Any]] = smoke.content["instances"]
    if count > len(rows):
        raise UsageError(f"--sample-rows {count}: {live.smoke_uri} holds {len(rows)} rows.")
    return rows[:count]


def predict(runtime: Any, endpoint: str, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The endpoint's predictions, one per row.

    Raises:
        RequestRefused: rows break the contract.
        UsageError: no rows, or more than one request takes.
        OperationFailed: the model or the endpoint failed.
    """
    instances = list(rows)
    if not instances:
        raise UsageError("There are no rows to predict.")
    body = json.dumps({"instances": instances}, ensure_ascii=False).encode()
    if len(body) > _REQUEST_BYTES:
        raise UsageError(
            f"{len(instances)} rows make a request of {len(body)} bytes; a serverless endpoint takes "
            f"{_REQUEST_BYTES}. Send fewer at a time."
        )
    try:
        answer = runtime.invoke_endpoint(
            EndpointName=endpoint, Body=body, ContentType="application/json", Accept="application/json"
        )
    except ClientError as error:
        raise _failure(error, endpoint) from error
    predictions: list[dict[str, Any]] = json.loads(answer["Body"].read())["predictions"]
    return predictions


def predict_live(target: Target, live: Live, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The live endpoint's predictions, one per row; of an asynchronous one once it has answered.

    Raises:
        OperationFailed: an asynchronous endpoint failed, or has not answered within `ANSWER_S` seconds.
        RequestRefused, UsageError: see `predict`.
    """
    runtime = target.client("sagemaker-runtime")
    if not live.is_asynchronous:
        return predict(runtime, live.endpoint_name, rows)
    name, s3, instances = f"asked-{uuid.uuid4().hex}", target.client("s3"), list(rows)
    if not instances:
        raise UsageError("There are no rows to predict.")
    key = f"{PREFIX}/in/{name}.json"
    s3.put_object(Bucket=target.bucket, Key=key, Body=json.dumps({"instances": instances}).encode())
    try:
        asked = runtime.invoke_endpoint_async(
            EndpointName=live.endpoint_name,
            InputLocation=f"s3://{target.bucket}/{key}",
            ContentType="application/json",
            Accept="application/json",
            S3OutputPathExtension="asked",
        )
    except ClientError as error:
        raise _failure(error, live.endpoint_name) from error
    places = [asked["OutputLocation"], asked["FailureLocation"]]
    if not until(lambda: any(_read(s3, each) for each in places), target.poll_s):
        raise OperationFailed(
            f"{live.endpoint_name} has not answered within {ANSWER_S / 60:.0f} minutes; it may be starting."
        )
    answer = _read(s3, places[0])
    if answer is None:
        failure = (_read(s3, places[1]) or b"").decode()
        raise OperationFailed(f"The model behind {live.endpoint_name} failed: {failure}")
    predictions: list[dict[str, Any]] = json.loads(answer)["predictions"]
    return predictions


def until(look: Callable[[], bool], poll_s: float) -> bool:
    """Look again until it is so; whether it was within `ANSWER_S` seconds."""
    deadline = time.monotonic() + ANSWER_S
    while not look():
        if time.monotonic() >= deadline:
            return False
        time.sleep(poll_s)
    return True


def _read(s3: Any, uri: str) -> bytes | None:
    ref = ObjectRef.from_uri(uri)
    try:
        content: bytes = s3.get_object(Bucket=ref.bucket, Key=ref.key)["Body"].read()
    except ClientError as error:
        if code_of(error) in ("NoSuchKey", "404"):
            return None
        raise
    return content


def describe_problem(problem: Mapping[str, Any]) -> str:
    """One problem in a line. Rows count from 1 for people.

    >>> describe_problem({"instance": 0, "column": "age", "problem": "is missing"})
    "row 1, column 'age': is missing"
    """
    where = []
    if problem.get("instance") is not None:
        where.append(f"row {problem['instance'] + 1}")
    if problem.get("column") is not None:
        where.append(f"column {problem['column']!r}")
    return f"{', '.join(where)}: {problem['problem']}" if where else str(problem["problem"])


def _failure(error: ClientError, endpoint: str) -> Exception:
    if code_of(error) == "ModelError":
        original = str(error.response.get("OriginalMessage") or "")
        try:
            problems = json.loads(original)["error"]["problems"]
        except (ValueError, KeyError, TypeError):
            problems = None
        if isinstance(problems, list) and error.response.get("OriginalStatusCode") in (400, 422):
            return RequestRefused(problems)
        return OperationFailed(
            f"The model behind {endpoint} failed with status {error.response.get('OriginalStatusCode')}: "
            f"{original or message_of(error)}"
        )
    if code_of(error) in ("ValidationError", "ValidationException") and "not found" in message_of(error):
        return NotFound(
            f"The endpoint {endpoint} isn't there: {message_of(error).rstrip('.')}. Where it sleeps, "
            "'dropforge wake --wait' brings it back; else a repair does, at most a quarter of an hour later."
        )
    return error


def json_object(text: str, where: str) -> dict[str, Any]:
    """The object that a text is.

    Raises:
        UsageError: it is none; the message says where it stands.
    """
    try:
        row = json.loads(text)
    except ValueError as error:
        raise UsageError(f"{where} is no JSON: {error}.") from error
    if not isinstance(row, dict):
        raise UsageError(f"{where} is no JSON object with a member per column.")
    return row


def _csv_rows(text: str, contract: Contract) -> list[dict[str, Any]]:
    try:
        lines = [
            line for line in csv.reader(io.StringIO(text.lstrip("\ufeff"), newline=""), strict=True) if line
        ]
    except csv.Error as error:
        raise UsageError(f"The rows are no CSV: {error}.") from error
    if not lines:
        raise UsageError("The rows' file is empty; it needs a header with the columns' names.")
    header = lines[0]
    if len(set(header)) < len(header):
        raise UsageError(f"The header names a column twice: {', '.join(header)}.")
    for number, line in enumerate(lines[1:], start=1):
        if len(line) != len(header):
            raise UsageError(f"Row {number} has {len(line)} fields where the header has {len(header)}.")
    return [
        {name: typed(contract, name, value) for name, value in zip(header, line, strict=True)}
        for line in lines[1:]
    ]
