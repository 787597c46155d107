"""One version of an object is read by ranges."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from local_host_support import Deployed


def test_a_version_is_read_by_ranges_as_the_newest_one_is(deployed: Deployed) -> None:
    s3 = deployed.host.client("s3")
    s3.create_bucket(Bucket="ranges")
    s3.put_bucket_versioning(Bucket="ranges", VersioningConfiguration={"Status": "Enabled"})
    old = bytes(range(256)) * 12_000
    version = s3.put_object(Bucket="ranges", Key="drop", Body=old)["VersionId"]
    s3.put_object(Bucket="ranges", Key="drop", Body=b"newer")

    for asked in ("bytes=5-9", "bytes=3071000-", "bytes=-7"):
        answer = s3.get_object(Bucket="ranges", Key="drop", VersionId=version, Range=asked)
        first, last = map(int, answer["ContentRange"].removeprefix("bytes ").split("/")[0].split("-"))
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 206
        assert answer["Body"].read() == old[first : last + 1]
        assert answer["VersionId"] == version
    assert s3.get_object(Bucket="ranges", Key="drop", VersionId=version)["Body"].read() == old
    with pytest.raises(ClientError, match="InvalidRange"):
        s3.get_object(Bucket="ranges", Key="drop", VersionId=version, Range="bytes=99999999-")
