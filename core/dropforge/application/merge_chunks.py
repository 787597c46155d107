"""After each phase of a preparation in many functions: put its items' answers together, and go on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dropforge.application.pinned_contract import follows, infer, pinned_contract_uri, read_pinned
from dropforge.application.preparation import Preparation
from dropforge.application.prepare_chunk import refusal
from dropforge.application.scale_out import (
    SIFTED_BYTES,
    Plan,
    Scratch,
    begin_check,
    begin_sift,
    preparation_of,
    read_items,
    read_origins,
    read_placing,
    repeated_uri,
    settle_contract,
    spans_of,
    without_objects,
    write_items,
    write_origins,
    write_placing,
)
from dropforge.application.sift_objects import OF_ONE_OBJECT, finished, sift, write_remarks
from dropforge.domain import errors
from dropforge.domain.chunk_tables import CheckedItem, ChunkTables, Counts, NumberedOrigin, Reduced
from dropforge.domain.chunks import Cut, Scan, Span, items_of, resolved
from dropforge.domain.contract import Contract
from dropforge.domain.drop_totals import DropCheck, DropSurvey, SpanSurvey
from dropforge.domain.ports import ObjectRef, ObjectStore
from dropforge.domain.preparing import (
    CheckCounts,
    Duplicates,
    ObjectCounts,
    Recurrence,
    SplitCounts,
    split_counts_of,
)
from dropforge.domain.recurrence import Combinations, GroupTally, Twins
from dropforge.domain.splitting import Origin
from dropforge.domain.survey import ColumnSurvey, Identifiers, TableSurvey
from dropforge.domain.time_split import Placing

_ANSWER = "answer.json"


def merge_chunks(
    run_id: str, phase: str, data_uri: str, store: ObjectStore, tables: ChunkTables
) -> dict[str, Any]:
    """Put together what the items of a phase have answered.

    Safe to run twice, also after the run's scratch was removed: the answer stays.

    Returns:
        The next phase; or after the last the answer of `prepare_data`.

    Raises:
        DataError: as `prepare_data` does, for the first problem in the order of the rows.
        ChunkFailed: an item has no answer.
    """
    scratch = Scratch(store, data_uri, run_id)
    if scratch.has(_ANSWER):
        return _repeated(scratch.read(_ANSWER))
    merge = _Merge(scratch, store, tables)
    try:
        answer = merge.after(phase)
    except errors.PermanentError as error:
        _end(scratch, store, {"error": refusal(error)})
        raise
    if "phase" not in answer:
        _end(scratch, store, answer)
    return answer


def _end(scratch: Scratch, store: ObjectStore, answer: Mapping[str, Any]) -> None:
    scratch.write(_ANSWER, answer)
    scratch.remove("scan", "sift", "survey", "check", "reduce", "hold", "divide", "write")
    for name in ("plan.json", "items.json", "counts.json", "origins.json", "outline", "placing"):
        store.delete_prefix(f"{scratch.uri}{name}")


def _repeated(answer: dict[str, Any]) -> dict[str, Any]:
    if "error" in answer:
        raise _error(answer["error"], 0)
    return answer


def _error(raw: Mapping[str, Any], rows_before: int) -> errors.PermanentError:
    """The error that an item met, with its row counted from the object's first."""
    message, row = raw["message"], raw["row"]
    if row is not None:
        message = message.replace(f"row {row}", f"row {row + rows_before}", 1)
    kind: type[errors.PermanentError] = getattr(errors, raw["type"])
    return kind(message)


class _Merge:
    def __init__(self, scratch: Scratch, store: ObjectStore, tables: ChunkTables) -> None:
        self._scratch, self._store, self._tables = scratch, store, tables
        self._plan = Plan.from_dict(scratch.read("plan.json"))
        self._items = read_items(scratch)

    def after(self, phase: str) -> dict[str, Any]:
        steps = {
            "scan": self._scanned,
            "sift": self._sifted,
            "survey": self._surveyed,
            "check": self._checked,
            "reduce": self._reduced,
            "hold": self._held,
            "divide": self._divided,
            "write": self._written,
        }
        if phase not in steps:
            raise errors.InvalidEvent(f"{phase!r} is no phase; there are {', '.join(steps)}.")
        return steps[phase]()

    # --- scan ----------------------------------------------------------------------------------------

    def _scanned(self) -> dict[str, Any]:
        rough = [item for item in self._items if item[0].is_rough]
        scans: dict[int, list[Scan]] = {}
        broken = set()
        for (span,), answer in zip(rough, self._scratch.results("scan", len(rough)), strict=True):
            if answer.get("error"):
                # Whoever reads the rows meets the same problem, after those of the objects before.
                broken.add(span.number)
            else:
                scans.setdefault(span.number, []).append(Scan.from_dict(answer["scan"]))
        for number in broken:
            scans.pop(number, None)
        self._items = resolved(self._items, scans)
        write_items(self._scratch, self._items)
        return settle_contract(self._plan, self._items, self._scratch, self._store)

    # --- survey --------------------------------------------------------------------------------------

    def _surveyed(self) -> dict[str, Any]:
        request = self._plan.request
        if self._plan.refusal is not None:
            kind, message = self._plan.refusal
            raise self._refused(getattr(errors, kind)(message), preparation_of(self._plan, self._store))
        pinned = read_pinned(pinned_contract_uri(request.data_uri), request.settings, self._store)
        try:
            inferred = infer(request.settings, self._survey())
        except OF_ONE_OBJECT as error:
            if not self._plan.is_sifted:
                return self._begin_sift(error, by_contract=False)
            raise
        new = pinned is None or follows(pinned, inferred.contract)
        planned = replace(self._plan, contract_is_new=new)
        if new:
            planned = replace(planned, notes=inferred.notes, missing=inferred.missing)
        contract = inferred.contract if new or pinned is None else pinned
        return begin_check(planned, contract, self._items, self._scratch, self._store)

    def _survey(self, only: int | None = None) -> TableSurvey:
        """Put together what was seen; of one object only, if its number is given."""
        drop = DropSurvey(self._plan.request.settings.target)
        for number, item, answer in self._answers("survey"):
            found = iter(answer["spans"])
            for position, span in enumerate(item):
                raw = next(found, None)
                if only not in (None, span.number):
                    continue
                if raw is None:
                    raise _error(answer["error"], drop.records)
                folder = f"{self._scratch.folder('survey', number)}{position}/"
                drop.add(span.ref.uri, self._span_survey(raw, folder, drop), span.is_last)
        return drop.total

    def _span_survey(self, raw: Mapping[str, Any], folder: str, before: DropSurvey) -> SpanSurvey:
        columns = {}
        wanted = set(raw["identifiers"])
        for number, (name, column) in enumerate(raw["seen"].items()):
            kept = np.empty(0, dtype=np.int64)
            # A list of leading values that is full never changes: those of later items need not be fetched.
            if name in wanted and not before.identifiers_of(name).is_full:
                kept = np.frombuffer(self._store.read(f"{folder}{number}"), dtype=np.int64)
            columns[name] = ColumnSurvey.from_dict(column, Identifiers(kept))
        seen = TableSurvey(raw["rows"], columns, raw["sources"])
        return SpanSurvey(raw["columns"], raw["records"], raw["first_bad"], seen)

    def _survey_of_change(self) -> TableSurvey:
        try:
            return self._survey()
        except errors.SchemaChanged:
            newest = self._plan.request.newest_drop
            return self._survey(only=len(self._plan.request.read) - 1 - self._plan.request.read.index(newest))

    # --- check ---------------------------------------------------------------------------------------

    def _checked(self) -> dict[str, Any]:
        preparation = preparation_of(self._plan, self._store)
        total = DropCheck(preparation.contract)
        inputs = []
        rows_before: dict[str, int] = {}
        combinations = Combinations()
        origins: list[list[NumberedOrigin]] = []
        try:
            for number, item, answer in self._answers("check"):
                checked = CheckedItem.from_dict(answer)
                inputs.append(
                    {"rejects": {"item": number, "files": checked.reject_files, "rows_before": rows_before}}
                )
                origins.append(_origins(item, checked, total.counts))
                combinations = Combinations(
                    [*combinations.seen, *checked.combinations], combinations.rows + sum(checked.files)
                )
                self._add(total, item, checked, answer["error"])
                rows_before = {
                    source: total.counts.objects[source].read
                    for span in checked.spans
                    for source in span.counts.objects
                }
        except errors.DataError as error:
            return self._sift_or_raise(error, preparation)
        except errors.ObjectMissing as error:
            if not self._plan.is_sifted:
                return self._begin_sift(error, by_contract=True)
            raise
        self._scratch.write("counts.json", total.counts.to_dict())
        if preparation.may_split_by_row and combinations.are_few:
            preparation.split_by_row()
            self._plan = replace(self._plan, notes=preparation.report.notes or ())
            self._scratch.write("plan.json", self._plan.to_dict())
        recurrences = {}
        if preparation.contract.key is None:
            numbers = [[part.number for part in parts] for parts in origins]
            recurrences = self._tables.find_recurrences(self._folders("check"), numbers)
        write_origins(self._scratch, origins, recurrences)
        outline = self._tables.outline(self._folders("check"), preparation.contract)
        self._store.write(f"{self._scratch.uri}outline", outline)
        preparation.report.counts = total.counts
        rejects = [each for each in inputs if each["rejects"]["files"] or not each["rejects"]["item"]]
        if self._refuses_rows(preparation):
            return self._scratch.begin("reduce", rejects)
        return self._scratch.begin("reduce", [*self._ranges, *rejects])

    @property
    def _ranges(self) -> list[dict[str, int]]:
        """What the items that look through a range each are told."""
        return [
            {"range": number, "ranges": self._plan.ranges, "items": len(self._items)}
            for number in range(self._plan.ranges)
        ]

    @staticmethod
    def _add(
        total: DropCheck, item: Sequence[Span], checked: CheckedItem, problem: Mapping[str, Any] | None
    ) -> None:
        found = iter(checked.spans)
        for span in item:
            each = next(found, None)
            if each is None:
                raise _error(problem or {}, total.records)
            total.add(span.ref.uri, each, span.is_last)

    @staticmethod
    def _refuses_rows(preparation: Preparation) -> bool:
        try:
            preparation.refuse_rows()
        except (errors.TooManyRejects, errors.MissingTarget):
            return True
        return False

    # --- reduce --------------------------------------------------------------------------------------

    def _reduced(self) -> dict[str, Any]:
        preparation = preparation_of(self._plan, self._store)
        report = preparation.report
        report.counts = CheckCounts.from_dict(self._scratch.read("counts.json"))
        try:
            preparation.refuse_rows()
        except (errors.TooManyRejects, errors.MissingTarget) as error:
            return self._sift_or_raise(error, preparation)
        if preparation.contract.time is not None:
            return self._placed(preparation)
        return self._refused_or_written(preparation, "reduce")

    def _placed(self, preparation: Preparation) -> dict[str, Any]:
        """Find out where the rows are split in time."""
        report = preparation.report
        report.duplicates = self._kept(preparation.contract, "reduce")[0]
        try:
            boundaries = preparation.boundaries_of(self._tables.times(self._left_by("reduce")))
        except errors.DataError as error:
            raise self._refused(error, preparation) from error
        write_placing(self._scratch, Placing(boundaries), self._store)
        return self._scratch.begin("divide" if preparation.contract.group is None else "hold", self._ranges)

    def _left_by(self, phase: str) -> list[str]:
        return [repeated_uri(self._scratch, phase, number) for number in range(self._plan.ranges)]

    # --- hold, divide --------------------------------------------------------------------------------

    def _held(self) -> dict[str, Any]:
        for answer in self._scratch.results("hold", self._plan.ranges):
            self._raise(answer)
        placing = read_placing(self._scratch, self._store)
        if placing is not None:
            held = self._tables.held(self._left_by("hold"))
            write_placing(self._scratch, replace(placing, held=held), self._store)
        return self._scratch.begin("divide", self._ranges)

    def _divided(self) -> dict[str, Any]:
        preparation = preparation_of(self._plan, self._store)
        preparation.report.counts = CheckCounts.from_dict(self._scratch.read("counts.json"))
        self._tell_boundaries(preparation)
        return self._refused_or_written(preparation, "divide")

    def _tell_boundaries(self, preparation: Preparation) -> None:
        placing = read_placing(self._scratch, self._store)
        preparation.report.boundaries = None if placing is None else placing.boundaries

    def _refused_or_written(self, preparation: Preparation, phase: str) -> dict[str, Any]:
        report = preparation.report
        report.duplicates, report.splits, reduced = self._kept(preparation.contract, phase)
        try:
            preparation.refuse_splits()
        except errors.DataError as error:
            raise self._refused(error, preparation) from error
        return self._scratch.begin("write", [{"reduced": reduced}] * len(self._items))

    def _kept(self, contract: Contract, phase: str) -> tuple[Duplicates, SplitCounts, list[int]]:
        """Return the duplicates, what remains, and which ranges have any duplicates.

        Args:
            phase: which one looked through the ranges with all that decides on the split.
        """
        kept, twins, groups, left_out = _array([], contract), Twins(), GroupTally(), Counter[int]()
        duplicates = held_back = 0
        ranges = []
        for number, answer in enumerate(self._scratch.results(phase, self._plan.ranges)):
            self._raise(answer)
            found = Reduced.from_dict(answer)
            kept = kept + _array(found.counts, contract)
            twins.merge(Twins.from_list(found.twins))
            groups.merge(GroupTally.from_list(found.groups))
            left_out.update(found.left_out)
            held_back += found.held_back
            if found.repeated:
                duplicates += found.repeated
                ranges.append(number)
        sources = [ref.source for ref in reversed(self._plan.request.read)]
        recurrences = tuple(
            Recurrence(sources[earlier], sources[later], left_out[earlier])
            for earlier, later in read_origins(self._scratch)[1].items()
        )
        counted = None if contract.group is None else groups.groups_among(int(kept.sum()))
        counts = split_counts_of(kept.tolist(), contract, twins.share, counted, held_back)
        by_object = {sources[number]: rows for number, rows in sorted(left_out.items())}
        return Duplicates(duplicates, recurrences, by_object), counts, ranges

    # --- write ---------------------------------------------------------------------------------------

    def _written(self) -> dict[str, Any]:
        for answer in self._scratch.results("write", len(self._items)):
            self._raise(answer)
        preparation = preparation_of(self._plan, self._store)
        report, contract = preparation.report, preparation.contract
        report.counts = CheckCounts.from_dict(self._scratch.read("counts.json"))
        report.duplicates, splits, _ = self._kept(contract, "reduce" if contract.time is None else "divide")
        self._tell_boundaries(preparation)
        if report.notes is None and preparation.filled:
            # Examining all rows once more, which the command needs, would take as long as checking them did.
            report.filled = tuple(preparation.filled), None
        outline = self._store.read(f"{self._scratch.uri}outline")
        written = self._tables.merged(self._folders("write"), splits, contract, outline)
        report.splits = splits
        try:
            preparation.refuse_leaks(written)
        except errors.DataError as error:
            raise self._refused(error, preparation) from error
        prepared = finished(
            preparation.finished(written), self._plan.request, self._plan.remarks, self._store
        )
        pinned = self._pinned_meanwhile(contract) if self._plan.contract_is_new else None
        if pinned is not None:
            planned = replace(self._plan, contract_is_new=False, notes=())
            return begin_check(planned, pinned, self._items, self._scratch, self._store)
        return prepared.to_dict()

    def _pinned_meanwhile(self, contract: Contract) -> Contract | None:
        """Pin the contract; or return the other one that somebody has pinned, which is to be held to."""
        request = self._plan.request
        uri = pinned_contract_uri(request.data_uri)
        if self._store.write_if_absent(uri, contract.to_json().encode(), "application/json"):
            return None
        pinned = read_pinned(uri, request.settings, self._store)
        return None if pinned is None or pinned == contract else pinned

    # --- sift ----------------------------------------------------------------------------------------

    def _begin_sift(self, error: errors.PermanentError, *, by_contract: bool) -> dict[str, Any]:
        met = {**refusal(error), "by_contract": by_contract}
        return begin_sift(replace(self._plan, error=met), self._scratch, by_contract=by_contract)

    def _sift_or_raise(self, error: errors.DataError, preparation: Preparation) -> dict[str, Any]:
        if self._plan.is_sifted or not isinstance(error, OF_ONE_OBJECT):
            return self._survey_or_raise(error, preparation)
        self._scratch.write("counts.json", preparation.report.counts.to_dict())
        return self._begin_sift(error, by_contract=True)

    def _sifted(self) -> dict[str, Any]:
        """Go on without the objects that can't be used; or end with the error, where nothing is left."""
        met = self._plan.error or {}
        error = _error(met, 0)
        if not self._plan.is_sifted:
            self._sift(error)
        planned = self._plan
        if planned.error is None:
            return settle_contract(planned, self._items, self._scratch, self._store)
        if not met["by_contract"] or not isinstance(error, errors.DataError):
            raise error
        preparation = preparation_of(planned, self._store)
        if self._scratch.has("counts.json"):
            preparation.report.counts = CheckCounts.from_dict(self._scratch.read("counts.json"))
        return self._survey_or_raise(error, preparation)

    def _sift(self, error: errors.PermanentError) -> None:
        """Note what was found out. The plan is written last, so that a second call does the same again."""
        request = self._plan.request
        cuts = [Cut(ref, ref.size or 0) for ref in reversed(request.read)]
        refs = [span.ref for item in items_of(cuts, SIFTED_BYTES) for span in item]
        count = len(items_of(cuts, SIFTED_BYTES))
        looked = [each for answer in self._scratch.results("sift", count) for each in answer["objects"]]
        found = {ref.identity: each for ref, each in zip(refs, looked, strict=True)}

        def look(ref: ObjectRef) -> ObjectCounts | TableSurvey:
            each = found[ref.identity]
            if "error" in each:
                raise _error(each["error"], 0)
            if "read" in each:
                return ObjectCounts(each["read"], each["rejected"], each["unlabelled"])
            seen = TableSurvey(each.get("rows", 0))
            for name, values in _values_of(each["columns"]).items():
                seen.add_column(name, ref.uri)
                seen.columns[name].values = values
            return seen

        sifted = sift(request, error, look)
        remaining = sifted.remaining if sifted.unfit else None
        planned = replace(self._plan, is_sifted=True)
        if sifted.unfit:
            write_remarks(request, sifted.remarks, self._store)
        if remaining is not None:
            planned = replace(planned, request=remaining, error=None, remarks=sifted.remarks)
            self._items = without_objects(self._items, remaining)
            planned = replace(planned, chunks=len(self._items))
            write_items(self._scratch, self._items)
        self._scratch.write("plan.json", planned.to_dict())
        self._plan = planned

    # --- what phases have in common ------------------------------------------------------------------

    def _answers(self, phase: str) -> Iterator[tuple[int, Sequence[Span], dict[str, Any]]]:
        answers = self._scratch.results(phase, len(self._items))
        for number, (item, answer) in enumerate(zip(self._items, answers, strict=True)):
            if "spans" not in answer:
                self._raise(answer)
            yield number, item, answer

    @staticmethod
    def _raise(answer: Mapping[str, Any]) -> None:
        if answer.get("error"):
            raise _error(answer["error"], 0)

    def _folders(self, phase: str) -> list[str]:
        return [self._scratch.folder(phase, number) for number in range(len(self._items))]

    def _survey_or_raise(self, error: errors.DataError, preparation: Preparation) -> dict[str, Any]:
        """Where the pinned contract refused the drops, first find out which one would fit them."""
        asks = isinstance(error, errors.SchemaChanged | errors.TooManyRejects)
        if not asks or preparation.report.notes is not None:
            raise self._refused(error, preparation) from error
        self._scratch.write("counts.json", preparation.report.counts.to_dict())
        planned = replace(self._plan, refusal=(type(error).__name__, str(error)))
        self._scratch.write("plan.json", planned.to_dict())
        return self._scratch.begin("survey", [spans_of(item) for item in self._items])

    def _refused(self, error: errors.DataError, preparation: Preparation) -> errors.DataError:
        if self._plan.refusal is not None:
            preparation.report.counts = CheckCounts.from_dict(self._scratch.read("counts.json"))
        return preparation.refused(error, self._survey_of_change)


def _origins(item: Sequence[Span], checked: CheckedItem, before: CheckCounts) -> list[NumberedOrigin]:
    """Where the staged rows of an item come from, given what was counted in the items before it."""
    # Only the first span of an item can go on with an object that an earlier item began.
    return [
        NumberedOrigin(span.number, Origin(source, _staged(before, source), counts.staged))
        for span, found in zip(item, checked.spans, strict=False)
        for source, counts in found.counts.objects.items()
    ]


def _staged(counts: CheckCounts, source: str) -> int:
    return counts.objects[source].staged if source in counts.objects else 0


def _array(counts: Counts, contract: Contract) -> np.ndarray[Any, np.dtype[np.int64]]:
    shape = (3, len(contract.classes or ("",)))
    return np.array(counts, dtype=np.int64).reshape(shape) if counts else np.zeros(shape, dtype=np.int64)


def _values_of(columns: Mapping[str, int] | Sequence[str]) -> Mapping[str, int]:
    """How many values each column of an object has; before an upgrade nobody counted them."""
    return columns if isinstance(columns, Mapping) else dict.fromkeys(columns, 1)
