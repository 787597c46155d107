"""What a page is given: the stack it shows, and a way to read it that doesn't hold the other pages up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import cached_property
from threading import Lock
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from dropforge.ledger_table.reader import LedgerReader
from dropforge_ops.console.dropping import Drops
from dropforge_ops.errors import from_aws
from dropforge_ops.stack.documents import Documents
from dropforge_ops.stack.target import Target

# A person watches, so a change is seen within a breath; on AWS every look is a request that costs.
_LOCAL_LOOK_S = 1.0
_AWS_LOOK_S = 5.0


class Context:
    """One stack on one host, shared by every page and reader of a console."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._found: dict[Any, tuple[float, Any]] = {}
        self._keeping = Lock()

    @property
    def ledger(self) -> LedgerReader:
        """The stack's ledger."""
        return self.target.ledger

    @property
    def documents(self) -> Documents:
        """The JSON documents in the stack's bucket."""
        return self.target.documents

    @cached_property
    def drops(self) -> Drops:
        """What was dropped through this console."""
        return Drops(self.target)

    @property
    def look_s(self) -> float:
        """Seconds between two looks of a page that keeps itself up to date."""
        return _LOCAL_LOOK_S if self.target.is_local else _AWS_LOOK_S

    def kept[Found](self, look: Callable[[Target, LedgerReader], Found], for_s: float) -> Found:
        """What a costly look found: one look in so many seconds for all pages together."""
        with self._keeping:
            at, found = self._found.get(look, (0.0, None))
            if found is None or time.monotonic() - at > for_s:
                found = look(self.target, self.ledger)
                self._found[look] = (time.monotonic(), found)
            kept: Found = found
            return kept

    async def read[**P, Found](
        self, function: Callable[P, Found], *args: P.args, **kwargs: P.kwargs
    ) -> Found:
        """Call a function that talks to AWS in a thread.

        Raises:
            CommandError: in place of boto3's errors, with a message for people.
        """
        try:
            return await asyncio.to_thread(function, *args, **kwargs)
        except (ClientError, BotoCoreError) as error:
            raise from_aws(error, self.target.host) from error
