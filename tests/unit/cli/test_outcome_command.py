from __future__ import annotations

import json

import pytest
from cli_services import complete
from cli_stack import ROWS

UNKNOWN = "0" * 32


@pytest.fixture
def predicted(stack, on_stack):
    """The id of a prediction that is in the log."""
    complete(stack).lives(1)
    [answer] = on_stack("predict", "--sample-rows", "1", "--log", "--json").json["predictions"]
    return answer["id"]


def test_a_logged_prediction_has_an_id_and_its_outcome_is_taken(stack, on_stack, predicted):
    assert stack.target.client("lambda").log.get(predicted).inputs == ROWS[0]
    outcome = on_stack("outcome", f"{predicted}=malignant")
    assert outcome.exit_code == 0
    assert outcome.stdout == "Recorded 1 outcome(s).\n"
    shown = on_stack("outcome", predicted)
    assert "malignant" in shown.stdout
    assert "radius=1.5" in shown.stdout
    document = on_stack("outcome", predicted, "--json").json
    assert (document["id"], document["outcome"], document["model_version"]) == (predicted, "malignant", 1)


def test_predictions_without_log_are_in_no_log(stack, on_stack):
    complete(stack).lives(1)
    [answer] = on_stack("predict", "--sample-rows", "1", "--json").json["predictions"]
    assert "id" not in answer
    assert stack.target.client("lambda").log.records == {}


def test_the_table_of_logged_predictions_shows_their_ids(stack, on_stack):
    complete(stack).lives(1)
    shown = on_stack("predict", "--sample-rows", "2", "--log").stdout
    assert all(each in shown for each in stack.target.client("lambda").log.records)


def test_reads_outcomes_from_csv_and_json_lines(stack, on_stack, predicted, tmp_path):
    path = tmp_path / "truth.csv"
    path.write_text(f"id,label,note\n{predicted},benign,seen\n")
    document = on_stack("outcome", "--file", path, "--json").json
    assert document == {"recorded": 1, "outcomes": [{"id": predicted, "label": "benign"}]}
    lines = json.dumps({"id": predicted, "label": "malignant"})
    again = on_stack("outcome", "--file", "-", "--json", stdin=lines + "\n")
    assert again.exit_code == 1
    assert "another outcome was recorded before; it stays" in again.stderr
    assert again.json["recorded"] == 0


def test_says_which_outcomes_were_not_recorded_and_that_the_others_were(on_stack, predicted):
    outcome = on_stack("outcome", f"{predicted}=benign", f"{UNKNOWN}=benign", "--json")
    assert outcome.exit_code == 1
    assert "1 of 2 outcomes were not recorded; 1 were" in outcome.stderr
    assert [each["id"] for each in outcome.json["problems"]] == [UNKNOWN]


@pytest.mark.parametrize(
    ("arguments", "text", "said"),
    [
        ([], "", "Give outcomes"),
        (["7=benign"], "", "is no prediction's id"),
        ([f"{UNKNOWN}=sick"], "", "none of the classes benign, malignant"),
        ([UNKNOWN, UNKNOWN], "", "not of the form ID=TRUTH"),
        (["--file", "-"], "id,truth\n1,2\n", "line 2: needs 'id' and 'label'"),
        (["--file", "-"], "id,label\n", "holds no outcome"),
        (["--file", "-"], "{\n", "line 1 is no JSON"),
        (["--file", "/nowhere.csv"], "", "can't be read"),
    ],
)
def test_refuses_what_is_no_outcome(live_stack, on_live_stack, arguments, text, said):
    complete(live_stack)
    outcome = on_live_stack("outcome", *arguments, stdin=text)
    assert outcome.exit_code == 2
    assert said in outcome.stderr


def test_a_prediction_that_is_not_there_is_not_found(live_stack, on_live_stack):
    complete(live_stack)
    assert on_live_stack("outcome", UNKNOWN).exit_code == 3


def test_problems_of_logged_rows_are_named_as_the_endpoints_are(stack, on_stack):
    complete(stack).lives(1)
    outcome = on_stack("predict", "--row", "radius=abc,count=1,smoker=true,site=left", "--log", "--json")
    assert outcome.exit_code == 2
    assert "row 1, column 'radius'" in outcome.stderr
    assert outcome.json["problems"][0]["column"] == "radius"


def test_a_function_that_breaks_is_a_failure(stack, on_stack):
    complete(stack).lives(1)
    stack.target.client("lambda").breaks = True
    outcome = on_stack("predict", "--sample-rows", "1", "--log")
    assert outcome.exit_code == 1
    assert "out of memory" in outcome.stderr
