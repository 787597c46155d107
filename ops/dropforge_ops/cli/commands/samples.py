"""``dropforge samples``: write data sets to try with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dropforge_ops.cli.extras import require
from dropforge_ops.cli.invocation import Invocation
from dropforge_ops.errors import OperationFailed, UsageError
from dropforge_ops.render import table
from dropforge_ops.stack.samples import SAMPLES, sample_names, write_samples


def samples(
    invocation: Invocation,
    *,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            help="Which. [default: all]",
            show_default=False,
            autocompletion=sample_names,
        ),
    ] = None,
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="The folder to write into.")] = Path(),
) -> None:
    """Write real data sets as CSV files, to drop."""
    require("samples", "local")  # they are scikit-learn's
    wanted = list(dict.fromkeys(names or SAMPLES))
    unknown = [name for name in wanted if name not in SAMPLES]
    if unknown:
        raise UsageError(f"There is no sample {', '.join(unknown)}; there are {', '.join(SAMPLES)}.")
    try:
        paths = write_samples(to, wanted)
    except OSError as error:
        raise OperationFailed(
            f"{to} can't be written to: {error.strerror}. Name another folder with --to."
        ) from error
    document = {
        "samples": [
            {
                "name": name,
                "path": str(path),
                "target": SAMPLES[name].target,
                "id": SAMPLES[name].key,
                "task": SAMPLES[name].task,
                "rows": SAMPLES[name].rows,
                "description": SAMPLES[name].description,
            }
            for name, path in zip(wanted, paths, strict=True)
        ]
    }

    def show(out: Console) -> None:
        rows = [[each["path"], each["rows"], each["task"], each["target"]] for each in document["samples"]]
        out.print(table(["file", "rows", "task", "target"], rows))

    invocation.emit(document, show)
