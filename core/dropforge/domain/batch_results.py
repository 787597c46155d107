"""The rows of a batch's result: an id and what the model answered, as CSV or JSON lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from dropforge.domain.batch import RowId, TableForm
from dropforge.domain.errors import InvalidBatchOutput

_PROBABILITY = "probability_"
_REMEDY = "Drop the file again; if it comes back, compare the model's inference.py."


class ResultRows:
    """Writes result rows in the form of the file that was dropped.

    CSV has the columns ``id``, ``label`` and ``probability_<class>`` of each class, or ``id`` and ``value``
    for a regression; JSON lines have ``id`` beside the members of a prediction.

    Args:
        classes: the contract's, None for a regression.

    Example:
        >>> rows = ResultRows(TableForm("csv"), None)
        >>> rows.header() + rows.lines([7, 8], [{"value": 0.5}, {"value": 1.0}])
        b'id,value\\n7,0.5\\n8,1.0\\n'
    """

    def __init__(self, form: TableForm, classes: Sequence[str] | None) -> None:
        self._form, self._classes = form, classes

    @property
    def columns(self) -> list[str]:
        """The names of a CSV result's columns."""
        if self._classes is None:
            return ["id", "value"]
        return ["id", "label", *(f"{_PROBABILITY}{label}" for label in self._classes)]

    def header(self) -> bytes:
        """What stands before the first row."""
        return self._csv([self.columns]) if self._form.format == "csv" else b""

    def lines(self, ids: Sequence[RowId], predictions: Sequence[Mapping[str, Any]]) -> bytes:
        """The rows of one request's answer.

        Raises:
            InvalidBatchOutput: a prediction is none of this model's task.
        """
        if self._form.format == "json":
            pairs = zip(ids, predictions, strict=True)
            rows = [json.dumps({"id": name, **each}, ensure_ascii=False) for name, each in pairs]
            return "".join(f"{row}\n" for row in rows).encode()
        try:
            return self._csv([name, *self._values(each)] for name, each in zip(ids, predictions, strict=True))
        except (KeyError, TypeError) as error:
            raise InvalidBatchOutput(f"The model's answer holds a prediction without {error}.") from error

    def _values(self, prediction: Mapping[str, Any]) -> list[Any]:
        if self._classes is None:
            return [prediction["value"]]
        probabilities = prediction["probabilities"]
        return [prediction["label"], *(probabilities[label] for label in self._classes)]

    def _csv(self, rows: Any) -> bytes:
        text = io.StringIO()
        csv.writer(text, delimiter=self._form.delimiter, lineterminator="\n").writerows(rows)
        return text.getvalue().encode()


def predictions_of_answer(line: bytes, expected: int, where: str) -> list[dict[str, Any]]:
    """Read one line of the transform job's output: the answer to one request.

    Raises:
        InvalidBatchOutput: it is no such answer, or has not one prediction for each row.
    """
    try:
        predictions = json.loads(line)["predictions"]
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidBatchOutput(
            f"{where} is no answer of the serving contract: {error!r}. {_REMEDY}"
        ) from error
    if not isinstance(predictions, list) or len(predictions) != expected:
        found = len(predictions) if isinstance(predictions, list) else "no list of"
        raise InvalidBatchOutput(f"{where} has {found} predictions for {expected} rows. {_REMEDY}")
    return predictions
