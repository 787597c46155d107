"""Where an API Gateway API answers on the local host."""

from __future__ import annotations

import re

_AWS_URL = re.compile(r"https://([a-z0-9]+)\.execute-api\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?(/.*)?")


def local_api_url(url: str, endpoint_url: str) -> str:
    """Return where the API of an AWS URL answers on the host at `endpoint_url`; other URLs stay as they are.

    >>> local_api_url("https://a1b2c3d4.execute-api.us-east-1.amazonaws.com/v1", "http://127.0.0.1:4566")
    'http://127.0.0.1:4566/_aws/execute-api/a1b2c3d4/v1'
    """
    found = _AWS_URL.fullmatch(url)
    return url if found is None else f"{endpoint_url}/_aws/execute-api/{found[1]}{found[2] or ''}"
