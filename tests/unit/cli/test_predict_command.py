from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from cli_stack import ROWS, refusal

from dropforge_ops.actions import predictions
from dropforge_ops.actions.prediction_api import PredictionApi
from dropforge_ops.errors import OperationFailed


def problems(*named):
    body = json.dumps({"error": {"type": "InvalidRequest", "problems": list(named)}})
    return refusal(
        "ModelError",
        "Received client error (400)",
        "InvokeEndpoint",
        OriginalStatusCode=400,
        OriginalMessage=body,
    )


def test_types_the_values_by_the_live_models_contract(stack, on_stack):
    stack.lives(1)
    outcome = on_stack("predict", "--row", 'radius=1.5,count=3,smoker=TRUE,"site=left, upper"')
    assert outcome.exit_code == 0
    assert stack.runtime.instances == [{"radius": 1.5, "count": 3, "smoker": True, "site": "left, upper"}]
    assert stack.runtime.requests[0]["EndpointName"] == "model"
    assert "malignant" in outcome.stdout
    assert "0.7500" in outcome.stdout


def test_json_holds_the_endpoints_answers_as_they_are(stack, on_stack):
    stack.lives(1)
    document = on_stack("predict", "--sample-rows", "2", "--json").json
    assert stack.runtime.instances == ROWS
    assert document["version"] == 1
    assert [each["label"] for each in document["predictions"]] == ["malignant", "benign"]


def test_reads_csv_without_the_target_and_json_lines(stack, on_stack, tmp_path):
    stack.lives(1)
    path = tmp_path / "rows.csv"
    path.write_text("id,radius,count,smoker,site,diagnosis\n7,1.5,3,true,,benign\n")
    assert on_stack("predict", "--file", path).exit_code == 0
    expected = {"id": 7, "radius": 1.5, "count": 3, "smoker": True, "site": None}
    assert stack.runtime.instances == [expected]
    assert on_stack("predict", "--file", "-", stdin=json.dumps(expected) + "\n\n").exit_code == 0
    assert stack.runtime.instances == [expected]


def test_leaves_what_it_cannot_read_to_the_models_own_check(stack, on_stack):
    stack.lives(1)
    on_stack("predict", "--row", "radius=abc,count=1.5,other=x")
    assert stack.runtime.instances == [{"radius": "abc", "count": "1.5", "other": "x"}]


def test_shows_the_problems_of_a_refused_request_one_per_line(stack, on_stack):
    stack.lives(1)
    stack.runtime.error = problems(
        {"instance": 0, "column": "radius", "problem": "must be a number"},
        {"instance": None, "column": None, "problem": "3 more problems are not listed"},
    )
    outcome = on_stack("predict", "--sample-rows", "1", "--json")
    assert outcome.exit_code == 2
    assert "\n  row 1, column 'radius': must be a number\n  3 more problems" in outcome.stderr
    assert outcome.json["problems"][0]["column"] == "radius"


def test_says_so_when_the_model_breaks(stack, on_stack):
    stack.lives(1)
    stack.runtime.error = refusal(
        "ModelError",
        "Received server error",
        "InvokeEndpoint",
        OriginalStatusCode=500,
        OriginalMessage="boom",
    )
    outcome = on_stack("predict", "--sample-rows", "1")
    assert outcome.exit_code == 1
    assert "failed with status 500: boom" in outcome.stderr


def test_says_how_an_endpoint_that_sleeps_is_brought_back(stack, on_stack):
    stack.lives(1)
    stack.runtime.error = refusal(
        "ValidationError", "Endpoint model of account 1 not found.", "InvokeEndpoint"
    )
    outcome = on_stack("predict", "--sample-rows", "1")
    assert outcome.exit_code == 3
    assert "dropforge wake --wait" in outcome.stderr


def test_says_what_to_do_while_no_model_is_live(on_stack):
    outcome = on_stack("predict", "--sample-rows", "1")
    assert outcome.exit_code == 3
    assert "dropforge approve latest --wait" in outcome.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Give rows"),
        (["--row", "radius"], "'radius' has no '='"),
        (["--row", 'radius="1, 2"'], "Where a value holds a comma, give JSON: --row '{"),
        (["--row", "radius=1,radius=2"], "'radius' stands twice"),
        (["--row", "{"], "is no JSON"),
        (["--file", "/nowhere/rows.csv"], "can't be read"),
        (["--sample-rows", "3"], "holds 2 rows"),
        (["--sample-rows", "0"], "sample-rows"),
    ],
)
def test_refuses_rows_that_are_none(live_stack, on_live_stack, arguments, said):
    outcome = on_live_stack("predict", *arguments)
    assert outcome.exit_code == 2
    assert said in outcome.stderr
    assert live_stack.runtime.requests == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "file is empty"),
        ("radius,count\n1\n", "Row 1 has 1 fields where the header has 2"),
        ("radius,radius\n1,2\n", "names a column twice"),
        ("radius\n", "There are no rows"),
    ],
)
def test_refuses_a_file_that_is_no_table(on_live_stack, tmp_path, text, said):
    (tmp_path / "rows.csv").write_text(text)
    outcome = on_live_stack("predict", "--file", tmp_path / "rows.csv")
    assert outcome.exit_code == 2
    assert said in outcome.stderr


def test_refuses_a_file_that_is_not_utf_8(on_live_stack, tmp_path):
    (tmp_path / "rows.csv").write_bytes("größe\n1\n".encode("latin-1"))
    outcome = on_live_stack("predict", "--file", tmp_path / "rows.csv")
    assert outcome.exit_code == 2
    assert "not UTF-8" in outcome.stderr


def test_refuses_more_than_one_request_takes(on_live_stack, tmp_path):
    (tmp_path / "rows.csv").write_text("site\n" + ("x" * 1000 + "\n") * 4100)
    outcome = on_live_stack("predict", "--file", tmp_path / "rows.csv")
    assert outcome.exit_code == 2
    assert "Send fewer at a time" in outcome.stderr


def test_waits_for_an_asynchronous_endpoint(stack, on_stack, monkeypatch):
    stack.lives(1, is_asynchronous=True)
    document = on_stack("predict", "--sample-rows", "2", "--json").json
    assert [each["label"] for each in document["predictions"]] == ["malignant", "benign"]
    assert stack.runtime.requests[0]["S3OutputPathExtension"] == "asked"
    assert on_stack("predict", "--file", "-", stdin="id,radius,count,smoker,site\n").exit_code == 2

    stack.runtime.error = refusal("ValidationError", "Endpoint model not found.", "InvokeEndpointAsync")
    assert "dropforge wake" in on_stack("predict", "--sample-rows", "1").stderr


@pytest.mark.parametrize(
    ("later", "said"), [("fails", "failed: boom"), ("waits", "has not answered within 0")]
)
def test_says_what_became_of_a_request_that_an_asynchronous_endpoint_does_not_answer(
    stack, on_stack, monkeypatch, later, said
):
    monkeypatch.setattr(predictions, "ANSWER_S", 0.0)
    stack.lives(1, is_asynchronous=True)
    stack.runtime.later = later
    outcome = on_stack("predict", "--sample-rows", "1")
    assert outcome.exit_code == 1
    assert said in outcome.stderr.replace("\n", " ")


@pytest.mark.parametrize("answers", [True, False])
def test_a_logged_prediction_of_an_asynchronous_endpoint_is_asked_for_until_it_is_there(monkeypatch, answers):
    asked = []

    class Api(PredictionApi):
        def _ask(self, method, path, document=None, **_):
            asked.append((method, path))
            if method == "POST":
                return 202, {"id": "r", "status": "waiting"}
            if len(asked) < 3 or not answers:
                return 202, {"id": "r", "status": "waiting"}
            return 200, {"predictions": [{"id": "p", "value": 1.0}], "model_version": 3}

    api = Api(SimpleNamespace(poll_s=0.0))
    if answers:
        assert api.predict([{}])["predictions"] == [{"id": "p", "value": 1.0}]
        assert asked == [("POST", "/predict"), ("GET", "/predictions/r"), ("GET", "/predictions/r")]
    else:
        monkeypatch.setattr(predictions, "ANSWER_S", 0.0)
        with pytest.raises(OperationFailed, match="Ask for r later"):
            api.predict([{}])
