"""What a transform job sends and stores: input cut into payloads, answers put together again.

Only the bytes matter here; nothing reads a record's content. Memory is bounded by the payload's size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import IO

MULTI_RECORD = "MultiRecord"


class PayloadTooLarge(Exception):
    """A record, or a file that isn't split, is larger than ``MaxPayloadInMB``."""

    def __init__(self) -> None:
        super().__init__("Too much data for max payload size")


def records(stream: IO[bytes], split: str, limit: int) -> Iterator[bytes]:
    """The records of one input file: its lines without their line feeds, or all of it.

    Args:
        split: ``None`` or ``Line``, as ``SplitType`` has it.
        limit: the largest record, in bytes.

    Raises:
        PayloadTooLarge: a record is larger.

    Example:
        >>> import io
        >>> list(records(io.BytesIO(b"a\\n\\nb\\n"), "Line", 9))
        [b'a', b'', b'b']
    """
    if split == "None":
        whole = stream.read(limit + 1)
        if len(whole) > limit:
            raise PayloadTooLarge
        yield whole
        return
    while line := stream.readline(limit + 2):
        record = line.removesuffix(b"\n")
        if len(record) > limit:
            raise PayloadTooLarge
        yield record


def mini_batches(found: Iterable[bytes], strategy: str, limit: int) -> Iterator[list[bytes]]:
    """Records as they go out together: one by one, or as many as fit into a payload of ``limit`` bytes.

    Example:
        >>> list(mini_batches([b"aa", b"b", b"c"], "MultiRecord", 4))
        [[b'aa', b'b'], [b'c']]
    """
    batch: list[bytes] = []
    size = 0
    for record in found:
        if batch and (strategy != MULTI_RECORD or size + 1 + len(record) > limit):
            yield batch
            batch, size = [], 0
        size += len(record) + (1 if batch else 0)
        batch.append(record)
    if batch:
        yield batch


def payload(batch: list[bytes]) -> bytes:
    """The body of the request that carries a mini-batch."""
    return b"\n".join(batch)


def assembled(answer: bytes, assemble: str) -> bytes:
    """An answer as it stands in the output file; with ``Line`` each ends in one line feed."""
    if assemble == "None" or answer.endswith(b"\n"):
        return answer
    return answer + b"\n"
