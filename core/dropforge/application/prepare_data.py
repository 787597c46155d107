"""Turns dropped objects into checked, de-duplicated, split and profiled Parquet under the run's prefix."""

from __future__ import annotations

from dropforge.application.pinned_contract import (
    follows,
    infer,
    pinned_contract_uri,
    read_pinned,
    was_inferred_by,
)
from dropforge.application.preparation import Preparation
from dropforge.application.preparation_request import PreparedData, PrepareRequest
from dropforge.application.sift_objects import OF_ONE_OBJECT, finished, sift, write_remarks
from dropforge.domain.contract import Contract
from dropforge.domain.errors import DataError, DropforgeError, SchemaChanged
from dropforge.domain.inference import Inferred
from dropforge.domain.ports import ObjectRef, ObjectStore
from dropforge.domain.preparing import ObjectCounts, Tables
from dropforge.domain.run_manifest import Remarks
from dropforge.domain.survey import TableSurvey


def prepare_data(request: PrepareRequest, store: ObjectStore, tables: Tables) -> PreparedData:
    """Prepare the drops of a run, but for those that are bad by themselves while others are good.

    Safe to run twice: the same objects, settings and pinned contract give byte-identical output, and what
    an interrupted attempt left behind is removed. The first successful run pins its contract; a run whose
    data can't be used pins nothing, but leaves the rejected rows, a report that says why, and the contract
    that would fit, if the pinned one didn't, to be accepted. ``remarks.json`` says which objects are unfit.

    Raises:
        DataError: one of its subclasses, when the data can't be used.
        InvalidSettings: target, key or task differ from the pinned contract's.
        ObjectMissing: no drop is there any more.
    """
    remarks = Remarks()
    try:
        prepared = _under_a_contract(request, store, tables, may_sift=True)
    except _Unfit as unfit:
        remarks = unfit.remarks
        write_remarks(request, remarks, store)
        prepared = _under_a_contract(unfit.remaining, store, tables, may_sift=False)
    return finished(prepared, request, remarks, store)


class _Unfit(Exception):
    """Some objects can't be used; the others can be tried without them."""

    def __init__(self, remaining: PrepareRequest, remarks: Remarks) -> None:
        super().__init__()
        self.remaining, self.remarks = remaining, remarks


def _under_a_contract(
    request: PrepareRequest, store: ObjectStore, tables: Tables, *, may_sift: bool
) -> PreparedData:
    pinned_uri = pinned_contract_uri(request.data_uri)
    pinned = read_pinned(pinned_uri, request.settings, store)
    if pinned is None or was_inferred_by(request.prefix, pinned, store):
        try:
            inferred = infer(request.settings, tables.survey(request.read, request.settings.target))
        except OF_ONE_OBJECT as error:
            if may_sift:
                _sift(request, error, None, store, tables)
            raise
        if pinned is None or follows(pinned, inferred.contract):
            prepared = _prepare(request, inferred.contract, inferred, store, tables, may_sift)
            contract = store.read(prepared.contract_uri)
            if store.write_if_absent(pinned_uri, contract, "application/json"):
                return prepared
            # Somebody pinned a contract meanwhile; it is the one to be held to.
            pinned = read_pinned(pinned_uri, request.settings, store)
            if pinned is None or pinned.hash == prepared.contract_hash:
                return prepared
    return _prepare(request, pinned, None, store, tables, may_sift)


def _sift(
    request: PrepareRequest,
    error: DropforgeError,
    contract: Contract | None,
    store: ObjectStore,
    tables: Tables,
) -> None:
    """Raise _Unfit where the run can go on without those objects that brought the error about."""

    def look(ref: ObjectRef) -> ObjectCounts | TableSurvey:
        return (
            tables.survey([ref], request.settings.target) if contract is None else tables.check(ref, contract)
        )

    sifted = sift(request, error, look)
    if not sifted.unfit:
        return
    remaining = sifted.remaining
    if remaining is not None:
        raise _Unfit(remaining, sifted.remarks)
    # Nothing good is left: the run fails with its error, and its drops are set aside by name.
    write_remarks(request, sifted.remarks, store)


def _prepare(
    request: PrepareRequest,
    contract: Contract,
    inferred: Inferred | None,
    store: ObjectStore,
    tables: Tables,
    may_sift: bool,
) -> PreparedData:
    notes, missing = (None, {}) if inferred is None else (inferred.notes, inferred.missing)
    preparation = Preparation(request, contract, notes, missing, store)
    preparation.begin()
    report = preparation.report
    try:
        with tables.stage(request.read, contract, preparation.rejected_uri) as staged:
            report.counts = staged.counts
            preparation.refuse_rows()
            if preparation.may_split_by_row and staged.has_few_combinations:
                preparation.split_by_row()
                staged.split_by_row(preparation.contract)
            report.duplicates = staged.deduplicate()
            if contract.time is not None:
                staged.place(preparation.boundaries_of(staged.times()))
            report.splits = staged.split_counts()
            preparation.refuse_splits()
            written = staged.write(request.prefix)
            preparation.refuse_leaks(written)
            if notes is None and preparation.filled:
                preparation.propose_filled(tables.survey(request.read, request.settings.target))
    except OF_ONE_OBJECT as error:
        if may_sift:
            _sift(request, error, contract, store, tables)
        if not isinstance(error, DataError):
            raise
        raise _refused(error, preparation, request, tables) from error
    except DataError as error:
        raise _refused(error, preparation, request, tables) from error
    return preparation.finished(written)


def _refused(
    error: DataError, preparation: Preparation, request: PrepareRequest, tables: Tables
) -> DataError:
    return preparation.refused(error, lambda: _survey_of_change(request, tables))


def _survey_of_change(request: PrepareRequest, tables: Tables) -> TableSurvey:
    """Examine all drops; where they differ among themselves, the newest alone."""
    try:
        return tables.survey(request.read, request.settings.target)
    except SchemaChanged:
        return tables.survey([request.newest_drop], request.settings.target)
