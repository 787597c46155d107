"""What became of the data, in a person's words; see `dropforge.domain.data_report`."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from tests.churn_file import TARGET, churn_csv, churn_parquet
from tests.in_memory_store import InMemoryObjectStore
from tests.unit.preparation.dropping import Outcome, prepare

from dropforge.domain.contract import Column, Contract
from dropforge.domain.data_report import DataReport

_METADATA = re.compile(r"[\w .:/=+\-@]{1,256}")
"""What SageMaker takes as a property, https://docs.aws.amazon.com/sagemaker/latest/APIReference/."""


def report_of(outcome: Outcome) -> DataReport:
    store: InMemoryObjectStore = outcome.store

    def content(uri: str) -> Any:
        return json.loads(store.read(uri)) if store.exists(uri) else None

    found = DataReport.read(outcome.prepared.prefix, content)
    assert found is not None
    return found


def told_of(report: DataReport) -> dict[str, tuple[str, str, str]]:
    return {each.name: (each.use, each.read_as, each.remark) for each in report.columns}


@pytest.mark.parametrize(
    ("name", "make", "index"),
    [("churn.csv", churn_csv, "column_1"), ("churn.parquet", churn_parquet, "__index_level_0__")],
)
def test_a_churn_table_is_told_column_by_column(name, make, index):
    report = report_of(prepare((name, make()), target=TARGET))
    told = told_of(report)
    assert told["joined"][:2] == ("learned from", "dates written as dd/mm/yyyy")
    assert told["monthly_charges"][:2] == (
        "learned from",
        "numbers with a thousands separator, like 1,234.5",
    )
    assert told["balance"][:2] == (
        "learned from",
        "amounts in $ with a thousands separator, like $1,234.5",
    )
    assert told["discount"] == ("learned from", "percentages, like 12.5%", "")
    assert told["referrer"] == (
        "learned from",
        "categories",
        "3,000 different values: the 200 most frequent ones are told apart, all are told by how often they "
        "occur and by the target of their rows",
    )
    why = {each.name: each.remark for each in report.left_out}
    assert why.keys() == {"customer_id", index}
    assert "identifies rows" in why["customer_id"]
    assert told["comment"][2] == "learned from by its words, how long it is and how often it comes again"
    assert "the index that a tool wrote beside the data" in why[index]
    discount = next(each for each in report.columns if each.name == "discount")
    assert discount.missing_in_words == "70 (1 %), written as 'n/a' 70"
    assert report.told()[:2] == [
        "7,000 rows read, 7,000 kept.",
        "7 of 10 columns are learned from; 2 with values are not used.",
    ]


def test_a_decimal_id_that_is_the_key_identifies_rows():
    outcome = prepare(("churn.parquet", churn_parquet()), target=TARGET, key="customer_id")
    assert told_of(report_of(outcome))["customer_id"][0] == "identifies rows"
    assert outcome.prepared.kept == 7_000


def test_amounts_with_too_many_other_words_say_what_they_look_like():
    rows = [f'{i % 50},"{"unknown" if i % 9 == 0 else f"{i + 1000:,}.25"}",{i % 2}\n' for i in range(900)]
    report = report_of(prepare(("x,v,y\n" + "".join(rows)).encode()))
    assert told_of(report)["v"][2].startswith(
        "it looks like numbers with a thousands separator, like 1,234.5, but 100 of its 900 values are none; "
    )


def rows_of(numbers: range, extra: str = "") -> bytes:
    return (
        "id,a,b,y\n"
        + "".join(f"{i},{i * 7 % 50},{'NA' if i % 3 else i % 5},{i % 2}\n" for i in numbers)
        + extra
    ).encode()


def test_rows_are_told_by_object():
    first = rows_of(range(300))
    second = rows_of(range(200, 400), "1000,1,1,\n1001,x,1,1\n")
    outcome = prepare(("b.csv", second), ("a.csv", first), key="id", maximum_reject_rate=0.2)
    report = report_of(outcome)
    found = {each.name: each for each in report.objects}
    assert {
        name: (each.read, each.rejected, each.unlabelled, each.duplicates) for name, each in found.items()
    } == {
        "a.csv": (300, 0, 0, 100),
        "b.csv": (202, 1, 1, 0),
    }
    assert report.rows_in_words == (
        "502 rows read, 400 kept; 1 rejected, 1 without a target, 100 counted once already."
    )
    assert next(each for each in report.columns if each.name == "a").remark == "1 row rejected because of it"


def test_what_an_object_holds_again_is_told():
    outcome = prepare(("new.csv", rows_of(range(400))), ("old.csv", rows_of(range(300))))
    (old,) = [each for each in report_of(outcome).objects if each.name == "old.csv"]
    assert (old.duplicates, old.remark) == (300, "its rows are in new.csv again")


def test_what_differs_from_the_live_version_is_told():
    live = report_of(prepare(rows_of(range(400)), key="id"))
    now = report_of(prepare(rows_of(range(300)), key="id"))
    assert now.beside(now, 3).differences == ()
    said = now.beside(live, 3).differences
    assert said == ("300 rows kept; 400 in version 3.",)


def changed(before: Column, after: Column, **counts: Any) -> tuple[str, ...]:
    def report(column: Column, missing: int) -> DataReport:
        target = Column("y", "number", "target")
        contract = Contract("y", None, "regression", None, (Column("x", "number"), column, target))
        profile = {"columns": [{"name": column.name, "count": 100 - missing, "missing": missing}]}
        return DataReport.of({"rows": {"read": 100, "kept": 100}}, contract.to_dict(), profile)

    was, now = report(before, counts.get("was", 0)), report(after, counts.get("now", 0))
    return now.beside(was, 3).differences


@pytest.mark.parametrize(
    ("before", "after", "counts", "said"),
    [
        (
            Column("a", "number"),
            Column("a", "number", format="$1,234.5"),
            {},
            "'a' holds amounts in $ with a thousands separator, like $1,234.5; in version 3 numbers.",
        ),
        (
            Column("a", "number"),
            Column("a", "number", "ignored", note="it has no values"),
            {},
            "'a' is not used (it has no values); in version 3 it was learned from.",
        ),
        (
            Column("a", "number"),
            Column("a", "number"),
            {"was": 1, "now": 12},
            "'a' has 12 % missing values; 1 % in version 3.",
        ),
        (Column("a", "number"), Column("b", "category"), {}, "'b' is new: learned from, categories."),
        (Column("a", "number"), Column("b", "category"), {}, "'a' is gone; it was learned from."),
    ],
)
def test_columns_that_differ_from_the_live_version_are_told(before, after, counts, said):
    assert said in changed(before, after, **counts)


def visits(numbers: range) -> bytes:
    lines = ["x,who,year,y"]
    lines += [f"{n * 7 % 13},{n % 40},{1980 + n % 20},{'no' if n % 3 else 'yes'}" for n in numbers]
    return "\n".join([*lines, ""]).encode()


def test_columns_that_decide_on_this_runs_split_are_told_whatever_the_contract_was_pinned_with():
    first = prepare(("a.csv", visits(range(400))), group="who")
    told = told_of(report_of(first))
    assert told["who"][0] == "decides on the split"
    assert told["year"][0] == "learned from"
    second = prepare(("a.csv", visits(range(400))), store=first.store, run_id="b", time="year")
    told = told_of(report_of(second))
    assert told["year"][0] == "learned from, decides on the split"
    assert told["who"][0] == "not used"
    [line] = report_of(second).left_out_in_words
    assert line.startswith("'who' is not used: it decided on the split until GroupColumn or SplitColumn was")
    both = prepare(("a.csv", visits(range(400))), group="who", time="year", run_id="c")
    assert {name: each[0] for name, each in told_of(report_of(both)).items() if name in ("who", "year")} == {
        "who": "decides on the split",
        "year": "decides on the split",
    }


def test_reports_of_earlier_releases_are_told_as_far_as_they_go():
    contract = Contract(
        "y",
        None,
        "regression",
        None,
        (Column("x", "number"), Column("c", "text", "ignored"), Column("y", "number", "target")),
    )
    old = {
        "run_id": "old",
        "rows": {"read": 10, "rejected": 1, "duplicates": 2, "kept": 7},
        "notes": ["column 'c' is ignored: it has 9 different texts", "column 'x': read as missing: 'NA' (3)"],
        "objects": [{"source": "s3://data/incoming/a.csv", "read": 10, "rejected": 1}],
        "splits": {"train": {"rows": 5}},
    }
    report = DataReport.of(old, contract.to_dict())
    assert report.rows_in_words == "10 rows read, 7 kept; 1 rejected, 2 counted once already."
    assert report.objects[0].unlabelled is None
    assert report.remarks == (
        "Column 'c' is ignored: it has 9 different texts.",
        "Column 'x': read as missing: 'NA' (3).",
    )
    assert DataReport.of({"rows": {}}, None).told() == ["No row was read."]
    assert DataReport.of(old, {"format": 9}).columns == ()


def test_messages_and_metadata_are_bounded_and_keep_to_what_sagemaker_takes():
    columns = tuple(Column(f"«{'x' * 40}» %{i}\n", "text", "ignored", note="n" * 9_000) for i in range(90))
    contract = Contract(
        "y", None, "regression", None, (Column("a", "number"), *columns, Column("y", "number", "target"))
    )
    report = DataReport.of(
        {"rows": {"read": 10, "kept": 10}, "remarks": ["r" * 9_000] * 90}, contract.to_dict()
    )
    assert len("\n".join(report.told())) < 10_000
    metadata = report.metadata()
    assert len(metadata) < 20
    for name, value in metadata.items():
        assert _METADATA.fullmatch(name)
        assert _METADATA.fullmatch(value), value
    assert metadata["data_left_out"].endswith(" more")
    one = DataReport.of(
        {"rows": {"read": 1}},
        Contract(
            "y",
            None,
            "regression",
            None,
            (Column("a", "number"), Column("z" * 400, "text", "ignored"), Column("y", "number", "target")),
        ).to_dict(),
    )
    assert one.metadata()["data_left_out"] == "1 column"
