from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import asdict

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from tests.in_memory_store import InMemoryObjectStore
from tests.mocked_aws import mocked_aws

from dropforge.adapters.object_store import S3ObjectStore
from dropforge.domain.errors import (
    AccessDenied,
    InvalidEvent,
    ObjectChanged,
    ObjectMissing,
    ServiceRejected,
    ServiceUnavailable,
)
from dropforge.domain.ports import ObjectRef, ObjectStore


@pytest.fixture
def s3() -> Iterator:
    with mocked_aws() as client:
        client("s3").create_bucket(Bucket="data")
        yield client("s3")


@pytest.fixture(params=["s3", "memory"])
def store(request) -> ObjectStore:
    if request.param == "s3":
        return S3ObjectStore(request.getfixturevalue("s3"))
    return InMemoryObjectStore()


def test_reads_what_was_written(store):
    store.write("s3://data/a/x", b"hello", content_type="text/plain")
    assert store.read("s3://data/a/x") == b"hello"
    assert store.read(ObjectRef("data", "a/x")) == b"hello"
    assert store.size("s3://data/a/x") == 5
    assert store.exists("s3://data/a/x")
    assert store.sha256("s3://data/a/x") == "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


def test_names_the_object_that_is_missing(store):
    assert not store.exists("s3://data/none")
    for call in (
        store.read,
        store.size,
        store.sha256,
        store.open,
        lambda uri: store.copy(uri, "s3://data/x"),
    ):
        with pytest.raises(ObjectMissing, match="s3://data/none"):
            call("s3://data/none")


def test_creates_only_what_is_absent(store):
    assert store.write_if_absent("s3://data/x", b"first")
    assert not store.write_if_absent("s3://data/x", b"second")
    assert store.read("s3://data/x") == b"first"


def test_opens_a_seekable_reader(store):
    store.write("s3://data/x", bytes(range(256)) * 100)
    with store.open("s3://data/x") as reader:
        assert reader.seek(-3, io.SEEK_END) == 25597
        assert reader.read() == b"\xfd\xfe\xff"
        reader.seek(256)
        assert reader.read(4) == b"\x00\x01\x02\x03"
        reader.seek(2, io.SEEK_CUR)
        assert reader.read(1) == b"\x06"
        reader.seek(30000)
        assert reader.read(1) == b""


def test_uploads_a_file_from_its_position(store):
    source = io.BytesIO(b"skipped" + b"x" * 100_000)
    source.seek(7)
    store.upload("s3://data/x", source)
    assert store.size("s3://data/x") == 100_000


def test_copies_over_what_was_there(store):
    store.write("s3://data/x", b"new")
    store.write("s3://data/y", b"old")
    store.copy("s3://data/x", "s3://data/y")
    assert store.read("s3://data/y") == store.read("s3://data/x") == b"new"


def test_lists_by_prefix_in_key_order(store):
    for key in ("p/é", "p/b", "p/a", "q/a"):
        store.write(f"s3://data/{key}", b"1")
    found = list(store.list("s3://data/p/"))
    assert [ref.key for ref in found] == ["p/a", "p/b", "p/é"]
    assert found[0].size == 1
    assert found[0].etag


def test_deletes_only_under_the_prefix(store):
    for key in ("p/a", "p/b", "pq"):
        store.write(f"s3://data/{key}", b"1")
    assert store.delete_prefix("s3://data/p/") == 2
    assert store.delete_prefix("s3://data/p/") == 0
    assert [ref.key for ref in store.list("s3://data/")] == ["pq"]


def test_refuses_to_delete_a_whole_bucket(store):
    with pytest.raises(ServiceRejected, match="whole bucket"):
        store.delete_prefix("s3://data/")


def test_refuses_what_is_no_s3_uri(store):
    with pytest.raises(InvalidEvent, match="no S3 URI"):
        store.read("https://b/x")


def test_reads_by_ranges_and_not_the_whole_object(s3):
    requested: list[str] = []

    def record(params, **_):
        requested.append(params["headers"].get("Range", "whole"))

    S3ObjectStore(s3).write("s3://data/x", b"0123456789" * 1_000_000)
    s3.meta.events.register("before-call.s3.GetObject", record)
    try:
        with S3ObjectStore(s3).open("s3://data/x") as reader:
            reader.seek(9_000_000)
            assert reader.read(5) == b"01234"
    finally:
        s3.meta.events.unregister("before-call.s3.GetObject", record)
    assert requested == ["bytes=9000000-9999999"]


def test_keeps_to_the_named_version(s3):
    s3.put_bucket_versioning(Bucket="data", VersioningConfiguration={"Status": "Enabled"})
    first = s3.put_object(Bucket="data", Key="x", Body=b"old")["VersionId"]
    s3.put_object(Bucket="data", Key="x", Body=b"new")
    store = S3ObjectStore(s3)
    ref = ObjectRef("data", "x", first)
    assert store.read(ref) == b"old"
    assert store.open(ref).read() == b"old"
    store.copy(ref, "s3://data/y")
    assert store.read("s3://data/y") == b"old"
    assert store.read("s3://data/x") == b"new"


def test_copies_a_large_object_in_parts(s3):
    content = bytes(range(256)) * (70_000)
    store = S3ObjectStore(s3)
    store.write("s3://data/x", content)
    store.copy("s3://data/x", "s3://data/y")
    assert s3.head_object(Bucket="data", Key="y")["ETag"].endswith('-3"')
    assert store.read("s3://data/y") == content


def test_notices_a_replacement_while_reading(s3):
    store = S3ObjectStore(s3)
    store.write("s3://data/x", b"1" * 3_000_000)
    reader = store.open("s3://data/x")
    reader.read(10)
    store.write("s3://data/x", b"2" * 3_000_000)
    reader.seek(2_500_000)
    with pytest.raises(ObjectChanged, match="s3://data/x"):
        reader.read(10)


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("AccessDenied", 403, AccessDenied),
        ("SlowDown", 503, ServiceUnavailable),
        ("InternalError", 500, ServiceUnavailable),
        ("NoSuchVersion", 404, ObjectMissing),
        ("InvalidObjectState", 403, ServiceRejected),
    ],
)
def test_translates_each_refusal_into_its_class(code, status, expected):
    class Client:
        def get_object(self, **_):
            raise ClientError(
                {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "GetObject"
            )

        def get_paginator(self, _):
            raise ClientError({"Error": {"Code": "AccessDenied"}}, "ListObjectsV2")

    with pytest.raises(expected, match="s3://data/x"):
        S3ObjectStore(Client()).read("s3://data/x")


class ReadingDenied:
    """A client of who may list below a prefix only: S3 then tells what is missing as denied."""

    def __init__(self, s3, *, may_list=True):
        self._s3, self._may_list = s3, may_list

    def get_object(self, **_):
        raise ClientError({"Error": {"Code": "AccessDenied"}}, "GetObject")

    def head_object(self, **_):
        raise ClientError({"Error": {"Code": "403", "Message": "Forbidden"}}, "HeadObject")

    def get_paginator(self, operation):
        if not self._may_list:
            raise ClientError({"Error": {"Code": "AccessDenied"}}, "ListObjectsV2")
        return self._s3.get_paginator(operation)


def test_tells_missing_from_denied_by_listing_below_the_key(s3):
    s3.put_bucket_versioning(Bucket="data", VersioningConfiguration={"Status": "Enabled"})
    kept = s3.put_object(Bucket="data", Key="runs/x", Body=b"")["VersionId"]
    gone = s3.put_object(Bucket="data", Key="runs/x", Body=b"")["VersionId"]
    s3.delete_object(Bucket="data", Key="runs/x", VersionId=gone)
    s3.put_object(Bucket="data", Key="runs/missing-but-longer", Body=b"")
    store = S3ObjectStore(ReadingDenied(s3))

    assert not store.exists("s3://data/runs/missing")
    for missing in ("s3://data/runs/missing", ObjectRef("data", "runs/x", gone)):
        with pytest.raises(ObjectMissing):
            store.read(missing)
    for there in ("s3://data/runs/x", ObjectRef("data", "runs/x", kept)):
        with pytest.raises(AccessDenied):
            store.read(there)


def test_what_can_be_neither_read_nor_listed_is_denied_not_missing(s3):
    store = S3ObjectStore(ReadingDenied(s3, may_list=False))
    for call in (store.read, store.exists):
        with pytest.raises(AccessDenied):
            call("s3://data/runs/missing")


def test_calls_a_lost_connection_unavailable():
    class Client:
        def put_object(self, **_):
            raise EndpointConnectionError(endpoint_url="http://127.0.0.1:1")

    with pytest.raises(ServiceUnavailable):
        S3ObjectStore(Client()).write("s3://data/x", b"")


def test_a_concurrent_creation_is_worth_a_retry():
    class Client:
        def put_object(self, **_):
            raise ClientError({"Error": {"Code": "ConditionalRequestConflict"}}, "PutObject")

    with pytest.raises(ServiceUnavailable):
        S3ObjectStore(Client()).write_if_absent("s3://data/x", b"")


def test_a_reference_survives_the_trip_between_states():
    ref = ObjectRef("data", "k", "v", "e", 3)
    assert ObjectRef.from_dict(asdict(ref)) == ref
    with pytest.raises(InvalidEvent, match="key, size"):
        ObjectRef.from_dict({"bucket": "b", "size": "3"})
