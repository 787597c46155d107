"""DataProcessing of a transform job: what of a record the model gets, and what is stored with its answer.

https://docs.aws.amazon.com/sagemaker/latest/dg/batch-transform-data-processing.html
"""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from jsonpath_ng import Child, Fields, Index, JSONPath, Root, Slice, parse
from jsonpath_ng.exceptions import JSONPathError

from dropforge_local.sagemaker.errors import unsupported, validation

_CSV = ("text/csv",)
_JSON = ("application/json", "application/jsonlines")
_WHOLE = "$"


class FilterFailure(Exception):
    """A record can't be filtered or joined; the text is for the job's data log."""


class Processing:
    """The filters and the join of one job.

    Args:
        settings: ``DataProcessing``; empty for a job without.
        content_type, accept: those of the job's input and output.

    Raises:
        ServiceError: a filter is none that can be applied, or the types are neither CSV nor JSON.
    """

    def __init__(self, settings: dict[str, Any], content_type: str | None, accept: str | None) -> None:
        self._joins = settings.get("JoinSource", "None") == "Input"
        self._input = _filter(settings.get("InputFilter") or _WHOLE, "InputFilter")
        self._output = _filter(settings.get("OutputFilter") or _WHOLE, "OutputFilter")
        self._csv = _media_type(content_type) in _CSV
        self.changes_input = not isinstance(self._input, Root)
        self.changes_output = self._joins or not isinstance(self._output, Root)
        if self.changes_input or self.changes_output:
            self._check_types(content_type, accept)

    def _check_types(self, content_type: str | None, accept: str | None) -> None:
        types = _media_type(content_type), _media_type(accept) if accept else _media_type(content_type)
        if not any(set(types) <= set(known) for known in (_CSV, _JSON)):
            raise validation(
                "DataProcessing needs ContentType and Accept that are both text/csv, or both JSON or JSON "
                f"lines; they are {content_type} and {accept}."
            )

    def sent(self, record: bytes) -> bytes:
        """What of a record goes to the model.

        Raises:
            FilterFailure: the record is no CSV or JSON, or has nothing where the filter points.
        """
        if not self.changes_input:
            return record
        return self._written(_selected(self._input, self._read(record), "InputFilter"))

    def stored(self, record: bytes, answer: bytes) -> bytes:
        """What is stored for a record and the model's answer to it.

        Raises:
            FilterFailure: as for ``sent``.
        """
        if not self.changes_output:
            return answer
        output = self._read(answer)
        joined = self._joined(self._read(record), output) if self._joins else output
        return self._written(_selected(self._output, joined, "OutputFilter"))

    def _joined(self, given: Any, output: Any) -> Any:
        if self._csv:
            return [*given, *output]
        return (
            {**given, "SageMakerOutput": output}
            if isinstance(given, dict)
            else {"SageMakerInput": given, "SageMakerOutput": output}
        )

    def _read(self, text: bytes) -> Any:
        try:
            if self._csv:
                return next(csv.reader([text.decode().rstrip("\r\n")], strict=True), [])
            return json.loads(text)
        except (ValueError, csv.Error) as error:
            raise FilterFailure(
                f"Unable to parse data as {'CSV' if self._csv else 'JSON'}: {error}"
            ) from error

    def _written(self, value: Any) -> bytes:
        if not self._csv:
            return json.dumps(value, ensure_ascii=False).encode()
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow(value if isinstance(value, list) else [value])
        return line.getvalue().encode()


def _filter(text: str, member: str) -> JSONPath:
    try:
        path: JSONPath = parse(text)
    except (JSONPathError, ValueError) as error:
        raise unsupported(f"the JSONPath {text!r} in {member} ({error})") from error
    step = path
    while isinstance(step, Child) and isinstance(step.right, Fields | Index | Slice):
        step = step.left
    if not isinstance(step, Root):
        raise unsupported(f"the JSONPath {text!r} in {member}: after $, only names, indexes and slices")
    return path


def _selected(path: JSONPath, value: Any, member: str) -> Any:
    """One value for a name or an index; a list for indexes and slices; an object for several names."""
    found = path.find(value)
    last = path.right if isinstance(path, Child) else path
    if isinstance(last, Fields) and len(last.fields) > 1:
        if len(found) == len(last.fields):
            return dict(zip(last.fields, (match.value for match in found), strict=True))
    elif isinstance(last, Slice) or (isinstance(last, Index) and len(last.indices) > 1):
        if isinstance(last, Slice) or len(found) == len(last.indices):
            return [match.value for match in found]
    elif len(found) == 1:
        return found[0].value
    raise FilterFailure(f"{member} {path} finds nothing in a record")


def _media_type(text: str | None) -> str:
    return (text or "").partition(";")[0].strip().lower()
