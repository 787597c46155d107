"""Reads what watching found: ``monitoring/<yyyy>/<mm>/<dd>/<hh>/report.json``, a document per window."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

from dropforge.domain.figures import figure, told_apart
from dropforge_ops.errors import OperationFailed
from dropforge_ops.stack.documents import Document, Documents

PREFIX = "monitoring/"
FORMAT = 1
# As many as boto3's connection pool holds.
_READERS = 10


BIASED_OUTCOMES = (
    "Predictions with an outcome are scored unlike the others, so this speaks for such predictions alone."
)


def estimate_in_words(estimated: Mapping[str, Any]) -> str:
    """What the metric is likely to be, before outcomes are known, and what that can't say.

    >>> estimate_in_words({"metric": "auc", "refused": "there are 9 predictions, 50 are needed"})
    'Before outcomes auc is not estimated: there are 9 predictions, 50 are needed.'
    """
    metric = estimated["metric"]
    if estimated["refused"]:
        return f"Before outcomes {metric} is not estimated: {estimated['refused']}."
    found, shifted, check = (estimated[name] for name in ("estimate", "if_label_shift", "check"))
    value, low, high = told_apart(found["value"], found["low"], found["high"])
    known = estimated["known_outcomes"]
    words = [
        f"Before outcomes {metric} is estimated as {value} ({low} to {high})"
        f"{f', with the {known:,} outcomes that are known' if known else ''}."
    ]
    if shifted:
        words.append(
            "Predictions look as they would if outcomes had become more or less frequent; then it would be "
            f"{told_apart(shifted['value'], found['value'])[0]}, and the interval covers both."
        )
    if check:
        words.append(
            f"On the {check['rows']:,} known outcomes it is {figure(check['value'])}, where "
            f"{figure(check['estimated']['low'])} to {figure(check['estimated']['high'])} had been estimated."
        )
    words.append("That equal rows have other outcomes than in training can't be seen without outcomes.")
    return " ".join(words)


def phase_in_words(phase: Mapping[str, Any] | None) -> str | None:
    """The phase that a window is in; None where it has none, or was watched before there were phases."""
    return None if phase is None else str(phase["name"])


def compared_in_words(phase: Mapping[str, Any]) -> str:
    """With what a window was compared, why, and what that may hide.

    >>> compared_in_words({"compared_with": "training", "why": "no phase yet: too early", "may_hide": None})
    'all of the training rows; no phase yet: too early'
    """
    what = {
        "training": "all of the training rows",
        "training_phase": "the same phase in training",
        "past": "training as it would be in this phase",
    }[phase["compared_with"]]
    hidden = phase.get("may_hide")
    bound = (
        ""
        if not hidden
        else f". What this may hide moves no column farther from training than {hidden['distance']:.3f} of 1 "
        f"({hidden['column']})"
    )
    return f"{what}; {phase['why']}{bound}"


class WatchReports:
    """The reports of one stack, by their windows. A report is a function of its window, so none ever changes
    but by watching the same window again."""

    def __init__(self, s3: Any, bucket: str, documents: Documents) -> None:
        self._s3, self._bucket, self._documents = s3, bucket, documents

    def newest(self, limit: int) -> list[Document]:
        """The reports of the newest windows, the newest first; fewer where there are fewer.

        Raises:
            OperationFailed: one is damaged, or of another format.
        """
        uris = list(islice(self.uris(), limit))
        with ThreadPoolExecutor(_READERS) as readers:
            return [each for each in readers.map(self._read, uris) if each is not None]

    def uris(self) -> Iterator[str]:
        """Every report's URI, the newest window first; S3 is asked for an hour only when it is reached."""
        for key in self._newest_first(PREFIX, levels=4):
            yield f"s3://{self._bucket}/{key}"

    def _newest_first(self, prefix: str, levels: int) -> Iterator[str]:
        if levels == 0:
            # The window that begins with the hour is report.json, later ones report-<mmss>.json.
            keys = [each["Key"] for page in self._pages(prefix) for each in page.get("Contents", [])]
            reports = [key for key in keys if key.rpartition("/")[2].startswith("report")]
            yield from sorted(reports, key=lambda key: key.replace("report.json", "report-0000.json"))[::-1]
            return
        folders = [
            each["Prefix"] for page in self._pages(prefix, "/") for each in page.get("CommonPrefixes", [])
        ]
        # Beside the years lie notes on files and phases.
        folders = [folder for folder in folders if folder[:-1].rpartition("/")[2].isdigit()]
        for folder in sorted(folders, reverse=True):
            yield from self._newest_first(folder, levels - 1)

    def _pages(self, prefix: str, delimiter: str = "") -> Any:
        return self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=prefix, Delimiter=delimiter
        )

    def _read(self, uri: str) -> Document | None:
        found = self._documents.find(uri)
        if found is not None and found.content.get("format") != FORMAT:
            raise OperationFailed(
                f"{uri} has format {found.content.get('format')!r}, and this dropforge reads {FORMAT}: use "
                "the version of dropforge that the stack was deployed from."
            )
        return found
