"""``dropforge card``: the model card of a version, as Markdown."""

from __future__ import annotations

from typing import Annotated

import typer

from dropforge_ops.actions import decisions, model_cards
from dropforge_ops.cli.invocation import Invocation
from dropforge_ops.render import say


def card(
    invocation: Invocation,
    *,
    version: Annotated[
        str, typer.Argument(metavar="VERSION", help="A number, 'latest', or a model package's ARN.")
    ],
) -> None:
    """A version's model card as Markdown: what it is for, what it was measured at, its data, its limits.

    It is the card in SageMaker's registry. Of a version that has none there, it is drafted from what the run
    left, and says which documents are missing.
    """
    model = decisions.parse_version(version, invocation.ledger)
    target, ledger = invocation.target, invocation.ledger
    sagemaker = target.client("sagemaker")
    found = model_cards.read_card(model, target.bucket, ledger, invocation.documents, sagemaker)
    invocation.emit(found.to_dict(), lambda out: say(out, model_cards.markdown(found).rstrip("\n")))
