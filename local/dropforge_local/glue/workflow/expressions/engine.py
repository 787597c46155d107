"""The engine: MiniStack's, with the reference's operators and functions in place of those that differ."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import jsonata
import jsonata.utils

from dropforge_local.glue.workflow.expressions.functions import REPLACED, ReferenceFunctions, same
from dropforge_local.glue.workflow.expressions.numbers import as_doubles
from dropforge_local.glue.workflow.expressions.patterns import Pattern

# Operators of JSONata 2.1, which Step Functions doesn't parse.
_LATER_OPERATORS = ("??", "?:")

_FUNCTIONS = {
    name: jsonata.Jsonata.function(name, signature, ReferenceFunctions, method)
    for name, (signature, method) in REPLACED.items()
}


class ReferenceJsonata(jsonata.Jsonata):
    """An expression.

    Raises:
        JException: it doesn't parse, or fails on its input; to MiniStack that is States.QueryEvaluationError.
    """

    def __init__(self, expression: str, timeout: int | None = None) -> None:
        for operator in _LATER_OPERATORS:
            self.get_parser().symbol_table.pop(operator, None)
        super().__init__(expression, Pattern, timeout)
        self.environment.bindings.update(_FUNCTIONS)
        # https://docs.aws.amazon.com/step-functions/latest/dg/transforming-data.html: not supported
        self.environment.bind("eval", None)

    @staticmethod
    def jsonata(expression: str, timeout: int | None = None) -> ReferenceJsonata:
        """An expression, made as MiniStack makes one."""
        return ReferenceJsonata(expression, timeout)

    def register_lambda(self, name: str, implementation: Callable[..., Any]) -> None:
        """Add one of Step Functions' own functions; MiniStack's mends of JSONata's give way to ours."""
        if name not in REPLACED:
            super().register_lambda(name, implementation)

    def evaluate(self, document: Any, bindings: Mapping[str, Any] | None = None) -> Any:
        """The expression's value, with numbers as doubles; None for null and for undefined."""
        return as_doubles(super().evaluate(document, bindings))

    def evaluate_numeric_expression(self, lhs: Any, rhs: Any, op: str) -> Any:
        """Arithmetic; the remainder of a fraction is one."""
        result = super().evaluate_numeric_expression(lhs, rhs, op)
        return (
            jsonata.utils.Utils.convert_number(math.fmod(lhs, rhs))
            if op == "%" and result is not None
            else result
        )

    def evaluate_includes_expression(self, lhs: Any, rhs: Any) -> bool:
        """Whether a value is among others; as in JavaScript no object or array is another."""
        if lhs is None or rhs is None or isinstance(lhs, dict | list):
            return False
        return any(same(lhs, each) for each in (rhs if isinstance(rhs, list) else [rhs]))

    def evaluate_string_concat(self, lhs: Any, rhs: Any) -> str:
        """Two values as one text."""
        return "".join(ReferenceFunctions.string(side, None) or "" for side in (lhs, rhs))


# What MiniStack takes for the library.
MODULE = SimpleNamespace(Jsonata=ReferenceJsonata, utils=jsonata.utils)
