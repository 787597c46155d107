"""Files that come from the browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from fastapi import FastAPI
from fastapi.testclient import TestClient

from dropforge_ops.console import dropping
from dropforge_ops.console.dropping import Drops, safe_name
from dropforge_ops.errors import UsageError


class Bucket:
    """S3, as far as a drop needs it."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.error: Exception | None = None

    def put_object(self, *, Bucket: str, Key: str, Body: Any, **_: Any) -> dict[str, str]:
        if self.error:
            raise self.error
        self.objects[f"{Bucket}/{Key}"] = Body.read()
        return {"ETag": '"e"', "VersionId": "v1"}


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


@pytest.fixture
def drops(bucket: Bucket) -> Drops:
    target: Any = SimpleNamespace(bucket="data", host="AWS (eu-west-1)", client=lambda _: bucket)
    return Drops(target)


@pytest.fixture
def browser(drops: Drops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    application = FastAPI()
    drops.register(application)
    with TestClient(application) as client:
        yield client


def last_line(text: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(text.splitlines()[-1])
    return document


def test_a_file_goes_to_incoming_under_its_own_name(browser, bucket, drops, tmp_path):
    answer = browser.post("/drops", params={"name": "my data.csv"}, content=b"a,b\n1,2\n")
    told = last_line(answer.text)
    assert bucket.objects == {"data/incoming/my data.csv": b"a,b\n1,2\n"}
    assert told["uri"] == "s3://data/incoming/my data.csv"
    taken = drops.take(told["receipt"])
    assert taken is not None
    assert (taken.key, taken.version_id, taken.size) == ("incoming/my data.csv", "v1", 8)
    assert drops.take(told["receipt"]) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../../etc/passwd", "C:\\data\\passwd", "folder/passwd"])
def test_folders_in_a_name_lead_nowhere(name):
    assert safe_name(name) == "passwd"


@pytest.mark.parametrize("name", ["", "..", "a/..", "a\nb.csv", "x" * 201])
def test_what_is_no_file_name_is_refused(browser, bucket, name):
    answer = browser.post("/drops", params={"name": name}, content=b"1")
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert bucket.objects == {}
    with pytest.raises(UsageError):
        safe_name(name)


def test_an_empty_file_is_refused(browser, bucket, tmp_path):
    answer = browser.post("/drops", params={"name": "x.csv"}, content=b"")
    assert (answer.status_code, answer.json()) == (413, {"error": "The file is empty."})
    assert bucket.objects == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("is_announced", [True, False])
def test_a_file_that_is_too_large_is_refused_and_leaves_nothing(
    browser, bucket, tmp_path, monkeypatch, is_announced
):
    monkeypatch.setattr(dropping, "LARGEST_BYTES", 10)
    content = b"x" * 11
    body: Any = content if is_announced else iter([content])
    answer = browser.post("/drops", params={"name": "x.csv"}, content=body)
    assert answer.status_code == 413
    assert "dropforge drop FILE" in answer.json()["error"]
    assert bucket.objects == {}
    assert list(tmp_path.iterdir()) == []


def test_what_s3_refuses_is_told_and_gives_no_receipt(browser, bucket, tmp_path):
    bucket.error = ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "PutObject")
    told = last_line(browser.post("/drops", params={"name": "x.csv"}, content=b"1").text)
    assert "AccessDenied" in told["error"]
    assert "receipt" not in told
    assert list(tmp_path.iterdir()) == []


def test_uploads_that_nobody_asks_for_are_forgotten(browser, drops, monkeypatch):
    monkeypatch.setattr(dropping, "_KEPT", 2)
    receipts = [
        last_line(browser.post("/drops", params={"name": f"{n}.csv"}, content=b"1").text)["receipt"]
        for n in range(3)
    ]
    assert [drops.take(each) is not None for each in receipts] == [False, True, True]
