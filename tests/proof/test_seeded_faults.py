"""Faults planted into a copy of the product in memory: what `make check` and `make audit` run names each."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest
from proof.findings import Finding
from proof.product import Product
from proof.workflow import data, history

from proof import api_checks, iam_checks, workflow_checks

TRAINING = "statemachine/training.asl.yaml"
BATCH = "statemachine/batch.asl.yaml"


@pytest.fixture(scope="module")
def product() -> Product:
    return Product.load()


def checked(product: Product) -> list[Finding]:
    """What `make check` finds, without walking through the data: none of the faults below is one of data."""
    checks = [check for check in workflow_checks.CHECKS if check not in workflow_checks.WALKING]
    return [finding for check in checks for finding in check(product)]


def only(findings: list[Finding], check: str) -> Finding:
    """The one kind of finding there is: a fault is told by its name, not by what follows from it."""
    assert {finding.check for finding in findings} == {check}, findings
    return findings[0]


def test_the_product_itself_has_no_fault(product: Product) -> None:
    assert workflow_checks.all_findings(product) == []
    assert iam_checks.all_findings(product) == []
    assert list(api_checks.check(product)) == []


def test_a_typo_in_the_arn_of_a_resource(product: Product) -> None:
    planted = product.with_definition(TRAINING, "sagemaker:createTrainingJob", "sagemaker:createTrainJob")
    found = checked(planted)
    assert ("resource", f"{TRAINING} TrainModel") in {(each.check, each.where) for each in found}
    assert any("createTrainJob" in each.message for each in found)


UNUSED = "  Unused:\n    Type: String\n    Default: x\n    Description: Nothing.\n"


def test_a_parameter_that_nothing_uses(product: Product) -> None:
    planted = product.with_template("\nParameters:\n", f"\nParameters:\n{UNUSED}")
    grouped = planted.with_template("Parameters: [ModelName,", "Parameters: [Unused, ModelName,")
    found = only(checked(grouped), "parameter")
    assert found.where == "Unused"
    assert "nothing uses" in found.message
    assert any("in no group" in each.message for each in checked(planted))


def test_a_parameter_that_only_an_unused_condition_reads(product: Product) -> None:
    planted = product.with_template("\nParameters:\n", f"\nParameters:\n{UNUSED}")
    planted = planted.with_template("Parameters: [ModelName,", "Parameters: [Unused, ModelName,")
    planted = planted.with_template("Conditions:\n", "Conditions:\n  IsUnused: !Equals [!Ref Unused, x]\n")
    assert {each.where for each in checked(planted)} == {"Unused", "IsUnused"}


def test_a_typo_in_the_arn_of_a_policy(product: Product) -> None:
    # Named once, and granted by this name to two roles.
    planted = product.with_template(":training-job/", ":trainingjob/")
    found = [each for each in checked(planted) if each.check == "arn"]
    assert {each.where for each in found} == {"ReconcileRunsFunctionRole", "TrainingWorkflowRole"}
    missing = [each for each in iam_checks.all_findings(planted) if each.check == "missing-grant"]
    assert any("sagemaker:CreateTrainingJob" in each.message for each in missing)


def test_a_missing_grant_of_add_tags(product: Product) -> None:
    planted = product.with_template(
        "sagemaker:StopTrainingJob, sagemaker:AddTags]", "sagemaker:StopTrainingJob]"
    )
    found = only(iam_checks.all_findings(planted), "missing-grant")
    assert found.where == "TrainingWorkflowRole"
    assert "sagemaker:AddTags" in found.message
    assert "TrainModel" in found.message


def test_a_wrong_name_of_an_argument(product: Product) -> None:
    found = only(
        checked(product.with_definition(BATCH, '"CompressionType"', '"CompressionTyp"')),
        "argument",
    )
    assert found.where == f"{BATCH} TransformBatch"
    assert "TransformInput.CompressionTyp" in found.message


def test_a_wrong_name_in_a_request_that_is_computed(product: Product) -> None:
    planted = product.with_definition(TRAINING, "'TrainingInputMode'", "'TrainingInputMod'")
    found = [each for each in data.check(planted) if each.where == f"{TRAINING} TrainModel"]
    assert any("TrainingInputMod" in each.message for each in found)


def test_a_member_that_no_published_list_of_an_optimised_integration_has(product: Product) -> None:
    planted = product.with_definition(
        BATCH, "aws-sdk:sagemaker:createTransformJob", "sagemaker:createTransformJob.sync"
    )
    found = [each for each in checked(planted) if each.check == "argument"]
    assert {each.where for each in found} == {f"{BATCH} TransformBatch"}
    assert ".ModelClientConfig: no published list" in " ".join(each.message for each in found)


def test_a_loop_that_fills_the_history(product: Product) -> None:
    planted = product.with_definition(TRAINING, "$floor($job.waited_s / 100)", "0")
    found = only(list(history.check(planted)), "history")
    assert found.where == TRAINING
    assert "25,000" in found.message


def test_reminders_without_end_fill_the_history(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        history, "next_reminder_s", lambda reminder_s, _, remaining_s: min(reminder_s, remaining_s)
    )
    planted = product.with_definition(TRAINING, "Tell them that a version waits", "Say that a version waits")
    assert only(list(history.check(planted)), "history").where == TRAINING


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"ServiceUnavailable",', '"ServiceUnavailable", "Sandbox.Timedout",', "had 900 s"),
        ('"TimeoutSeconds": 960', '"TimeoutSeconds": 900', "own 900 s have not been told"),
        (
            '"ErrorEquals": ["Lambda.TooManyRequestsException"]',
            '"ErrorEquals": ["Lambda.TooManyRequestsException", "Lambda.Unknown"]',
            "apart",
        ),
    ],
)
def test_a_call_that_is_paid_for_twice_or_gives_up_too_soon(
    product: Product, old: str, new: str, says: str
) -> None:
    definition = json.loads(product.definitions[TRAINING])
    state = json.dumps(definition["States"]["PrepareData"])
    assert old in state
    definition["States"]["PrepareData"] = json.loads(state.replace(old, new))
    planted = dataclasses.replace(
        product, definitions={**product.definitions, TRAINING: json.dumps(definition)}
    )
    found = [each for each in checked(planted) if each.check == "convention"]
    assert {each.where for each in found} == {f"{TRAINING} PrepareData"}
    assert any(says in each.message for each in found)


def test_an_unused_grant(product: Product) -> None:
    planted = product.with_template("Action: [sns:Publish]", "Action: [sns:Publish, sns:Subscribe]")
    found = only(iam_checks.all_findings(planted), "unused-grant")
    assert found.where == "TrainingWorkflowRole"
    assert "sns:Subscribe" in found.message


def test_a_dangling_next(product: Product) -> None:
    found = checked(product.with_definition(TRAINING, '"Next": "IsAdmitted"', '"Next": "IsAdmited"'))
    dangling = [each for each in found if each.check == "dangling-next"]
    assert [each.where for each in dangling] == [f"{TRAINING} AdmitRun"]
    assert "IsAdmited" in dangling[0].message


def test_a_catch_of_an_unknown_class(product: Product) -> None:
    definition = json.loads(product.definitions[TRAINING])
    definition["States"]["PrepareData"]["Catch"].insert(
        0, {"ErrorEquals": ["EmptyDate"], "Output": "{% $states.input %}", "Next": "CloseRun"}
    )
    planted = dataclasses.replace(
        product, definitions={**product.definitions, TRAINING: json.dumps(definition)}
    )
    found = only(checked(planted), "error-name")
    assert found.where == f"{TRAINING} PrepareData"
    assert "EmptyDate" in found.message


def test_an_error_of_another_service(product: Product) -> None:
    planted = product.with_definition(TRAINING, '"Lambda.SdkClientException"', '"SNS.ThrottledException"')
    assert "SNS.ThrottledException" in only(checked(planted), "error-name").message


def test_a_resource_of_everything_without_a_reason(product: Product) -> None:
    reason = "        # traces know no resource\n"
    found = only(iam_checks.all_findings(product.with_template(reason, "")), "wildcard")
    assert found.where == "TrainingWorkflowRole"
    assert "Resource *" in found.message


def test_a_statement_that_is_repeated_without_a_reason(product: Product) -> None:
    planted = product.with_template(
        "        # traces know no resource\n        *trace,\n", "        *trace,\n"
    )
    found = only(iam_checks.all_findings(planted), "reason")
    assert found.where == "trace"
    assert "again without saying why" in found.message


def test_an_event_that_nothing_names(product: Product) -> None:
    name = "_".join(["left", "over"])
    found = only(checked(dataclasses.replace(product, events={**product.events, name: "{}"})), "event")
    assert found.where == f"events/{name}.json"


def test_a_layer_over_250_mb(product: Product) -> None:
    heavy = product.requirements["layers/data"] + "\npandas==2.2.3\nscikit-learn==1.9.0\nscipy==1.18.0\n"
    planted = dataclasses.replace(product, requirements={**product.requirements, "layers/data": heavy})
    found = only(checked(planted), "size")
    assert found.where == "PrepareDataFunction"
    assert "DataLayer" in found.message


def test_a_function_that_logs_nowhere(product: Product) -> None:
    planted = product.with_template("      LoggingConfig: {LogGroup: !Ref JudgeModelFunctionLog}\n", "")
    found = only(checked(planted), "log")
    assert found.where == "JudgeModelFunction"


def test_an_expression_that_reads_what_nothing_provides(product: Product) -> None:
    planted = product.with_definition(
        "statemachine/batch.asl.yaml", "$states.input.plan.requests_uri", "$states.input.plan.request_uri"
    )
    found = list(data.check(planted))
    where = "statemachine/batch.asl.yaml TransformBatch"
    assert ("data", where) in {(each.check, each.where) for each in found}, found
    assert any(
        re.search(r"reads \$states\.input\.plan\.request_uri, which nothing", str(each)) for each in found
    )


def test_an_operation_that_forgot_its_security(product: Product) -> None:
    planted = product.with_template("get: {security: [{caller: []}], ", "get: {")
    assert str(only(list(api_checks.check(planted)), "api-security")).startswith("GET /model: has no secu")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "        paths:\n",
            "        security: [{caller: []}]\n        paths:\n",
            "PredictionApi: has security at",
        ),
        ("security: [{caller: []}]", "security: []", "POST /predict: is open to anybody"),
        ("security: [{caller: []}]", "security: [{}]", "POST /predict: has to name one scheme"),
        ("[{caller: []}]", "[{caller: []}, {other: []}]", "POST /predict: has to name one scheme"),
        ("security: [{caller: []}]", "security: [{key: []}]", "POST /predict: names the scheme key"),
        (
            "                  type: mock\n",
            "                  type: aws_proxy\n",
            "OPTIONS /predict: is open to",
        ),
    ],
)
def test_an_api_that_is_open(product: Product, old: str, new: str, said: str) -> None:
    found = list(api_checks.check(product.with_template(old, new)))
    assert any(str(each).startswith(said) for each in found), found
    assert {each.check for each in found} == {"api-security"}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("responses: {}", "responses: {'200': {$ref: '#/x'}}", "POST /predict: imports $ref (response)"),
        ("responses: {}", "responses: {'200': {content: {}}}", "POST /predict: imports content (response)"),
        (
            "responses: {}",
            "responses: {}\n              requestBody: {}",
            "POST /predict: imports requestBody",
        ),
        (
            "          securitySchemes:",
            "          schemas: {}\n          securitySchemes:",
            "PredictionApi: imports",
        ),
        (
            "true, schema: {type: string}",
            "true, schema: {default: x}",
            "GET /predictions/{id}: imports default",
        ),
        (
            "type: apiKey, name: x-api-key",
            "type: http, name: x-api-key",
            "caller: has to be of the type apiKey",
        ),
        (
            "          THROTTLED:",
            "          REQUEST_TOO_LARGE:",
            "PredictionApi: customises REQUEST_TOO_LARGE",
        ),
        ("          /model:", "          /ping:", "/ping: is reserved"),
        ("          /model:", "          /model~1:", "/model~1: has a segment"),
        ("          /model:", "          /model{id}:", "/model{id}: has a segment"),
        ("Access-Control-Max-Age: *text", "X-Age: *text", "OPTIONS /predict: answers 204 with"),
    ],
)
def test_an_import_that_api_gateway_does_not_take(product: Product, old: str, new: str, said: str) -> None:
    found = list(api_checks.check(product.with_template(old, new)))
    assert any(str(each).startswith(said) for each in found), found
