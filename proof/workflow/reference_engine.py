"""Every expression, evaluated a second time by JSONata's reference engine, of which the host's is a port."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dropforge_local.glue.workflow.expressions.numbers import as_doubles
from proof.findings import Finding
from proof.product import ROOT, Product
from proof.workflow.data import exploration
from proof.workflow.jsonata import Evaluation

# What no two evaluations agree in.
_EVER_NEW = re.compile(r"\$(now|millis|random|uuid|shuffle)\b")


class NoReferenceEngine(Exception):
    """npm's jsonata could not be installed or run; the message holds what the command said."""


def check(product: Product) -> Iterator[Finding]:
    """Both engines make the same of each expression on all data that the walks came by."""
    for machine in product.machines():
        evaluations = exploration(product, machine).evaluations
        compared = [each for each in evaluations if not _EVER_NEW.search(each.expression)]
        told = set[str]()
        for each, reference in zip(compared, outcomes(compared), strict=True):
            if not agree(json.loads(each.outcome), reference) and each.expression not in told:
                told.add(each.expression)
                yield Finding(
                    "engines",
                    machine.path,
                    f"{each.expression} gives {each.outcome} on the local host and {json.dumps(reference)} "
                    f"with JSONata's reference engine, for {each.variables[:400]}",
                )


def agree(ours: Mapping[str, Any], reference: Mapping[str, Any]) -> bool:
    """Whether two outcomes are one; the wording of an error is each engine's own."""
    if "error" in ours or "error" in reference:
        return "error" in ours and "error" in reference
    return json.dumps(ours, sort_keys=True) == json.dumps(reference, sort_keys=True)


def outcomes(evaluations: Iterable[Evaluation]) -> list[dict[str, Any]]:
    """What the reference engine makes of each expression with its variables.

    Raises:
        NoReferenceEngine.
    """
    lines = [
        f'{{"expression": {json.dumps(each.expression)}, "variables": {each.variables}}}'
        for each in evaluations
    ]
    done = subprocess.run(
        [str(ROOT / "scripts" / "evaluate_jsonata.sh")],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise NoReferenceEngine(f"scripts/evaluate_jsonata.sh ended with {done.returncode}: {done.stderr}")
    return [as_doubles(json.loads(line)) for line in done.stdout.splitlines()]
