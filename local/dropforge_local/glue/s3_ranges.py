"""Gives a read of one version of an object the range that it asks for; MiniStack answers with all of it.

A drop is read in its version and by ranges, so without this none larger than one range can be read.
"""

from __future__ import annotations

from typing import Any

from dropforge_local.glue.seams import s3


def install() -> None:
    """Cut what a read of a version answers, as MiniStack does for the newest one."""

    get_object = s3._get_object

    def with_range(bucket_name: str, key: str, headers: dict[str, str], query_params: Any = None) -> Any:
        wanted = headers.get("range", "")
        status, answered, body = get_object(bucket_name, key, headers, query_params)
        if not wanted or status != 200:
            return status, answered, body
        size = len(body)
        found = s3._parse_range(wanted, size)
        if found is None:
            refusal = {"Content-Type": "application/xml", "Content-Range": f"bytes */{size}"}
            return 416, refusal, s3._xml_body(s3._range_error_xml(bucket_name, key))
        start, end = found
        # A checksum of the whole object says nothing of a part.
        kept = {name: value for name, value in answered.items() if "x-amz-checksum" not in name.lower()}
        part = {"Content-Length": str(end + 1 - start), "Content-Range": f"bytes {start}-{end}/{size}"}
        return 206, kept | part, body[start : end + 1]

    s3._get_object = with_range
