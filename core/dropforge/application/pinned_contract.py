"""Which contract a run is held to: the pinned one, or the one that its drops imply if there is none."""

from __future__ import annotations

import json
from dataclasses import replace

from dropforge.application.preparation_request import PrepareSettings
from dropforge.domain.contract import SLICED_TYPES, Contract
from dropforge.domain.errors import (
    InvalidContract,
    InvalidSettings,
    MissingGuardedColumn,
    PrivateGuardedColumn,
    UnsuitableGuardedColumn,
)
from dropforge.domain.inference import (
    GROUP_NOTE,
    GUARDED_NOTE,
    TIME_NOTE,
    Inferred,
    deciding,
    infer_contract,
)
from dropforge.domain.ports import ObjectStore
from dropforge.domain.survey import TableSurvey


def pinned_contract_uri(data_uri: str) -> str:
    """Where the contract is pinned that drops are held to."""
    return f"{data_uri.rstrip('/')}/contract/schema.json"


def read_pinned(uri: str, settings: PrepareSettings, store: ObjectStore) -> Contract | None:
    """Return the pinned contract, split as the stack's parameters say; None if there is none.

    Raises:
        InvalidSettings: it is about another target, key or task than the stack, or it lacks the column that
            is to decide on the split.
    """
    if not store.exists(uri):
        return None
    contract = Contract.from_json(store.read(uri))
    wanted = {"target": settings.target, "key": settings.key}
    if settings.task != "auto":
        wanted["task"] = settings.task
    wrong = [
        f"{name} is {value!r}, in the contract {getattr(contract, name)!r}"
        for name, value in wanted.items()
        if value != getattr(contract, name)
    ]
    if wrong:
        raise InvalidSettings(
            f"The stack's parameters differ from {uri}: {'; '.join(wrong)}. Correct the parameters; or edit "
            "contract/schema.json, or delete it so that the next drop pins a new contract."
        )
    return judged_by(splitting_by(contract, settings, uri), settings, uri)


def splitting_by(contract: Contract, settings: PrepareSettings, uri: str) -> Contract:
    """Return the contract with what the stack's parameters say of the split: they may change, and it follows.

    A column that was ignored until now is read from now on, held to its type, and not learned from.

    Raises:
        InvalidSettings: the contract, which `uri` names, has no such column, or it may lack values.
    """
    if (settings.group, settings.time) == (contract.group, contract.time):
        return contract
    columns = contract.columns
    named = {"GroupColumn": (settings.group, GROUP_NOTE), "SplitColumn": (settings.time, TIME_NOTE)}
    for parameter, (name, note) in named.items():
        if name is not None and not contract.has_column(name):
            raise InvalidSettings(
                f"{parameter} is {name!r}, which is not among the columns of {uri}. Correct the parameter; "
                "or delete the contract, so that the next drop pins a new one."
            )
        columns = tuple(deciding(column, note) if column.name == name else column for column in columns)
    try:
        return replace(contract, group=settings.group, time=settings.time, columns=columns)
    except InvalidContract as error:
        raise InvalidSettings(
            f"GroupColumn is {settings.group!r} and SplitColumn {settings.time!r}, which {uri} can't be "
            f"split by: {error}"
        ) from error


def judged_by(contract: Contract, settings: PrepareSettings, uri: str) -> Contract:
    """Return the contract with what the stack's parameters say of how models are judged.

    A guarded column that is ignored is read from now on, held to its type, and not learned from. A positive
    class that there isn't is left out: `Preparation.refuse_splits` refuses it, once all classes are known.

    Raises:
        MissingGuardedColumn, PrivateGuardedColumn, UnsuitableGuardedColumn: see there.
    """
    positive = settings.positive if settings.positive in (contract.classes or ()) else None
    for name in settings.guarded:
        if not contract.has_column(name):
            raise MissingGuardedColumn(
                f"GuardedColumns names {name!r}, which is not among the columns of {uri}. Correct the "
                "parameter, or drop files that have the column and accept the contract with it."
            )
        column = contract.column(name)
        if column.privacy is not None:
            raise PrivateGuardedColumn(
                f"GuardedColumns names {name!r}, which is private ({column.privacy}) in {uri}: the names of "
                "its slices would tell its values to everybody who sees a verdict. Guard a coarser column, "
                "or take its privacy out of the contract."
            )
        if column.type not in SLICED_TYPES or column.role == "key":
            what = "identifies rows" if column.role == "key" else f"is a {column.type}"
            raise UnsuitableGuardedColumn(
                f"GuardedColumns names {name!r}, which {what}, so its values make no slices. Name a column"
                " of categories, numbers, or true and false."
            )
    columns = tuple(
        replace(column, role="guarded", note=GUARDED_NOTE)
        if column.name in settings.guarded and column.role == "ignored"
        else column
        for column in contract.columns
    )
    task = contract.task == "binary"
    return replace(
        contract, columns=columns, positive=positive if task else None, guarded=tuple(settings.guarded)
    )


def was_inferred_by(prefix: str, pinned: Contract, store: ObjectStore) -> bool:
    """Whether an earlier attempt of this very run has pinned the contract."""
    uri = f"{prefix}report.json"
    if not store.exists(uri):
        return False
    report = json.loads(store.read(uri))
    return bool(report.get("contract_is_new")) and report.get("contract_hash") == pinned.hash


def follows(pinned: Contract, inferred: Contract) -> bool:
    """Whether a preparation that starts with the inferred contract may have pinned this one."""
    return pinned in (inferred, replace(inferred, split_by=() if inferred.split_by else inferred.split_by))


def infer(settings: PrepareSettings, survey: TableSurvey) -> Inferred:
    """Infer the contract of a drop under a stack's settings; see `infer_contract` and `judged_by`."""
    inferred = infer_contract(
        survey,
        target=settings.target,
        key=settings.key,
        task=settings.task,
        tolerated=settings.maximum_reject_rate,
        group=settings.group,
        time=settings.time,
    )
    where = next(iter(survey.sources.values()), "the drop")
    return replace(inferred, contract=judged_by(inferred.contract, settings, where))
