"""``dropforge forget``: what goes, what stays, what is named; in every format that a drop may have."""

from __future__ import annotations

import base64
import gzip
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cli_stack import CONTRACT, CliStack, keeps_predictions
from hypothesis import given
from hypothesis import strategies as st

from dropforge.adapters.prediction_log import DynamoDbPredictionLog
from dropforge.domain.contract import Column, Contract
from dropforge.domain.predictions import PredictionRecord, prediction_id, pseudonym
from dropforge.ledger_table import keys
from dropforge.ledger_table.calls import ClientCalls
from dropforge.ledger_table.items import attributes_of
from dropforge_ops.actions.forgetting.subject import Subject
from dropforge_ops.actions.forgetting.tables import Unreadable, rows_of

ASKED = datetime(2026, 11, 29, 9, tzinfo=UTC)
GONE, OTHER = 17, 170


@dataclass
class World:
    """A stack whose subjects 17 and 170 were dropped, trained on, asked for and reported."""

    stack: CliStack
    log: DynamoDbPredictionLog

    def drop(self, key: str, content: bytes) -> str:
        """Returns the version."""
        answer = self.stack.s3.put_object(Bucket=self.stack.bucket, Key=key, Body=content)
        return str(answer["VersionId"])

    def run(self, version: int, *objects: tuple[str, str]) -> str:
        """A run that prepared rows of these objects, with its version."""
        run_id = self.stack.trained(version).run_id
        named = [
            {"bucket": self.stack.bucket, "key": key, "version_id": version_id} for key, version_id in objects
        ]
        self.stack.write(f"runs/{run_id}/manifest.json", {"objects": named})
        for split in ("train", "test"):
            self.stack.write(f"runs/{run_id}/{split}/part-00000.parquet", parquet([GONE, OTHER, GONE, 3]))
        return run_id

    def predict(self, *keys: Any, contract: Contract = CONTRACT) -> list[str]:
        records = [
            PredictionRecord(
                prediction_id=prediction_id(int(ASKED.timestamp() * 1000), "request", index),
                at="",
                model_version=1,
                inputs={"id": key, "radius": 17.0},
                output={"label": "benign", "probabilities": {}},
                latency_ms=1.0,
            )
            for index, key in enumerate(keys)
        ]
        self.log.write(records)
        self.log.record_outcomes(dict.fromkeys([each.prediction_id for each in records], "benign"), now=ASKED)
        return [each.prediction_id for each in records]

    def pin(self, contract: Contract = CONTRACT) -> None:
        self.stack.write("contract/schema.json", contract.to_json().encode())

    def keys_in(self, key: str) -> list[Any]:
        body = self.stack.s3.get_object(Bucket=self.stack.bucket, Key=key)["Body"].read()
        found: list[Any] = pq.read_table(io.BytesIO(body))["id"].to_pylist()
        return found

    def versions(self, prefix: str) -> list[str]:
        listed = self.stack.s3.list_object_versions(Bucket=self.stack.bucket, Prefix=prefix)
        return [each["Key"] for each in listed.get("Versions", [])]


def parquet(keys: list[int]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"id": keys, "radius": [1.0] * len(keys)}), sink)
    return sink.getvalue()


@pytest.fixture
def world(stack: CliStack, aws: tuple[Any, Any]) -> World:
    table = keeps_predictions(stack)
    log = DynamoDbPredictionLog(ClientCalls(aws[1]), table, retention_days=9, pause=lambda _: None)
    made = World(stack, log)
    made.pin()
    return made


CSV = b"id,radius\n3,1\n17,2\n170,1\n"


def test_without_yes_and_without_a_terminal_everything_is_shown_and_stays(
    world: World, on_stack: Callable[..., Any]
) -> None:
    ids = world.predict(GONE, OTHER)
    version = world.drop("incoming/a.csv", CSV)
    run_id = world.run(1, ("incoming/a.csv", version))
    document = on_stack("forget", str(GONE), "--json").json
    assert (document["deleted"], document["predictions"]) == (False, 1)
    assert {each["rows"] for each in document["prepared"]} == {2}
    assert all(world.log.get(each) for each in ids)
    assert world.keys_in(f"runs/{run_id}/train/part-00000.parquet") == [GONE, OTHER, GONE, 3]
    shown = on_stack("forget", str(GONE))
    assert shown.exit_code == 0
    assert "Nothing was deleted; --yes does it." in shown.stdout


def test_predictions_outcomes_and_prepared_rows_of_the_key_go_with_every_version_and_no_others(
    world: World, on_stack: Callable[..., Any]
) -> None:
    gone, other = world.predict(GONE, OTHER)
    run_id = world.run(1)
    part = f"runs/{run_id}/train/part-00000.parquet"
    world.stack.write(part, parquet([GONE, 4]))  # an earlier version holds the key as well
    document = on_stack("forget", str(GONE), "--yes", "--json").json
    assert document["deleted"] is True
    assert world.log.get(gone) is None
    assert world.log.get(other) is not None
    assert world.keys_in(part) == [4]
    assert world.keys_in(f"runs/{run_id}/test/part-00000.parquet") == [OTHER, 3]
    assert len(world.versions(part)) == 1
    again = on_stack("forget", str(GONE), "--yes", "--json")
    assert again.exit_code == 3, again.stdout


def test_drops_batches_and_versions_that_hold_the_key_are_named_with_what_to_do_and_stay(
    world: World, on_stack: Callable[..., Any]
) -> None:
    first = world.drop("incoming/a.csv", CSV)
    world.drop("incoming/a.csv", b"id,radius\n3,1\n")
    world.drop("incoming/b.csv", b"id,radius\n170,1\n")
    world.drop("batch/in/c.jsonl", b'{"id": 17, "radius": 1}\n')
    world.drop("batch/out/c.jsonl", b'{"id": 17, "label": "benign"}\n')
    world.drop("batch/out/c.jsonl.manifest.json", b"{}")
    run_id = world.run(1, ("incoming/a.csv", first))
    world.run(2)
    for _ in range(2):  # the second time from the manifests alone
        document = on_stack("forget", str(GONE), "--yes", "--json").json
        named = {(each["uri"].split("/", 3)[3], each["is_latest"]) for each in document["dropped"]}
        assert named == {
            ("incoming/a.csv", False),
            ("batch/in/c.jsonl", True),
            ("batch/out/c.jsonl", True),
        }
        assert all(each["remedy"] for each in document["dropped"])
        assert run_id in {each["run_id"] for each in document["models"]}
    assert [each["version"] for each in document["models"]] == [1]
    assert world.versions("incoming/").count("incoming/a.csv") == 2


def test_labelled_predictions_go_and_the_manifest_names_what_stays(
    world: World, on_stack: Callable[..., Any]
) -> None:
    run_id = world.stack.trained(1).run_id
    name = f"runs/{run_id}/labelled/predictions.jsonl"
    version = world.drop(name, b'{"id": 17, "radius": 1}\n{"id": 5, "radius": 2}\n')
    manifest = f"runs/{run_id}/manifest.json"
    pinned = {"bucket": world.stack.bucket, "key": name, "version_id": version, "etag": "e", "size": 1}
    world.stack.write(manifest, {"objects": [pinned], "labelled": {"rows": 2}})
    on_stack("forget", str(GONE), "--yes")
    kept = world.stack.s3.get_object(Bucket=world.stack.bucket, Key=name)
    assert kept["Body"].read() == b'{"id": 5, "radius": 2}\n'
    body = world.stack.s3.get_object(Bucket=world.stack.bucket, Key=manifest)["Body"].read()
    (named,) = json.loads(body)["objects"]
    assert (named["version_id"], named["etag"]) == (kept["VersionId"], kept["ETag"].strip('"'))
    assert named["size"] == kept["ContentLength"]


def test_rejected_rows_of_the_key_go(world: World, on_stack: Callable[..., Any]) -> None:
    version = world.drop("incoming/a.csv", CSV)
    run_id = world.run(1, ("incoming/a.csv", version))
    uri = f"s3://{world.stack.bucket}/incoming/a.csv"
    rejected = f"runs/{run_id}/rejected/part-00000.parquet"
    sink = io.BytesIO()
    rows = {
        "source": [uri, uri, "s3://other/file.csv"],
        "row": [2, 3, 2],
        "column": ["radius", "radius", "id"],
        "value": ["x", "y", "17"],
        "rule": ["type"] * 3,
    }
    pq.write_table(pa.table(rows), sink)
    world.stack.write(rejected, sink.getvalue())
    on_stack("forget", str(GONE), "--yes")
    body = world.stack.s3.get_object(Bucket=world.stack.bucket, Key=rejected)["Body"].read()
    assert pq.read_table(io.BytesIO(body))["value"].to_pylist() == ["y"]


def test_nothing_is_deleted_while_a_run_goes_on(world: World, on_stack: Callable[..., Any]) -> None:
    (gone,) = world.predict(GONE)
    run = world.stack.open_run("cancer-9")
    refused = on_stack("forget", str(GONE), "--yes")
    assert refused.exit_code == 1
    assert "is going on" in refused.stderr
    assert world.log.get(gone) is not None
    world.stack.free(run)
    assert on_stack("forget", str(GONE), "--yes").exit_code == 0
    assert world.log.get(gone) is None


def test_a_pseudonymised_key_is_found_by_its_pseudonym(world: World, on_stack: Callable[..., Any]) -> None:
    columns = tuple(replace(each, privacy="hash") if each.name == "id" else each for each in CONTRACT.columns)
    world.pin(replace(CONTRACT, columns=columns))
    salt = b"0123456789abcdef"
    item = {**keys.PRIVACY_SALT, "salt": base64.b64encode(salt).decode()}
    world.stack.target.client("dynamodb").put_item(
        TableName=world.stack.target.outputs["LedgerTable"], Item=attributes_of(item)
    )
    gone, other = world.predict(pseudonym(GONE, salt), pseudonym(OTHER, salt))
    assert on_stack("forget", str(GONE), "--yes", "--json").json["predictions"] == 1
    assert (world.log.get(gone), world.log.get(other) is None) == (None, False)


def test_a_key_that_is_kept_out_of_the_log_is_said_to_be(world: World, on_stack: Callable[..., Any]) -> None:
    columns = tuple(replace(each, privacy="drop") if each.name == "id" else each for each in CONTRACT.columns)
    world.pin(replace(CONTRACT, columns=columns))
    refused = on_stack("forget", str(GONE))
    assert refused.exit_code == 3
    assert "out of the prediction log" in refused.stderr


def test_a_file_that_cannot_be_looked_into_is_named_and_ends_with_1(
    world: World, on_stack: Callable[..., Any]
) -> None:
    world.drop("incoming/notes.csv", b"some words\n")
    (gone,) = world.predict(GONE)
    ended = on_stack("forget", str(GONE), "--yes", "--json")
    assert ended.exit_code == 1
    assert ended.json["unread"][0]["uri"].endswith("incoming/notes.csv")
    assert ended.json["deleted"] is True
    assert world.log.get(gone) is None


def test_without_a_key_column_or_a_contract_there_is_nothing_to_go_by(
    world: World, on_stack: Callable[..., Any]
) -> None:
    columns = tuple(each for each in CONTRACT.columns if each.role != "key")
    world.pin(replace(CONTRACT, key=None, columns=columns))
    assert on_stack("forget", "17").exit_code == 2
    world.stack.s3.delete_object(Bucket=world.stack.bucket, Key="contract/schema.json")
    assert on_stack("forget", "17").exit_code == 3


TEXT = Subject(Column("id", "category", "key"), "a b")
NUMBER = Subject(Column("id", "integer", "key"), "17")


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (CSV, [2]),
        (b"\xef\xbb\xbf" + CSV, [2]),
        (gzip.compress(CSV), [2]),
        (gzip.compress(CSV[:20]) + gzip.compress(CSV[20:]), [2]),
        (pa.compress(CSV, codec="zstd", asbytes=True), [2]),
        (CSV.decode().encode("utf-16"), [2]),
        (CSV.replace(b",", b";"), [2]),
        (CSV.replace(b",", b"\t").replace(b"\n", b"\r\n"), [2]),
        (b'"radius","id"\n"1,5","17"\n"a\nb","17"\n2,3\n', [1, 2]),
        (b'{"id": 17}\n\n{"id": "17"}\n{"id": 17.0}\n{"id": 3}\n', [1, 2, 3]),
        (parquet([17, 3, 17]), [1, 3]),
        (b"", []),
    ],
    ids=[
        *("csv", "bom", "gzip", "gzip members", "zstd", "utf-16", "semicolons", "tabs", "quotes"),
        *("json lines", "parquet", "empty"),
    ],
)
def test_every_format_of_a_drop_is_looked_into(content: bytes, rows: list[int]) -> None:
    assert rows_of(io.BytesIO(content), NUMBER) == rows


@pytest.mark.parametrize(
    "content",
    [b"x,y\n1,2\n", b'{"id": 1', b"[1,\n2]\n", b"PAR1", parquet([1])[:20]],
    ids=["no such column", "half a row", "an array", "a mark alone", "half a file"],
)
def test_what_has_no_such_column_or_format_is_unreadable(content: bytes) -> None:
    with pytest.raises(Unreadable):
        rows_of(io.BytesIO(content), NUMBER)


@given(st.integers(-(10**18), 10**18), st.integers(-(10**18), 10**18))
def test_numbers_match_by_value_whatever_their_form(key: int, other: int) -> None:
    subject = Subject(Column("id", "integer", "key"), str(key))
    assert subject.matches(key)
    assert subject.matches(f" {key}.0")
    assert subject.matches(other) is (key == other)


@given(st.text(), st.text())
def test_texts_match_to_the_letter(key: str, other: str) -> None:
    subject = Subject(Column("id", "category", "key"), key)
    assert subject.matches(key)
    assert subject.matches(other) is (key == other)
