"""DynamoDB's writes are durable when they are answered: a log of write requests on top of the last snapshot.

MiniStack saves a whole table at shutdown. A snapshot per write would cost more with every item, so requests
are logged instead and applied again, in order, to the snapshot that the next process finds.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from dropforge_local.glue.seams import dynamodb, responses

if TYPE_CHECKING:
    from collections.abc import Callable

    from dropforge_local.glue import Installed
    from dropforge_local.glue.journal import Journal

# Every operation that changes items; tables change through CloudFormation and are saved with snapshots.
_WRITES = {
    "PutItem": "_put_item",
    "DeleteItem": "_delete_item",
    "UpdateItem": "_update_item",
    "BatchWriteItem": "_batch_write_item",
    "TransactWriteItems": "_transact_write_items",
    "ExecuteStatement": "_execute_statement",
    "BatchExecuteStatement": "_batch_execute_statement",
    "ExecuteTransaction": "_execute_transaction",
}
_POSITION = "dropforge_log_position"


class WriteLog:
    """Knows how far the log has come, so that a snapshot can say which writes it holds."""

    def __init__(self) -> None:
        # Re-entrant: ExecuteStatement and ImportTable call PutItem.
        self.lock = threading.RLock()
        self.position = 0
        self.depth = 0


def install(journal: Journal, installed: Installed) -> None:
    """Log successful writes, stamp snapshots with the log's position, and replay the rest on restore.

    What a snapshot on disk holds leaves the log, which would grow for as long as the state is kept.
    """

    log = WriteLog()
    get_state, restore_state = dynamodb.get_state, dynamodb._restore_state

    def logged(operation: str, write: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
        def call(data: dict[str, Any]) -> Any:
            with log.lock:
                log.depth += 1
                try:
                    answer = write(data)
                finally:
                    log.depth -= 1
                # A refused write changed nothing; an inner write is part of the outer request.
                if log.depth == 0 and answer[0] < 400:
                    log.position = journal.log_write(
                        responses.get_account_id(), responses.get_region(), operation, data
                    )
                return answer

        return call

    def snapshot() -> dict[str, Any]:
        with log.lock:
            state: dict[str, Any] = get_state()
            return {**state, _POSITION: log.position}

    def restore(data: dict[str, Any] | None) -> None:
        data = data or {}
        restore_state(data)
        log.position = data.get(_POSITION, 0)
        account, region = responses.get_account_id(), responses.get_region()
        try:
            for number, its_account, its_region, operation, request in journal.writes_after(log.position):
                responses.set_request_account_id(its_account)
                responses.set_request_region(its_region)
                writes[operation](request)
                log.position = number
        finally:
            responses.set_request_account_id(account)
            responses.set_request_region(region)

    writes = {operation: getattr(dynamodb, name) for operation, name in _WRITES.items()}
    for operation, name in _WRITES.items():
        setattr(dynamodb, name, logged(operation, writes[operation]))
    dynamodb.get_state = snapshot
    dynamodb._restore_state = restore
    dynamodb.load_persisted_state = restore
    installed.saved["dynamodb"] = lambda state: journal.forget_writes(state[_POSITION])
