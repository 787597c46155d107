"""The local host's JSONata against npm's jsonata 2.0.6, the version that Step Functions documents."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from proof.product import Product
from proof.workflow import data, reference_engine, structure
from proof.workflow.jsonata import Evaluation, outcome_of

TRAINING = "statemachine/training.asl.yaml"
EXPRESSIONS = (Path(__file__).parent / "expressions.txt").read_text().splitlines()
VARIABLES: dict[str, Any] = {
    "x": {
        "a": 1,
        "b": [1, 2, 3],
        "f": [0.1] * 10,
        "s": "Straße",
        "n": None,
        "o": [{"k": "a", "v": 1}, {"k": "b", "v": 2}, {"k": "a", "v": 1.0}],
    }
}


def differing(expressions: list[str]) -> list[tuple[str, Any, Any]]:
    given = json.dumps(VARIABLES)
    ours = [outcome_of(expression, VARIABLES) for expression in expressions]
    evaluations = [
        Evaluation(expression, given, json.dumps(outcome))
        for expression, outcome in zip(expressions, ours, strict=True)
    ]
    references = reference_engine.outcomes(evaluations)
    return [
        (expression, ours, reference)
        for expression, ours, reference in zip(expressions, ours, references, strict=True)
        if not reference_engine.agree(ours, reference)
    ]


def test_both_engines_agree_in_every_function_and_operator() -> None:
    assert len(EXPRESSIONS) > 800
    assert differing(EXPRESSIONS) == []


def test_both_engines_agree_in_numbers_of_every_size() -> None:
    source = random.Random(20261130)  # noqa: S311 - data
    numbers = [source.choice([-1, 1]) * source.random() * 10 ** source.randint(-8, 20) for _ in range(150)]
    numbers += [source.randint(-(10**17), 10**17) for _ in range(50)]
    numbers += [source.randint(-2000, 2000) / 8 for _ in range(100)]  # ties among them
    numbers += [round(source.random() * 100, 3) for _ in range(100)]
    expressions = [
        text
        for number in numbers
        for text in (
            f"$string({number!r})",
            f"$string({{'n': [{number!r}]}})",
            f"$round({number!r}, {source.randint(-2, 4)})",
            f"$formatNumber({number!r}, '{source.choice(['0', '0.0', '#,##0.00', '0.0##', '0.0%'])}')",
            f"$number($string({number!r})) + {source.random()!r}",
        )
    ]
    expressions += [f"$sum({[source.random() for _ in range(9)]!r})" for _ in range(50)]
    assert differing(expressions) == []


@pytest.mark.parametrize(
    "expression",
    [
        "$formatNumber(1, '#.##')",
        "$formatNumber(1234, '0.0e0')",
        "$formatNumber(1e21, '0')",
        "$base64encode('é')",
        "$base64decode('w6k=')",
        "$replace('abc', 'b', function($m) { 'x' })",
    ],
)
def test_what_the_host_would_answer_otherwise_it_refuses(expression: str) -> None:
    assert "The local host doesn't evaluate this" in outcome_of(expression, {})["error"]


def test_an_expression_in_which_the_engines_differ_is_a_finding() -> None:
    condition = "{% $states.input.admission.outcome = 'admitted' %}"
    planted = Product.load().with_definition(
        TRAINING, condition, condition.replace("{% ", "{% $pad('a', 1.5) = 'a' and ")
    )
    found = list(reference_engine.check(planted))
    assert [(each.check, each.where) for each in found] == [("engines", TRAINING)]
    assert "$pad('a', 1.5)" in found[0].message


def test_eval_which_step_functions_lacks_is_a_finding() -> None:
    product = Product.load()
    planted = product.with_definition(TRAINING, "$string(", "$eval(")
    found = [each for each in structure.check_expressions(planted) if "$eval" in each.message]
    assert found
    assert found[0].check == "expression"
    assert outcome_of("$eval('1')", {})["error"].startswith("T1006")


def test_data_and_reference_are_checked_of_the_product_itself() -> None:
    product = Product.load()
    counted = [len(data.exploration(product, machine).evaluations) for machine in product.machines()]
    assert min(counted) > 200
    assert list(reference_engine.check(product)) == []
