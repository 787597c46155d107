"""An API's AWS URL, and where the same API answers on the local host."""

from __future__ import annotations

import pytest

from dropforge_local.api_urls import local_api_url

HOST = "http://127.0.0.1:4566"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a1b2.execute-api.us-east-1.amazonaws.com/v1", f"{HOST}/_aws/execute-api/a1b2/v1"),
        ("https://a1b2.execute-api.cn-north-1.amazonaws.com.cn/v1", f"{HOST}/_aws/execute-api/a1b2/v1"),
        ("https://a1b2.execute-api.eu-west-1.amazonaws.com", f"{HOST}/_aws/execute-api/a1b2"),
        ("https://api.example.com/v1", "https://api.example.com/v1"),
    ],
)
def test_an_api_of_aws_answers_on_the_local_host_and_other_urls_stay(url: str, expected: str) -> None:
    assert local_api_url(url, HOST) == expected
