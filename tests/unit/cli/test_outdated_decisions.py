from __future__ import annotations

import pytest

from dropforge.domain.records import Approval
from dropforge.ledger_table.calls import ClientCalls
from dropforge.ledger_table.reader import LedgerReader
from dropforge_ops.actions import decisions
from dropforge_ops.stack.documents import Documents


class Reviewer:
    """Somebody who looks at a version, and decides later."""

    def __init__(self, stack, version):
        clients = stack.target.client
        self.stack, self.sagemaker = stack, stack.sagemaker
        self.ledger = LedgerReader(ClientCalls(clients("dynamodb")), stack.target.outputs["LedgerTable"])
        self.documents = Documents(clients("s3"))
        model = self.ledger.get_model(version)
        assert model is not None
        self.shown = decisions.candidate(model, self.ledger, self.documents, self.sagemaker)

    def check(self):
        decisions.check_current(self.shown, self.ledger, self.documents, self.sagemaker)


def test_a_decision_by_what_is_still_there_is_let_through(stack):
    stack.lives(1)
    stack.trained(2)
    Reviewer(stack, 2).check()


@pytest.mark.parametrize(
    ("meanwhile", "said"),
    [
        (lambda stack, _: stack.decide(2, Approval.REJECTED, by="bob"), "it is rejected now by bob"),
        (
            lambda stack, model: stack.sagemaker.packages.update(
                {model.model_package_arn: {"ModelApprovalStatus": "Approved"}}
            ),
            "the registry has it as Approved now",
        ),
        (
            lambda stack, model: stack.write_judgement(model.run_id, digest="ef" * 32),
            "its metrics are others now",
        ),
        (lambda stack, _: stack.lives(3), "what is live is version 3 now"),
    ],
    ids=["decided by another", "decided in the registry", "metrics changed", "another went live"],
)
def test_a_decision_is_refused_when_what_was_shown_has_changed(stack, meanwhile, said):
    stack.lives(1)
    model = stack.trained(2)
    reviewer = Reviewer(stack, 2)
    meanwhile(stack, model)
    with pytest.raises(decisions.Outdated, match=said):
        reviewer.check()
