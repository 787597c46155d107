"""Signatures are the SDK's own, byte for byte."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime
from unittest import mock

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from hypothesis import given
from hypothesis import strategies as st

from dropforge.adapters.sigv4_http import Credentials, Signer, endpoint_url
from dropforge.domain.errors import InvalidSettings

NAMES = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12).map(lambda name: f"x-{name}")
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)


def signed_by_botocore(service, token, method, host, path, headers, body, now):
    kind = auth.S3SigV4Auth if service == "s3" else auth.SigV4Auth
    signer = kind(BotoCredentials("AKID", "secret/+", token), service, "eu-west-1")
    request = AWSRequest(method, f"https://{host}{path}", headers=dict(headers), data=body)
    request.headers["Host"] = host
    instant = mock.Mock(return_value=datetime.fromtimestamp(now, UTC))
    with mock.patch.object(auth, "get_current_datetime", instant):
        signer.add_auth(request)
    return request.headers["Authorization"]


@given(
    st.sampled_from(["dynamodb", "sagemaker", "s3"]),
    st.sampled_from([None, "token+/="]),
    st.sampled_from(
        [
            "/",
            "/endpoints/my-model/invocations",
            "/endpoints/a%20b/invocations",
            "/b/k%2Bx/y~z",
            "/api/versions?filter=name%3D%27a%20b%27&page_token=x%2F%2B",
        ]
    ),
    st.dictionaries(NAMES, VALUES, max_size=4),
    st.binary(max_size=200),
    st.integers(1_000_000_000, 4_000_000_000),
)
def test_signs_as_botocore_does(service, token, path, headers, body, now):
    host = "service.eu-west-1.amazonaws.com"
    signer = Signer(Credentials("AKID", "secret/+", token), "eu-west-1", service)
    ours = signer.headers("POST", host, path, headers, body, now)
    theirs = signed_by_botocore(service, token, "POST", host, path, headers, body, now)
    assert ours["authorization"] == theirs


def test_the_signing_key_follows_the_day():
    signer = Signer(Credentials("AKID", "secret/+"), "eu-west-1", "dynamodb")
    noon = calendar.timegm((2026, 11, 21, 12, 0, 0))
    for now in (noon, noon + 86400, noon):
        ours = signer.headers("POST", "h", "/", {}, b"", now)["authorization"]
        assert ours == signed_by_botocore("dynamodb", None, "POST", "h", "/", {}, b"", now)


def test_credentials_never_show_their_secret():
    assert "secret" not in repr(Credentials("AKID", "secret", "token"))


def test_says_which_credential_is_missing():
    with pytest.raises(InvalidSettings, match="AWS_SECRET_ACCESS_KEY"):
        Credentials.from_env({"AWS_ACCESS_KEY_ID": "x"})


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, "https://dynamodb.us-east-1.amazonaws.com"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "http://127.0.0.1:1"),
        (
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:2"},
            "http://127.0.0.1:2",
        ),
        (
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
            "https://dynamodb.us-east-1.amazonaws.com",
        ),
    ],
)
def test_finds_a_service_where_the_sdk_would(env, expected):
    assert endpoint_url(env, "DYNAMODB", "dynamodb", "us-east-1") == expected


def test_china_has_its_own_domain():
    assert endpoint_url({}, "S3", "s3", "cn-north-1") == "https://s3.cn-north-1.amazonaws.com.cn"
