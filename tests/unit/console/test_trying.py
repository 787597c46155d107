from __future__ import annotations

import csv
import io
import json

import pytest
from tests.fakes.predictions import live
from tests.in_memory_store import InMemoryObjectStore
from tests.unit.console.stored import StoredS3

from dropforge.domain.contract import Column, Contract
from dropforge_ops.actions.predictions import RequestRefused
from dropforge_ops.console.reading import trying
from dropforge_ops.console.reading.trying import (
    Answers,
    Form,
    Row,
    ask,
    instance_of,
    problems_of,
    read_form,
    read_upload,
    result_csv,
    texts_of,
)
from dropforge_ops.errors import NotFound, OperationFailed, UsageError

CONTRACT = Contract(
    target="sick",
    key="id",
    task="binary",
    classes=("no", "yes"),
    columns=(
        Column("id", "integer", "key"),
        Column("age", "integer", minimum=0, maximum=120),
        Column("weight", "number", nullable=True),
        Column("smoker", "boolean"),
        Column("ward", "category", categories=("a", "b")),
        Column("sick", "category", "target"),
    ),
)
GOOD = {"age": "41", "weight": "70.5", "smoker": "true", "ward": "a"}


class OnlyLive:
    def __init__(self, pointer):
        self._pointer = pointer

    def live(self):
        return self._pointer


def stored(contract=CONTRACT, target=None):
    store = InMemoryObjectStore()
    pointer = live(contract)
    classes = [{"value": "no", "count": 6}, {"value": "yes", "count": 2}]
    columns = [
        {"name": "age", "type": "integer", "count": 9, "distinct": 9, "minimum": 1.0, "maximum": 90.0,
         "quantiles": [1.0, 40.0, 90.0], "cumulative": [1, 8, 9]},
        {"name": "ward", "type": "category", "count": 9, "distinct": 2, "categories": [{"value": "a"}]},
        target or {"name": "sick", "count": 8, "categories": classes},
    ]  # fmt: skip
    store.write(pointer.contract_uri, contract.to_json().encode())
    store.write(pointer.profile_uri, json.dumps({"format": 1, "columns": columns}).encode())
    example = {"age": 41, "weight": None, "smoker": True, "ward": "a"}
    store.write(pointer.smoke_uri, json.dumps({"instances": [example]}).encode())
    return read_form(OnlyLive(pointer), StoredS3(store).documents)


def test_the_form_has_a_field_per_feature_with_its_rules_and_what_training_saw():
    form = stored()
    age, weight, smoker, ward = form.fields
    assert (age.rule, age.seen) == ("at least 0, at most 120, required", "in training 1 to 90, median 40")
    assert weight.rule == "may be empty"
    assert (smoker.choices, smoker.is_closed) == (("true", "false"), True)
    assert (ward.choices, ward.is_closed) == (("a", "b"), True)


def test_an_example_written_into_the_form_makes_the_same_instance_again():
    form = stored()
    [example] = form.examples
    assert instance_of(CONTRACT, texts_of(form, example)) == example
    assert problems_of(CONTRACT, example) == {}


def test_without_a_live_model_the_form_says_what_to_do():
    with pytest.raises(NotFound, match="Drop a file"):
        read_form(OnlyLive(None), StoredS3(InMemoryObjectStore()).documents)


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("age", "abc", "integer"),
        ("age", "121", "120"),
        ("age", "", "null"),
        ("smoker", "perhaps", "true or false"),
        ("ward", "c", "a, b"),
    ],
)
def test_each_problem_is_told_at_its_column(name, text, problem):
    found = problems_of(CONTRACT, instance_of(CONTRACT, {**GOOD, name: text}))
    assert set(found) == {name}
    assert problem in found[name]


def test_answers_are_explained_by_what_training_had():
    form = stored()
    assert form.base_rate("yes") == 0.25
    assert form.base_rate("perhaps") is None
    numbers = {"name": "sick", "count": 10, "quantiles": [1.0, 2.0, 4.0], "cumulative": [2, 6, 10]}
    ranked = stored(target=numbers)
    assert [ranked.rank(value) for value in (0.5, 2.0, 3.0, 9.0)] == [0.0, 0.6, 0.6, 1.0]


def lines(*rows: str) -> bytes:
    return "\n".join(["id,age,weight,smoker,ward,note", *rows]).encode()


def test_a_file_keeps_its_good_rows_and_names_the_problems_of_the_others():
    found = read_upload(
        lines("1,41,,true,a,x", "2,abc,1,true,c,x", "3,41,1", "", "4,5,1.5,false,b,"), CONTRACT
    )
    assert [row.number for row in found.good] == [1, 4]
    assert found.good[0].instance == {"age": 41, "weight": None, "smoker": True, "ward": "a"}
    assert [row.problems for row in found.rows if row.instance is None][1] == (
        "has 3 fields where the header has 6",
    )
    assert "age" in "; ".join(found.rows[1].problems)
    assert "ward" in "; ".join(found.rows[1].problems)
    assert found.notes == ("Columns that the model doesn't know are not sent: note.",)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "needs a header"),
        (b"id,age\n", "needs a header"),
        (b"id,age\n1,2\n", "lacks 'weight', 'smoker', 'ward'"),
        (b"age,age\n1,2\n", "names a column twice"),
        (b"\xff\xfe\n1", "no CSV in UTF-8"),
    ],
)
def test_a_file_that_is_none_is_refused_with_the_reason(data, said):
    with pytest.raises(UsageError, match=said):
        read_upload(data, CONTRACT)


def test_a_file_that_would_keep_one_waiting_is_left_to_a_batch(monkeypatch):
    monkeypatch.setattr(trying, "MOST_UPLOADED_ROWS", 2)
    with pytest.raises(UsageError, match="as a batch"):
        read_upload(lines(*["1,41,,true,a,x"] * 3), CONTRACT)


def test_the_result_is_the_file_with_answers_and_problems_beside_its_rows():
    upload = read_upload(lines("1,41,,true,a,x", "2,abc,1,true,a,x", "3,5,1.5,false,b,"), CONTRACT)
    answer = {"label": "yes", "probabilities": {"no": 0.25, "yes": 0.75}, "id": "f" * 32}
    text = result_csv(upload, Answers(1, {1: answer}, {3: "refused"}), CONTRACT)
    first, second, third = csv.DictReader(io.StringIO(text))
    assert (first["id"], first["note"], first["predicted_label"]) == ("1", "x", "yes")
    assert (first["probability_yes"], first["prediction_id"], first["problem"]) == ("0.75", "f" * 32, "")
    assert "age" in second["problem"]
    assert (third["predicted_label"], third["problem"]) == ("", "refused")


class Endpoint:
    """Answers requests of rows, or fails for those that hold a certain age."""

    def __init__(self, error=None):
        self.error, self.sizes = error, []

    def client(self, service):
        assert service == "sagemaker-runtime"
        return self


def rows(count: int) -> list[Row]:
    return [Row(number, {}, {"age": number}) for number in range(1, count + 1)]


def form() -> Form:
    return Form(live(CONTRACT), CONTRACT, (), ())


def test_many_rows_go_out_in_requests_and_one_that_fails_costs_only_its_own(monkeypatch):
    asked = []

    def predict(runtime, endpoint, instances):
        asked.append(len(instances))
        if len(asked) == 2:
            raise OperationFailed("the model failed")
        return [{"label": "no"} for _ in instances]

    monkeypatch.setattr(trying.predictions, "predict", predict)
    found = ask(Endpoint(), form(), rows(1100), log=False)
    assert asked == [500, 500, 100]
    assert len(found.predictions) == 600
    assert found.problems[501] == "the model failed"
    assert set(found.predictions) | set(found.problems) == set(range(1, 1101))


def test_a_row_that_the_model_refuses_has_its_problem_and_the_others_say_why_they_wait(monkeypatch):
    def refuse(runtime, endpoint, instances):
        raise RequestRefused([{"instance": 1, "column": "age", "problem": "is too low"}])

    monkeypatch.setattr(trying.predictions, "predict", refuse)
    found = ask(Endpoint(), form(), rows(3), log=False)
    assert found.problems[2] == "column 'age': is too low"
    assert "other rows" in found.problems[1]


def test_logged_rows_go_the_way_of_the_api_and_tell_which_version_answered(monkeypatch):
    class Api:
        def __init__(self, target):
            pass

        def predict(self, instances):
            return {"predictions": [{"label": "no", "id": "a"} for _ in instances], "model_version": 7}

    monkeypatch.setattr(trying, "PredictionApi", Api)
    found = ask(Endpoint(), form(), rows(2), log=True)
    assert (found.version, len(found.predictions)) == (7, 2)
