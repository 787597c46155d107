"""One preparation under one contract: what it leaves behind, and when its data can't be used.

The same for a run that one function prepares and for one that many do.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from dropforge.application.contract_proposals import PROPOSED, explained
from dropforge.application.pinned_contract import infer
from dropforge.application.preparation_report import Report, profile_json
from dropforge.application.preparation_request import PreparedData, PrepareRequest
from dropforge.application.split_refusals import refuse_unsplit
from dropforge.domain.contract import NO_VALUES, ONE_VALUE, Column, Contract
from dropforge.domain.contract_change import accept_command
from dropforge.domain.drop_totals import unlabelled
from dropforge.domain.errors import (
    ConstantSplitColumn,
    DataError,
    LeakageFound,
    MissingTarget,
    SchemaChanged,
    SplitColumnInFuture,
    TooFewRows,
    TooManyRejects,
    UnknownPositiveClass,
)
from dropforge.domain.figures import percent
from dropforge.domain.leakage import find_leaks
from dropforge.domain.ports import ObjectRef, ObjectStore
from dropforge.domain.preparing import CheckCounts, ObjectCounts, SplitCounts, Written
from dropforge.domain.recurrence import Combinations
from dropforge.domain.splitting import SPLITS
from dropforge.domain.survey import TableSurvey
from dropforge.domain.time_split import Boundaries, Times, key_of, value_of

_JSON = "application/json"
_REASONS_SHOWN = 5
_CLOCKS_DIFFER_US = 24 * 3600 * 1_000_000
"""Local time that was written as UTC is no future."""


class Preparation:
    """The preparation of a run under a contract; `report` collects what happens to the rows.

    Args:
        notes: what inference remarked; None where the contract was pinned before.
        missing: per column the texts that it read as missing, with their counts.
    """

    def __init__(
        self,
        request: PrepareRequest,
        contract: Contract,
        notes: tuple[str, ...] | None,
        missing: Mapping[str, Mapping[str, int]],
        store: ObjectStore,
    ) -> None:
        self.request, self.contract = request, contract
        self._store = store
        version = _data_version(request.read, contract, store)
        replaced = tuple(ref.source for ref in request.replaced)
        self.report = Report(request.run_id, contract, notes, version, missing=missing, replaced=replaced)

    @property
    def rejected_uri(self) -> str:
        """The folder of the rejected rows, with the final slash."""
        return f"{self.request.prefix}rejected/"

    @property
    def _contract_uri(self) -> str:
        return f"{self.request.prefix}contract/schema.json"

    def begin(self) -> None:
        """Remove what an earlier attempt has left, and write down the contract."""
        for folder in (*SPLITS, "rejected"):
            self._store.delete_prefix(f"{self.request.prefix}{folder}/")
        self._store.write(self._contract_uri, self.contract.to_json().encode(), _JSON)

    @property
    def may_split_by_row(self) -> bool:
        """Whether the contract is new, and the rows' values decide which split each goes to."""
        new, contract = self.report.notes is not None, self.contract
        return new and bool(contract.split_by) and contract.group is None and contract.time is None

    def split_by_row(self) -> None:
        """Change the contract, which nobody is held to yet, so that every row has a split of its own.

        Effect: the run's contract is written anew.
        """
        report = self.report
        self.contract = report.contract = replace(self.contract, split_by=())
        report.notes = (
            *(report.notes or ()),
            f"there are fewer than {Combinations.FEWEST} different rows but for the target: every row is "
            "split for itself, so test rows have equals in training",
        )
        report.data_version = _data_version(self.request.read, self.contract, self._store)
        self._store.write(self._contract_uri, self.contract.to_json().encode(), _JSON)

    def refuse_rows(self) -> None:
        """Raise TooManyRejects if more rows broke the contract than the settings allow, or MissingTarget if
        nothing that the run was started for has a target."""
        counts, allowed = self.report.counts, self.request.settings.maximum_reject_rate
        new = self._new(counts)
        if new and all(each.read == each.unlabelled for each in new):
            sources = [ref.uri for ref in self.request.read if self.request.is_new(ref)]
            raise MissingTarget(unlabelled(sources, sum(each.read for each in new), self.contract.target))
        if _is_too_much(counts.objects.values(), allowed) or _is_too_much(new, allowed):
            raise TooManyRejects(_too_many(counts, allowed, self.contract))

    def _new(self, counts: CheckCounts) -> list[ObjectCounts]:
        """What the run was started for: among much that is good it must not pass unseen."""
        new = {ref.source for ref in self.request.objects if self.request.is_new(ref)}
        return [each for source, each in counts.objects.items() if source in new]

    def boundaries_of(self, times: Times) -> Boundaries:
        """Return where these rows are split in time: no earlier than any run before did.

        Raises:
            ConstantSplitColumn: all rows have one time.
            SplitColumnInFuture: too many are later than now.
        """
        column = self.contract.column(self.contract.time or "")
        if times.rows and times.least == times.greatest:
            raise ConstantSplitColumn(
                f"The split column {column.name!r} is {value_of(times.least, column.type)!r} in all "
                f"{times.rows:,} rows, so none is newer than another. Name another column in SplitColumn, "
                "or leave it empty."
            )
        found = times.boundaries() if times.rows else Boundaries(0, 0)
        now = self.request.asked_at
        if column.type == "timestamp" and now is not None:
            latest = key_of(now, "timestamp") + _CLOCKS_DIFFER_US
            later = times.later_than(latest)
            if found.test_from > latest or later > self.request.settings.maximum_reject_rate * times.rows:
                raise SplitColumnInFuture(
                    f"{later:,} of {times.rows:,} rows are later than now by the split column "
                    f"{column.name!r}, up to {value_of(times.greatest, column.type)}: it doesn't say when a "
                    "row came to be. Name another column in SplitColumn, or correct these rows."
                )
            self.report.later_than_now = later
        self.report.boundaries = found.not_before(self._earlier_boundaries(column))
        return self.report.boundaries

    @property
    def _boundaries_uri(self) -> str:
        return f"{self.request.data_uri.rstrip('/')}/contract/boundaries.json"

    def _earlier_boundaries(self, column: Column) -> Boundaries | None:
        """Those of the runs before, under the same column."""
        if not self._store.exists(self._boundaries_uri):
            return None
        raw = json.loads(self._store.read(self._boundaries_uri))
        return Boundaries.from_dict(raw, column.name, column.type)

    def _move_boundaries(self) -> None:
        """Write down how far the rows of this run were trained on, for the next runs."""
        if self.contract.time is None or self.report.boundaries is None:
            return
        column = self.contract.column(self.contract.time)
        moved = self.report.boundaries.not_before(self._earlier_boundaries(column))
        written = {"format": 1, **moved.to_dict(column.name, column.type), "run_id": self.request.run_id}
        self._store.write(self._boundaries_uri, json.dumps(written, indent=1).encode(), _JSON)

    def refuse_splits(self) -> None:
        """Raise if the splits can't be trained on, validated or judged.

        Raises:
            TooFewRows: too few rows remain, or a split lacks a class.
            ConstantSplitColumn, TooManyGroups, EmptySplit: of the column that decides on the split.
            UnknownPositiveClass: the target has no such class, or not two classes.
            InvalidDecisionGoal: a decision threshold is asked for, and the target hasn't two classes.
        """
        refuse_unknown_class(self.request.settings.positive, self.contract)
        if (wish := self.request.settings.wish) is not None:
            wish.positive_of(self.contract.task, self.contract.classes, self.contract.target)
        report, minimum = self.report, self.request.settings.minimum_rows
        kept = report.kept or 0
        if report.splits is not None and kept + report.splits.left_out >= minimum:
            refuse_unsplit(report.splits, self.contract, report.boundaries)
        if kept < minimum:
            held = (
                ""
                if report.splits is None or not report.splits.left_out
                else (f", {report.splits.left_out} left out because their groups occur in the test")
            )
            raise TooFewRows(
                f"{kept} rows remain of {report.counts.read} ({report.counts.rejected} rejected, "
                f"{report.counts.unlabelled} without a target, {report.duplicates.rows} duplicates{held}), "
                f"but minimum_rows is {minimum}. Drop more rows."
            )
        problems = [] if report.splits is None else list(_split_problems(report.splits, self.contract))
        if problems:
            raise TooFewRows(
                f"{kept} rows give splits that can't be used: {'; '.join(problems)}. Drop more rows."
            )

    def refuse_leaks(self, written: Written) -> None:
        """Look for columns that tell more than will be known; they are reported, or as the settings say fail.

        Raises:
            LeakageFound: there are some, and the settings don't put up with them.
        """
        self.report.leaks = find_leaks(written.evidence, self.contract)
        if self.report.leaks and self.request.settings.leakage == "fail":
            said = "; ".join(leak.said for leak in self.report.leaks)
            raise LeakageFound(
                f"Columns tell more than will be known when a prediction is asked for: {said}. Give them the "
                "role ignored in contract/schema.json, drop files without them, or set Leakage to report."
            )

    def refused(self, error: DataError, survey: Callable[[], TableSurvey]) -> DataError:
        """Return the error that the run ends with, having written the report that tells of it.

        Args:
            survey: examines the drops, for the contract that would fit them.
        """
        if self.report.notes is None and isinstance(error, SchemaChanged | TooManyRejects):
            error = explained(
                error,
                self.request.run_id,
                self.request.prefix,
                self.contract,
                survey,
                lambda seen: infer(self.request.settings, seen),
                self._store,
            )
        if error.whole != str(error):
            self._write("failure.txt", error.whole.encode())
            error.name_whole(f"{self.request.prefix}failure.txt")
        self.report.failure = error
        self._write("report.json", self.report.to_json())
        return error

    @property
    def filled(self) -> list[str]:
        """The columns that said nothing in the first drop, and do so in these."""
        least = {NO_VALUES: 1, ONE_VALUE: 2}
        found = self.report.counts.filled
        columns = [self.contract.column(name) for name in self.contract.unfilled]
        return [c.name for c in columns if len(found.get(c.name, ())) >= least[c.note or ""]]

    def propose_filled(self, survey: TableSurvey) -> None:
        """Tell of columns that these drops fill, with the contract that would take them in."""
        inferred = infer(self.request.settings, survey).contract
        taken = {name: inferred.column(name) for name in self.filled if inferred.has_column(name)}
        taken = {name: column for name, column in taken.items() if column.role == "feature"}
        if not taken:
            return
        columns = tuple(taken.get(column.name, column) for column in self.contract.columns)
        proposed = replace(self.contract, columns=columns)
        self._write(PROPOSED, proposed.to_json().encode())
        self.report.filled = tuple(taken), accept_command(self.request.run_id, proposed)

    def finished(self, written: Written) -> PreparedData:
        """Write report and profile, and return the answer."""
        report, prefix = self.report, self.request.prefix
        report.splits = written.splits
        self._move_boundaries()
        self._write("profile.json", profile_json(written, self.contract, report.data_version))
        self._write("report.json", report.to_json())
        return PreparedData(
            run_id=self.request.run_id,
            prefix=prefix,
            contract_uri=self._contract_uri,
            contract_hash=self.contract.hash,
            contract_is_new=report.notes is not None,
            task=self.contract.task,
            target=self.contract.target,
            split_rows=written.splits.rows,
            profile_uri=f"{prefix}profile.json",
            report_uri=f"{prefix}report.json",
            rejected_uri=self.rejected_uri,
            read=report.counts.read,
            rejected=report.counts.rejected,
            duplicates=report.duplicates.rows,
            data_version=report.data_version,
            notes=report.notes or (),
            unlabelled=report.counts.unlabelled,
            read_otherwise=report.counts.read_otherwise,
            wish=self.request.settings.wish,
        )

    def _write(self, name: str, content: bytes) -> None:
        self._store.write(f"{self.request.prefix}{name}", content, _JSON)


def refuse_unknown_class(positive: str | None, contract: Contract) -> None:
    """Raise UnknownPositiveClass unless it is one of two classes, or none is asked for."""
    if positive is None or (contract.task == "binary" and positive in (contract.classes or ())):
        return
    known = ", ".join(map(repr, contract.classes or ())) or "none, because it is a number"
    raise UnknownPositiveClass(
        f"PositiveClass is {positive!r}, but the task is {contract.task} and the classes of "
        f"{contract.target!r} are {known}. Name one of two classes, or leave the parameter empty."
    )


def _is_too_much(objects: Iterable[ObjectCounts], allowed: float) -> bool:
    counts = list(objects)
    return sum(each.rejected for each in counts) > allowed * sum(
        each.read - each.unlabelled for each in counts
    )


def _split_problems(splits: SplitCounts, contract: Contract) -> Iterable[str]:
    """Training needs every class; judging needs two classes, or two values for a regression's R²."""
    for split in SPLITS:
        rows = splits.rows[split]
        if rows < 2:
            yield f"{split} has {rows} rows and needs 2"
            continue
        if contract.classes is None:
            continue
        present = splits.classes[split]
        missing = [repr(label) for label in contract.classes if not present.get(label)]
        if missing and (split == "train" or len(present) < 2):
            counted = ", ".join(f"{label!r}: {count}" for label, count in sorted(present.items()))
            yield f"{split} has no row of class {', '.join(missing)} (it has {counted})"


def _too_many(counts: CheckCounts, allowed: float, contract: Contract) -> str:
    reasons = []
    for rule, column, reason in counts.top_reasons()[:_REASONS_SHOWN]:
        where = "the record as a whole" if column is None else f"column {column!r}"
        expected = ""
        if column is not None and contract.has_column(column):
            expected = f" (expected {contract.column(column).type})"
        examples = ", ".join(
            f"{example.value!r} in row {example.row} of {example.source}" for example in reason.examples
        )
        reasons.append(f"rule {rule!r} in {where}{expected}: {reason.count} times, for example {examples}")
    labelled = counts.read - counts.unlabelled
    return (
        f"{counts.rejected} of {labelled} rows ({percent(counts.rejected / labelled)}) break the contract, "
        f"but maximum_reject_rate is {percent(allowed)}. {'; '.join(reasons)}. Correct the file and drop it "
        "again; or edit contract/schema.json where its rules are too narrow."
    )


def _data_version(objects: Iterable[ObjectRef], contract: Contract, store: ObjectStore) -> str:
    """SHA-256 over the sorted identities of the objects' content, and the contract's hash."""
    identities = sorted(
        ref.identity if ref.version_id or ref.etag else f"{ref.identity}\0{store.sha256(ref)}"
        for ref in objects
    )
    digest = hashlib.sha256()
    for line in (*identities, contract.hash):
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()
