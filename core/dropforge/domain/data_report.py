"""What became of a run's data, told to whoever decides on the model: the one place that has the words.

The command line, the console, notifications and the registry show what stands here. The facts are the run's
``report.json``, its contract and its ``profile.json``; those of earlier releases lack some of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Protocol

from dropforge.domain.contract import MAXIMUM_CATEGORIES, NO_VALUES, Column, Contract
from dropforge.domain.errors import InvalidContract
from dropforge.domain.figures import percent
from dropforge.domain.format_words import format_in_words
from dropforge.domain.records import Live, ModelVersion

TITLE: Final = "What became of your data"

_ROLES: Final = {
    "feature": "learned from",
    "target": "predicted",
    "key": "identifies rows",
    "split": "decides on the split",
    "guarded": "makes guarded slices",
    "ignored": "not used",
}
_FAR_MISSING: Final = 0.05
_FAR_ROWS: Final = 0.01
"""Differences of shares that are worth a word: of missing values, and of rows that were left out."""
_SPELLINGS_SHOWN: Final = 5
_TOLD: Final = 8
"""Lines of one kind that a message has."""
_LONGEST_LINE: Final = 400
_NAMES_IN_METADATA: Final = 256
_NOT_IN_METADATA: Final = re.compile(r"[^\w .:/=+\-@]")
"""https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateModelPackage.html"""


class Versions(Protocol):
    """As much of the ledger as says which model is live."""

    def live(self) -> Live | None: ...

    def get_model(self, version: int) -> ModelVersion | None: ...


@dataclass(frozen=True, slots=True)
class ColumnReport:
    """What became of one column.

    Attributes:
        type, role, format, note: as in the contract.
        rows, missing: prepared rows, and those without a value; None where nobody counted.
        spellings: how often each text was read as missing.
        distinct: different values; of a category column only.
        rejected: rows that were rejected because of it.
        decides: whether it decides on this run's split; the contract keeps the role that it was pinned with.
    """

    name: str
    type: str
    role: str
    format: str | None = None
    note: str | None = None
    rows: int | None = None
    missing: int | None = None
    spellings: Mapping[str, int] = field(default_factory=dict)
    distinct: int | None = None
    rejected: int = 0
    encoding: str | None = None
    decides: bool = False

    @property
    def is_used(self) -> bool:
        return self.role != "ignored" and (self.role != "split" or self.decides)

    @property
    def is_left_out(self) -> bool:
        """Whether it has values, and nothing is done with them."""
        return not self.is_used and self.note != NO_VALUES

    @property
    def use(self) -> str:
        """What it is used for."""
        if not self.is_used:
            return _ROLES["ignored"]
        said = _ROLES.get(self.role, self.role)
        return f"{said}, {_ROLES['split']}" if self.decides and self.role != "split" else said

    @property
    def read_as(self) -> str:
        """What its values are taken for."""
        return format_in_words(self.type, self.format)

    @property
    def missing_share(self) -> float | None:
        if self.missing is None or not self.rows:
            return None
        return self.missing / self.rows

    @property
    def missing_in_words(self) -> str:
        """How many values are missing, and how they were written; empty where nobody counted."""
        spelled = sorted(self.spellings.items(), key=lambda each: (-each[1], each[0]))
        shown = [f"{text!r} {count:,}" for text, count in spelled[:_SPELLINGS_SHOWN]]
        if len(spelled) > len(shown):
            shown.append(f"{len(spelled) - len(shown)} more spellings")
        written = ", ".join(shown)
        share = self.missing_share
        if share is None:
            return f"written as {written}" if written else ""
        if not self.missing:
            return "none" if not written else f"none of the rows that were kept; written as {written}"
        return f"{self.missing:,} ({percent(share)})" + (f", written as {written}" if written else "")

    @property
    def remark(self) -> str:
        """Why it is not used; or what else there is to know of it. Empty where there is nothing."""
        if self.role == "split" and not self.decides:
            return (
                "it decided on the split until GroupColumn or SplitColumn was changed; give it the role "
                "feature in the contract to learn from it"
            )
        if not self.is_used:
            return self.note or "the contract says so"
        said = []
        if self.note and self.note != f"read as {self.format}":
            said.append(self.note)
        if self.type == "text" and self.role == "feature":
            said.append("learned from by its words, how long it is and how often it comes again")
        if self.type == "category" and self.role == "feature" and (self.distinct or 0) > MAXIMUM_CATEGORIES:
            others = (
                "all others count as one"
                if self.encoding is None
                else ("all are told by how often they occur and by the target of their rows")
            )
            said.append(
                f"{self.distinct:,} different values: the {MAXIMUM_CATEGORIES} most frequent ones are told "
                f"apart, {others}"
            )
        if self.rejected:
            said.append(f"{_rows(self.rejected)} rejected because of it")
        return "; ".join(said)

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "type": self.type,
            "role": self.role,
            "format": self.format,
            "use": self.use,
            "read_as": self.read_as,
            "rows": self.rows,
            "missing": self.missing,
            "spellings": dict(self.spellings),
            "distinct": self.distinct,
            "rejected": self.rejected,
            "remark": self.remark,
        }


@dataclass(frozen=True, slots=True)
class ObjectReport:
    """What became of the rows of one object; a count of None is not known."""

    source: str
    read: int | None = None
    rejected: int | None = None
    unlabelled: int | None = None
    duplicates: int | None = None
    remark: str = ""

    @property
    def name(self) -> str:
        """The object's key as people dropped it, without bucket and version."""
        key = self.source.partition("?versionId=")[0].removeprefix("s3://").partition("/")[2]
        return key.removeprefix("incoming/") or self.source


@dataclass(frozen=True)
class DataReport:
    """What became of the data of one run.

    Attributes:
        rows: read, kept, rejected, unlabelled and duplicates; those that are known.
        remarks: what people should know of these rows.
        splits: rows by split.
        differences: from the report of the live version, which ``compared_with`` names; see `beside`.
    """

    run_id: str
    rows: Mapping[str, int]
    objects: tuple[ObjectReport, ...]
    columns: tuple[ColumnReport, ...]
    remarks: tuple[str, ...] = ()
    splits: Mapping[str, int] = field(default_factory=dict)
    compared_with: int | None = None
    differences: tuple[str, ...] = ()

    @classmethod
    def read(cls, prefix: str, content: Callable[[str], Mapping[str, Any] | None]) -> DataReport | None:
        """Read the report of a run; None where its data was not looked at.

        Args:
            prefix: the run's, with its final slash.
            content: returns the JSON object that lies at a URI, None where there is none.
        """
        report = content(f"{prefix}report.json")
        if report is None:
            return None
        contract = content(f"{prefix}contract/schema.json")
        return cls.of(report, contract, content(f"{prefix}profile.json"))

    @classmethod
    def read_beside_live(
        cls,
        runs_uri: str,
        run_id: str,
        versions: Versions,
        content: Callable[[str], Mapping[str, Any] | None],
    ) -> DataReport | None:
        """Read the report of a run, with what differs from that of the live version where there is one.

        Args:
            runs_uri: where the folders of runs are, with its final slash.
            content: as of `read`.
        """
        report = cls.read(f"{runs_uri}{run_id}/", content)
        live = versions.live()
        model = None if live is None else versions.get_model(live.version)
        if report is None or model is None or model.run_id == run_id:
            return report
        before = cls.read(f"{runs_uri}{model.run_id}/", content)
        return report if before is None else report.beside(before, model.version)

    @classmethod
    def of(
        cls,
        report: Mapping[str, Any],
        contract: Mapping[str, Any] | None,
        profile: Mapping[str, Any] | None = None,
    ) -> DataReport:
        """Tell it from the content of ``report.json``, ``schema.json`` and ``profile.json``."""
        profiled = {str(each.get("name")): each for each in (profile or {}).get("columns") or []}
        rejects: dict[str, int] = {}
        for each in report.get("rejects") or []:
            name = str(each.get("column"))
            rejects[name] = rejects.get(name, 0) + int(each.get("count") or 0)
        spellings = report.get("missing") or {}
        deciding = _deciding(report.get("split") or {})
        columns = tuple(
            replace(
                _column_report(column, profiled.get(column.name), spellings.get(column.name) or {}, rejects),
                decides=column.name in deciding,
            )
            for column in _columns_of(contract, profiled.values())
        )
        return cls(
            run_id=str(report.get("run_id") or ""),
            rows={
                name: int(count) for name, count in (report.get("rows") or {}).items() if count is not None
            },
            objects=tuple(_objects(report)),
            columns=columns,
            remarks=(*_notes(report, columns), *map(str, report.get("remarks") or ())),
            splits={name: int(each.get("rows") or 0) for name, each in (report.get("splits") or {}).items()},
        )

    @property
    def left_out(self) -> tuple[ColumnReport, ...]:
        """The columns that have values and are not used."""
        return tuple(each for each in self.columns if each.is_left_out)

    @property
    def rows_in_words(self) -> str:
        """What became of the rows, in a sentence."""
        rows = self.rows
        if "read" not in rows:
            return "No row was read."
        left = [
            f"{rows[name]:,} {words}"
            for name, words in (
                ("rejected", "rejected"),
                ("unlabelled", "without a target"),
                ("duplicates", "counted once already"),
            )
            if rows.get(name)
        ]
        kept = f", {rows['kept']:,} kept" if "kept" in rows else ""
        return f"{_rows(rows['read'])} read{kept}" + (f"; {', '.join(left)}." if left else ".")

    @property
    def columns_in_words(self) -> str:
        """How many columns are used, in a sentence; empty where nothing is known of them."""
        if not self.columns:
            return ""
        learned = sum(each.role == "feature" for each in self.columns)
        said = f"{learned} of {len(self.columns)} columns {'is' if learned == 1 else 'are'} learned from"
        unused = len(self.left_out)
        if unused:
            said += f"; {unused} with values {'is' if unused == 1 else 'are'} not used"
        return f"{said}."

    @property
    def left_out_in_words(self) -> list[str]:
        """A line for each column that has values and is not used, and why; of many the first ones."""
        return _first([f"{each.name!r} is not used: {each.remark}." for each in self.left_out])

    def beside(self, live: DataReport, version: int) -> DataReport:
        """Return this report with what differs from that of the live version."""
        return replace(self, compared_with=version, differences=tuple(_differences(self, live, version)))

    @property
    def difference_title(self) -> str:
        return f"What differs from version {self.compared_with}"

    def told(self) -> list[str]:
        """Return it as a few lines for a message, each bounded: rows, columns, what to know, what differs."""
        lines = [self.rows_in_words, *filter(None, [self.columns_in_words])]
        lines += self.left_out_in_words
        lines += _first(self.remarks)
        if self.differences:
            lines += [f"{self.difference_title}:", *_first([f"- {each}" for each in self.differences])]
        return [each if len(each) <= _LONGEST_LINE else f"{each[: _LONGEST_LINE - 1]}…" for each in lines]

    def metadata(self) -> dict[str, str]:
        """Return the report as properties of a model package, in the characters that SageMaker takes."""
        found = {f"data_rows_{name}": str(count) for name, count in self.rows.items()}
        if self.columns:
            found["data_columns_used"] = str(sum(each.is_used for each in self.columns))
            found["data_columns_not_used"] = str(sum(not each.is_used for each in self.columns))
        names = [_NOT_IN_METADATA.sub("_", each.name).strip() or "_" for each in self.left_out]
        if names:
            found["data_left_out"] = _joined(names)
        return found

    def to_dict(self) -> dict[str, Any]:
        return {
            "run_id": self.run_id,
            "rows": dict(self.rows),
            "splits": dict(self.splits),
            "objects": [asdict(each) for each in self.objects],
            "columns": [each.to_dict() for each in self.columns],
            "remarks": list(self.remarks),
            "compared_with": self.compared_with,
            "differences": list(self.differences),
            "summary": self.told(),
        }


def _deciding(split: Mapping[str, Any]) -> set[str]:
    """The columns that decide on the split, but for the key and where all columns do."""
    by = str(split.get("by"))
    time = {by.removeprefix("time ")} if by.startswith("time ") else set()
    return time | ({str(split["group"])} if split.get("group") else set())


def _column_report(
    column: Column,
    profiled: Mapping[str, Any] | None,
    spellings: Mapping[str, int],
    rejects: Mapping[str, int],
) -> ColumnReport:
    count, missing = (None, None)
    if profiled is not None:
        missing = int(profiled.get("missing") or 0)
        count = int(profiled.get("count") or 0) + missing
    is_category = profiled is not None and column.type == "category"
    return ColumnReport(
        name=column.name,
        type=column.type,
        role=column.role,
        format=column.format,
        note=column.note,
        rows=count,
        missing=missing,
        spellings={str(text): int(times) for text, times in spellings.items()},
        distinct=int((profiled or {}).get("distinct") or 0) if is_category else None,
        rejected=rejects.get(column.name, 0),
        encoding=column.encoding,
    )


def _columns_of(
    contract: Mapping[str, Any] | None, profiled: Iterable[Mapping[str, Any]]
) -> Sequence[Column]:
    """The contract's columns; where it is gone or can't be read, those that were prepared."""
    try:
        if contract is not None:
            return Contract.from_json(json.dumps(contract)).columns
    except InvalidContract:
        pass
    return [Column(str(c.get("name")), str(c.get("type")), str(c.get("role", "feature"))) for c in profiled]


def _objects(report: Mapping[str, Any]) -> Iterable[ObjectReport]:
    later = {str(each.get("source")): each for each in report.get("recurrences") or []}
    for each in report.get("objects") or []:
        source = str(each.get("source"))
        again = later.get(source)
        remark = ""
        duplicates = each.get("duplicates")
        if again is not None:
            remark = f"its rows are in {ObjectReport(str(again.get('later'))).name} again"
            duplicates = again.get("rows") if duplicates is None else duplicates
        yield ObjectReport(
            source, each.get("read"), each.get("rejected"), each.get("unlabelled"), duplicates, remark
        )
    for source in report.get("replaced") or []:
        yield ObjectReport(str(source), remark="not read: a newer version replaces its rows")


def _notes(report: Mapping[str, Any], columns: Sequence[ColumnReport]) -> list[str]:
    """What inference remarked and no column says of itself, as sentences."""
    said = set()
    for each in columns:
        said |= {
            f"{what} {each.name!r}{middle}: {each.note}"
            for what in ("column", "the target")
            for middle in ("", " is ignored")
        }
    counted = tuple(f"column {each.name!r}: read as missing:" for each in columns if each.spellings)
    return [
        f"{note[:1].upper()}{note[1:]}{'' if note.endswith('.') else '.'}"
        for note in map(str, report.get("notes") or [])
        if note not in said and not note.startswith(counted)
    ]


def _differences(now: DataReport, live: DataReport, version: int) -> Iterable[str]:
    before = f"version {version}"
    kept, kept_before = now.rows.get("kept"), live.rows.get("kept")
    if kept is not None and kept_before is not None and kept != kept_before:
        yield f"{_rows(kept)} kept; {kept_before:,} in {before}."
    for name, words in (
        ("rejected", "of the rows rejected"),
        ("unlabelled", "of the rows without a target"),
        ("duplicates", "of the rows counted once already"),
    ):
        share, share_before = _share(now.rows, name), _share(live.rows, name)
        if share is not None and share_before is not None and abs(share - share_before) >= _FAR_ROWS:
            yield f"{percent(share)} {words}; {percent(share_before)} in {before}."
    was = {each.name: each for each in live.columns}
    present = {each.name for each in now.columns}
    if not was or not present:
        return
    yield from (
        f"{each.name!r} is gone; it was {each.use}." for each in live.columns if each.name not in present
    )
    for each in now.columns:
        if each.name not in was:
            yield f"{each.name!r} is new: {each.use}, {each.read_as}."
        else:
            yield from _column_differences(each, was[each.name], before)


def _column_differences(now: ColumnReport, was: ColumnReport, before: str) -> Iterable[str]:
    if now.role != was.role:
        why = f" ({now.remark})" if not now.is_used else ""
        yield f"{now.name!r} is {now.use}{why}; in {before} it was {was.use}."
    if (now.type, now.format) != (was.type, was.format) and (now.is_used or was.is_used):
        yield f"{now.name!r} holds {now.read_as}; in {before} {was.read_as}."
    share, share_before = now.missing_share, was.missing_share
    if share is not None and share_before is not None and abs(share - share_before) >= _FAR_MISSING:
        yield f"{now.name!r} has {percent(share)} missing values; {percent(share_before)} in {before}."
    new = sorted(set(now.spellings) - set(was.spellings))
    if new and was.spellings:
        listed = ", ".join(f"{text!r} ({now.spellings[text]:,})" for text in new[:_SPELLINGS_SHOWN])
        yield f"{now.name!r} has values that read as missing and were not there in {before}: {listed}."


def _share(rows: Mapping[str, int], name: str) -> float | None:
    return rows[name] / rows["read"] if rows.get("read") and name in rows else None


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"


def _columns(count: int) -> str:
    return f"{count:,} column{'' if count == 1 else 's'}"


def _first(lines: Sequence[str]) -> list[str]:
    more = len(lines) - _TOLD
    return list(lines) if more <= 0 else [*lines[:_TOLD], f"… and {more} more."]


def _joined(names: Sequence[str]) -> str:
    """Join names within what one property holds, and say how many are left."""
    text = ""
    for index, name in enumerate(names):
        rest = f" +{len(names) - index} more" if text else _columns(len(names))
        longer = f"{text} / {name}" if text else name
        end = f" +{len(names) - index - 1} more" if index + 1 < len(names) else ""
        if len(longer) + len(end) > _NAMES_IN_METADATA:
            return text + rest
        text = longer
    return text
