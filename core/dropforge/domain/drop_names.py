"""What a key under ``incoming/`` says of its object: data, part of a folder, its marker, or neither."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

MARKER: Final = "_SUCCESS"
"""Hadoop's committers, and with them Spark and Glue, write this empty object once a folder is complete:
``mapreduce.fileoutputcommitter.marksuccessfuljobs``, on by default."""
PATIENCE: Final = timedelta(minutes=15)
"""How long a part waits for its folder's marker: some jobs are told to write none."""

# part-00000-<uuid>.snappy.parquet (Spark), part-r-00000 (Hadoop), run-1512345678901-part-r-00000 (Glue)
_PART = re.compile(r"(?:^|-)part-(?:block-\d+-)?(?:[mr]-)?\d{5}(?=[-_.]|$)")
_CHECKSUM = ".crc"
_FOLDER = "_$folder$"
_ROOT = "incoming/"


def why_no_data(key: str) -> str | None:
    """Why the object of this key is no data; None where it is.

    >>> why_no_data("incoming/feb/part-00000.csv"), why_no_data("incoming/feb/.part-00000.csv.crc")
    (None, "a name that begins with '.'")
    """
    if key.endswith("/") or key.endswith(_FOLDER):
        return "the marker of a folder"
    for segment in key.removeprefix(_ROOT).split("/"):
        if segment.startswith(("_", ".")):
            return f"a name that begins with {segment[0]!r}"
    return "a checksum" if key.endswith(_CHECKSUM) else None


def completes_folder(key: str) -> str | None:
    """The folder, with its final slash, that the object of this key completes; None where it is no marker."""
    folder, _, name = key.rpartition("/")
    return f"{folder}/" if name == MARKER else None


def markers_of_part(key: str) -> list[str]:
    """The markers of which one completes the folder of a part, the nearest first; empty for other objects.

    A partitioned table has its marker in the uppermost folder.

    >>> markers_of_part("incoming/feb/day=1/part-00000-b1.parquet")[:2]
    ['incoming/feb/day=1/_SUCCESS', 'incoming/feb/_SUCCESS']
    >>> markers_of_part("incoming/part-1.csv")
    []
    """
    folder, _, name = key.rpartition("/")
    if not _PART.search(name):
        return []
    found = []
    while folder:
        found.append(f"{folder}/{MARKER}")
        folder = folder.rpartition("/")[0]
    return found
