"""Which objects of a run can't be used by themselves: the others go on without them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from dropforge.application.preparation_request import PreparedData, PrepareRequest
from dropforge.domain import errors
from dropforge.domain.drop_totals import refuse_other_columns, unlabelled
from dropforge.domain.errors import (
    DropforgeError,
    EmptyData,
    MissingTarget,
    ObjectMissing,
    TooManyRejects,
    cut,
)
from dropforge.domain.figures import percent
from dropforge.domain.inference import refuse_missing
from dropforge.domain.instance_rules import listed
from dropforge.domain.ports import ObjectRef, ObjectStore
from dropforge.domain.preparing import ObjectCounts
from dropforge.domain.run_manifest import REMARKS_NAME, Remarks
from dropforge.domain.survey import TableSurvey

OF_ONE_OBJECT: Final = (
    EmptyData,
    errors.UnreadableData,
    errors.UnsupportedFormat,
    errors.UnsupportedColumn,
    errors.DuplicateColumn,
    MissingTarget,
    errors.MissingKey,
    errors.MissingSplitColumn,
    errors.SchemaChanged,
    TooManyRejects,
    ObjectMissing,
)
"""What one object may bring about that is bad by itself. All else is about the run's rows as a whole."""

_FAR_FEWER = 2
"""Half as many rows: intervals are 40 % wider, and rare classes and categories go missing."""
_NAMED = 5
_MESSAGE_CHARACTERS = 500


@dataclass
class Sifted:
    """What was found out about a run's objects.

    Attributes:
        unfit: why objects can't be used, by their identity, in the order of their rows.
    """

    request: PrepareRequest
    unfit: dict[str, DropforgeError] = field(default_factory=dict)

    @property
    def remaining(self) -> PrepareRequest | None:
        """The request without them; None where nothing is left that the run was started for."""
        kept = tuple(ref for ref in self.request.objects if ref.identity not in self.unfit)
        if not any(self.request.is_new(ref) for ref in kept):
            return None
        return replace(self.request, objects=kept)

    @property
    def remarks(self) -> Remarks:
        """Which drops are to be set aside, and what is to be said.

        A file without rows beside others that have some, as Spark writes for an empty partition, is no fault:
        it counts as trained on.
        """
        goes_on = self.remaining is not None
        empty, aside = [], {}
        left_out = []
        for ref in self.request.objects:
            error = self.unfit.get(ref.identity)
            if error is None:
                continue
            if goes_on and isinstance(error, EmptyData):
                empty.append(ref)
                continue
            left_out.append(ref)
            drop_id = self.request.drop_ids.get(ref.identity)
            if drop_id is not None:
                aside[drop_id] = {
                    "class": type(error).__name__,
                    "message": cut(error.whole, _MESSAGE_CHARACTERS),
                }
        notes = []
        if goes_on and left_out:
            notes.append(
                f"Trained without {listed([ref.key for ref in left_out], _NAMED)}, which can't be used: see "
                "what was set aside."
            )
        if empty:
            notes.append(f"Passed over files without rows: {listed([ref.key for ref in empty], _NAMED)}.")
        return Remarks({} if self.request.is_replay else aside, notes)


def sift(
    request: PrepareRequest, error: DropforgeError, look: Callable[[ObjectRef], ObjectCounts | TableSurvey]
) -> Sifted:
    """Find out which of the run's objects brought about its error.

    Each is looked at alone, once more as a whole: only runs that would fail pay for it.

    Args:
        error: which the objects together have raised.
        look: holds an object to the contract that there is, or else examines its rows.
    """
    sifted = Sifted(request)
    if not isinstance(error, OF_ONE_OBJECT):
        return sifted
    surveys = []
    for ref in reversed(request.read):
        try:
            found = look(ref)
            if isinstance(found, ObjectCounts):
                _refuse_rows(ref, found, error, request)
            else:
                surveys.append((ref, found))
        except OF_ONE_OBJECT as unfit:
            sifted.unfit[ref.identity] = unfit
    before = TableSurvey()
    # Those with a target say which columns there should be.
    for ref, seen in sorted(surveys, key=lambda each: request.settings.target not in each[1].columns):
        try:
            _refuse_columns(ref, seen, before, error, request)
        except OF_ONE_OBJECT as unfit:
            sifted.unfit[ref.identity] = unfit
    return sifted


def write_remarks(request: PrepareRequest, remarks: Remarks, store: ObjectStore) -> None:
    """Write down what is to become of the run's drops, for whoever settles the run."""
    store.write(f"{request.prefix}{REMARKS_NAME}", remarks.to_json(), "application/json")


def _refuse_columns(
    ref: ObjectRef, seen: TableSurvey, before: TableSurvey, error: DropforgeError, request: PrepareRequest
) -> None:
    """An object from which, with those before it, a contract would be inferred has to have their columns.

    That it has no target is its fault only where none has one.
    """
    target = request.settings.target
    if isinstance(error, MissingTarget):
        refuse_missing(target, request.settings.key, seen.columns, ref.uri, *_placing(request))
        if not seen.columns[target].values:
            raise MissingTarget(unlabelled([ref.uri], seen.rows, target))
    is_known = not before.columns or seen.columns.keys() <= before.columns.keys()
    # A column that no other object has may be the target under another name.
    present = {**seen.columns, target: None} if is_known else seen.columns
    refuse_missing(target, request.settings.key, present, ref.uri, *_placing(request))
    refuse_other_columns(ref.uri, seen, before, target)
    for name in seen.columns:
        before.add_column(name, ref.uri)


def _refuse_rows(
    ref: ObjectRef, counts: ObjectCounts, error: DropforgeError, request: PrepareRequest
) -> None:
    """An object with too many rejects, or without a target, is at fault only where the whole run is."""
    if isinstance(error, MissingTarget) and request.is_new(ref) and counts.read == counts.unlabelled:
        raise MissingTarget(unlabelled([ref.uri], counts.read, request.settings.target))
    allowed = request.settings.maximum_reject_rate
    if isinstance(error, TooManyRejects) and counts.rejected > allowed * (counts.read - counts.unlabelled):
        raise TooManyRejects(
            f"{counts.rejected} of {counts.read} rows of {ref.uri} break the contract, but "
            f"maximum_reject_rate is {percent(allowed)}. runs/{request.run_id}/rejected/ has the reasons."
        )


def finished(
    prepared: PreparedData, request: PrepareRequest, remarks: Remarks, store: ObjectStore
) -> PreparedData:
    """Add what a reviewer should know of the rows, and write it all down."""
    fewer = _fewer_rows(prepared.kept, request.live_rows)
    notes = (*remarks.notes, *([] if fewer is None else [fewer]))
    if notes or remarks.set_aside:
        write_remarks(request, Remarks(remarks.set_aside, notes), store)
    return replace(prepared, remarks=notes)


def _fewer_rows(rows: int, live_rows: int | None) -> str | None:
    if live_rows is None or rows * _FAR_FEWER > live_rows:
        return None
    return f"Trained on {rows:,} rows; the live model was trained on {live_rows:,}."


def _placing(request: PrepareRequest) -> tuple[str | None, ...]:
    return request.settings.group, request.settings.time
