"""S3 as boto3 shows it (moto): channels in, files out, refusals in words."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from moto import mock_aws

from dropforge_local.sagemaker.objects import (
    FolderSync,
    Interrupted,
    MissingObjects,
    Objects,
    StorageError,
    split_uri,
)


@functools.cache
def _client() -> Any:
    """Made once: that takes longer than what the tests do with it."""
    return boto3.client(
        "s3", region_name="us-east-1", aws_access_key_id="testing", aws_secret_access_key="testing"
    )


@pytest.fixture
def s3() -> Iterator[Any]:
    with mock_aws():
        _client().create_bucket(Bucket="data")
        yield _client()


@pytest.fixture
def objects(s3: Any) -> Objects:
    return Objects(lambda: s3, retry_s=0.0)


def test_channel_is_laid_out_relative_to_its_prefix(s3: Any, objects: Objects, tmp_path: Path) -> None:
    for key in ("train/", "train/a.csv", "train/deep/b.csv"):
        s3.put_object(Bucket="data", Key=key, Body=key.encode())
    assert objects.download_prefix("s3://data/train", tmp_path) == 2
    assert (tmp_path / "a.csv").read_text() == "train/a.csv"
    assert (tmp_path / "deep" / "b.csv").read_text() == "train/deep/b.csv"


@pytest.mark.parametrize("key", ["train/../../x", "train/.."])
def test_key_that_is_no_path_is_refused(s3: Any, objects: Objects, tmp_path: Path, key: str) -> None:
    s3.put_object(Bucket="data", Key=key, Body=b"")
    with pytest.raises(StorageError, match="no usable file path"):
        objects.download_prefix("s3://data/train/", tmp_path)


def test_keys_that_collide_are_refused(s3: Any, objects: Objects, tmp_path: Path) -> None:
    for key in ("train/a", "train/a/b"):
        s3.put_object(Bucket="data", Key=key, Body=b"")
    with pytest.raises(StorageError, match="collides"):
        objects.download_prefix("s3://data/train/", tmp_path)


@pytest.mark.parametrize("uri", ["s3://data/nothing/", "s3://no-such-bucket/x"])
def test_nothing_below_a_prefix_is_missing(objects: Objects, tmp_path: Path, uri: str) -> None:
    with pytest.raises(MissingObjects):
        objects.download_prefix(uri, tmp_path)


def test_existence_is_told(s3: Any, objects: Objects) -> None:
    s3.put_object(Bucket="data", Key="here", Body=b"")
    assert objects.exists("s3://data/here")
    assert not objects.exists("s3://data/there")
    assert not objects.exists("s3://no-such-bucket/there")


@pytest.mark.parametrize("uri", ["http://x/y", "/local/path", "s3:///key"])
def test_other_uris_are_refused(uri: str) -> None:
    with pytest.raises(StorageError, match="Invalid S3 URI"):
        split_uri(uri)


def test_encryption_key_goes_with_the_upload(s3: Any, objects: Objects, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    objects.upload(tmp_path / "file", "s3://data/file", kms_key="alias/key")
    assert s3.head_object(Bucket="data", Key="file")["ServerSideEncryption"] == "aws:kms"


def test_checkpoints_follow_the_folder(s3: Any, objects: Objects, tmp_path: Path) -> None:
    s3.put_object(Bucket="data", Key="ckpt/old", Body=b"1")
    folder = tmp_path / "checkpoints"
    sync = FolderSync(objects, folder, "s3://data/ckpt")
    sync.restore(objects)
    (folder / "old").unlink()
    (folder / "new").write_text("2")
    sync.push()
    assert objects.keys("s3://data/ckpt/") == ["ckpt/new"]
    sync.push()
    (folder / "new").unlink()
    sync.push()
    assert objects.keys("s3://data/ckpt/") == []


class Flaky:
    """Fails a number of times, then works."""

    def __init__(self, client: Any, error: Exception, failures: int) -> None:
        self._client, self._error, self._failures = client, error, failures

    def head_object(self, **arguments: Any) -> Any:
        if self._failures:
            self._failures -= 1
            raise self._error
        return self._client.head_object(**arguments)


def refused(status: int) -> ClientError:
    response = {
        "Error": {"Code": "SlowDown", "Message": "slow"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(response, "HeadObject")  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [EndpointConnectionError(endpoint_url="http://x"), refused(503)])
def test_storage_that_is_away_for_a_moment_is_waited_for(s3: Any, error: Exception) -> None:
    s3.put_object(Bucket="data", Key="here", Body=b"")
    assert Objects(lambda: Flaky(s3, error, 2), retry_s=5.0).exists("s3://data/here")
    with pytest.raises(StorageError):
        Objects(lambda: Flaky(s3, error, 2), retry_s=0.0).exists("s3://data/here")


def test_refusal_is_not_repeated(s3: Any) -> None:
    with pytest.raises(StorageError, match="S3 answered SlowDown"):
        Objects(lambda: Flaky(s3, refused(403), 1), retry_s=60.0).exists("s3://data/here")


def test_interrupted_transfer_is_given_up(s3: Any, tmp_path: Path) -> None:
    s3.put_object(Bucket="data", Key="big", Body=b"x" * 3_000_000)
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise Interrupted

    with pytest.raises(Interrupted):
        Objects(lambda: s3, 0.0, check).download("s3://data/big", tmp_path / "big")
    assert not (tmp_path / "big").exists()
