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
from dropforge.domain.contract import Contract
from dropforge.domain.errors import DataError, SchemaChanged
from dropforge.domain.ports import ObjectStore
from dropforge.domain.preparing import Tables
from dropforge.domain.survey import TableSurvey


def prepare_data(request: PrepareRequest, store: ObjectStore, tables: Tables) -> PreparedData:
    """Prepare the drops of a run.

    Safe to run twice: the same objects, settings and pinned contract give byte-identical output, and what
    an interrupted attempt left behind is removed. The first successful run pins its contract; a run whose
    data can't be used pins nothing, but leaves the rejected rows, a report that says why, and the contract
    that would fit, if the pinned one didn't, to be accepted.

    Raises:
        DataError: one of its subclasses, when the data can't be used.
        InvalidSettings: target, key or task differ from the pinned contract's.
        ObjectMissing: a drop was deleted meanwhile.
    """
    pinned_uri = pinned_contract_uri(request.data_uri)
    pinned = read_pinned(pinned_uri, request.settings, store)
    if pinned is None or was_inferred_by(request.prefix, pinned, store):
        inferred = infer(request.settings, tables.survey(request.read))
        if pinned is None or follows(pinned, inferred.contract):
            prepared = _prepare(request, inferred.contract, inferred.notes, store, tables)
            contract = store.read(prepared.contract_uri)
            if store.write_if_absent(pinned_uri, contract, "application/json"):
                return prepared
            # Somebody pinned a contract meanwhile; it is the one to be held to.
            pinned = read_pinned(pinned_uri, request.settings, store)
            if pinned is None or pinned.hash == prepared.contract_hash:
                return prepared
    return _prepare(request, pinned, None, store, tables)


def _prepare(
    request: PrepareRequest,
    contract: Contract,
    notes: tuple[str, ...] | None,
    store: ObjectStore,
    tables: Tables,
) -> PreparedData:
    preparation = Preparation(request, contract, notes, store)
    preparation.begin()
    report = preparation.report
    try:
        with tables.stage(request.read, contract, preparation.rejected_uri) as staged:
            report.counts = staged.counts
            preparation.refuse_rejects()
            if preparation.may_split_by_row and staged.has_few_combinations:
                preparation.split_by_row()
                staged.split_by_row(preparation.contract)
            report.duplicates = staged.deduplicate()
            report.splits = staged.split_counts()
            preparation.refuse_splits()
            written = staged.write(request.prefix)
            if notes is None and preparation.filled:
                preparation.propose_filled(tables.survey(request.read))
    except DataError as error:
        refused = preparation.refused(error, lambda: _survey_of_change(request, tables))
        if refused is error:
            raise
        raise refused from error
    return preparation.finished(written)


def _survey_of_change(request: PrepareRequest, tables: Tables) -> TableSurvey:
    """Examine all drops; where they differ among themselves, the newest alone."""
    try:
        return tables.survey(request.read)
    except SchemaChanged:
        return tables.survey([request.newest_drop])
