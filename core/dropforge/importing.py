"""Importing a large library without looking for garbage."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collection(*, is_kept: bool = False) -> Iterator[None]:
    """Let imports make their many objects in peace, and keep these from every later collection.

    The collector would walk all that modules define time and again, a tenth of what loading boto3 or pyarrow
    takes, and find nothing: modules live as long as the process. Where all is imported already, nothing more
    is kept, unless what is made lives as long.

    Args:
        is_kept: whether it does.
    """
    was_enabled, modules = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if is_kept or len(sys.modules) > modules:
            gc.freeze()
        if was_enabled:
            gc.enable()
